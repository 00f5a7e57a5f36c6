"""The exit codes of every job."""

SUCCESS = 0
CRASH = 1
"""The store failed, or something that Longhaul did not foresee, which a traceback tells of."""
REFUSED = 2
"""A setting, a model or a source is wrong; nothing was started."""
PARTIAL = 3
"""The run finished, and some documents are failure rows."""
INTERRUPTED = 130
"""Ctrl-C or SIGTERM; run the same command again to go on."""
