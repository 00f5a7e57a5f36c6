"""One run, from settings to committed tables."""
