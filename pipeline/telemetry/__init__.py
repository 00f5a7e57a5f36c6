"""Events of a run, and where they go: the log and alerts."""
