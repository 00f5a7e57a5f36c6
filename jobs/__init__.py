"""Thin programs that a person starts: `python -m jobs.NAME CONFIG.yaml [key=value ...]`."""
