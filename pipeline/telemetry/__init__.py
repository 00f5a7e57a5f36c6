"""Logs and alerts."""
