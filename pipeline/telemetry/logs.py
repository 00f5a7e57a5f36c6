"""structlog, configured once per process: readable lines on a terminal, JSON with `LOG_FORMAT=json`."""

import logging
import os
import sys
from typing import Any

import structlog

from configs.credentials import masked


def configure() -> None:
    """Events go to stderr, one line each, with UTC times. `LOG_LEVEL` is INFO unless set."""
    level = logging.getLevelNamesMapping().get(os.environ.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json()
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            # The default formatter prints local variables, which may hold text of documents or secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json() else []),
            renderer,
            _without_credentials,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # The stream of the moment: while a progress line is shown, what is written must go above it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _without_credentials(_logger: object, _method: str, line: Any) -> str:
    """Mask credentials: a foreign error may quote a signed URI, or one with a password, such as a proxy's."""
    return masked(line)


def as_json() -> bool:
    """Whether log lines are JSON."""
    return os.environ.get("LOG_FORMAT", "").lower() == "json"
