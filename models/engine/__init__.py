"""Scheduling of many documents through one model: requests, feeds, slots, sampling."""
