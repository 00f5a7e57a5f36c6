"""The exit codes of every job."""

SUCCESS = 0
CRASH = 1
"""The store failed, or every device, or there is a bug, which the traceback shows."""
REFUSED = 2
"""A setting, a model or a source is wrong; nothing was started."""
PARTIAL = 3
"""The run finished, and some documents are failure rows."""
STOPPED = 4
"""At `run.deadline` or `run.budget_usd`: finished documents are committed, partially read ones are saved, and the same
command resumes the run."""
TOO_MANY_FAILED = 5
"""More than `run.max_failed_share` of the documents failed: stopped likewise, most likely over a wrong setting."""
INTERRUPTED = 130
"""Ctrl-C or SIGTERM, likewise."""
