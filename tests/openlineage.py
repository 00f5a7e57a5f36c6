"""What OpenLineage's specification (2.0.2, RunEvent, with the run and job facets that a run sends) asks of an event.

Its JSON Schema is in no package, so what it says of these is said here again, in JSON Schema and stricter: a facet that
is not listed is an error.
"""

from typing import Any

import jsonschema

VERSION = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
TEXT = {"type": "string", "minLength": 1}
UUID = {"type": "string", "format": "uuid"}
MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
"""With a zone, as RFC 3339 has it."""
URI = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = required | optional
    return {"type": "object", "required": sorted(required), "properties": properties, "additionalProperties": False}


def _facet(name: str, version: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    of_all = {
        "_producer": URI,
        "_schemaURL": {"const": f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"},
    }
    return _object(of_all | required, **optional)


NO_FACETS = {"type": "object", "maxProperties": 0}
PARENT_RUN, PARENT_JOB = (
    _object({"runId": UUID}, facets=NO_FACETS),
    _object({"namespace": TEXT, "name": TEXT}, facets=NO_FACETS),
)
TAG = _object({"key": TEXT, "value": TEXT}, source=TEXT)
RUN_FACETS = {
    "errorMessage": _facet(
        "ErrorMessageRunFacet", "1-0-1", {"message": TEXT, "programmingLanguage": TEXT}, stackTrace=TEXT
    ),
    "parent": _facet("ParentRunFacet", "1-2-0", {"run": PARENT_RUN, "job": PARENT_JOB}),
    "tags": _facet("TagsRunFacet", "1-0-0", {}, tags={"type": "array", "items": TAG}),
}
JOB_FACETS = {
    "jobType": _facet(
        "JobTypeJobFacet",
        "2-0-4",
        {"processingType": {"enum": ["BATCH", "STREAMING"]}, "integration": TEXT},
        jobType=TEXT,
    )
}
FACETS = {
    "run": {"type": "object", "properties": RUN_FACETS, "additionalProperties": False},
    "job": {"type": "object", "properties": JOB_FACETS, "additionalProperties": False},
}


def _dataset(own: str) -> dict[str, Any]:
    return _object({"namespace": TEXT, "name": TEXT}, **{"facets": NO_FACETS, own: NO_FACETS})


RUN_EVENT = _object(
    {
        "eventTime": {"type": "string", "pattern": MOMENT},
        "producer": URI,
        "schemaURL": {"const": VERSION},
        "run": _object({"runId": UUID}, facets=FACETS["run"]),
        "job": _object({"namespace": TEXT, "name": TEXT}, facets=FACETS["job"]),
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
    },
    inputs={"type": "array", "items": _dataset("inputFacets")},
    outputs={"type": "array", "items": _dataset("outputFacets")},
)
VALIDATOR = jsonschema.Draft202012Validator(RUN_EVENT, format_checker=jsonschema.FormatChecker(["uuid"]))


def problems(event: dict[str, Any]) -> list[str]:
    """Nothing if it is valid."""
    return [f"{error.json_path}: {error.message[:300]}" for error in VALIDATOR.iter_errors(event)]
