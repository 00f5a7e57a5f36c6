"""Sinks for what the environment names: a collector of OpenTelemetry's, a server of OpenLineage's.

Neither package is imported unless its variables are set.
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import structlog

from configs.errors import ConfigError

log = structlog.get_logger()

if TYPE_CHECKING:
    from pipeline.telemetry.observer import Sink

TRACES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACES_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
LINEAGE = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
"""Variables by name, or by how it begins."""


def of_driver() -> "list[Sink]":
    """Raises ConfigError where a package is missing or a variable is wrong."""
    found = _traces()
    if (variable := _lineage_variable()) is not None:
        _require("openlineage.client", variable, "openlineage")
        from pipeline.telemetry.lineage import Lineage

        found.append(Lineage(variable))
    return found


def of_actor() -> "list[Sink]":
    """Those that actors have too, by the environment of their nodes, which nobody has checked: what is wrong with it is
    logged, and the actor works without."""
    try:
        return _traces()
    except ConfigError as error:
        log.warning("no_traces", reason=str(error))
        return []


def _traces() -> "list[Sink]":
    variable = _set(*TRACES)
    if variable is None or _is_true("OTEL_SDK_DISABLED") or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return []
    named = _set(*TRACES_PROTOCOLS)
    if named is not None and os.environ[named] != "http/protobuf":
        raise ConfigError(
            f"{named} = {os.environ[named]!r}: traces are sent as http/protobuf alone; set that, or unset {variable}"
        )
    _require("opentelemetry.exporter.otlp.proto.http", variable, "opentelemetry")
    from pipeline.telemetry.traces import Traces

    return [Traces()]


def _lineage_variable() -> str | None:
    if _is_true("OPENLINEAGE_DISABLED"):
        return None
    return next((name for name in sorted(os.environ) if name.startswith(LINEAGE) and os.environ[name]), None)


def _set(*names: str) -> str | None:
    return next((name for name in names if os.environ.get(name)), None)


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() == "true"


def _require(module: str, variable: str, extra: str) -> None:
    try:
        is_there = find_spec(module) is not None
    except ModuleNotFoundError:  # of what it lies in
        is_there = False
    if not is_there:
        raise ConfigError(
            f"{variable} is set, and the package of {module} is not installed: pip install 'longhaul[{extra}]', or "
            "unset the variable"
        )
