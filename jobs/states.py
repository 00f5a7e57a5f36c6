"""`python -m jobs.states list|show|ask|expire OUTPUT ...`: the states that runs kept, and questions asked of them.

A run with `incremental: true` keeps what its model remembers of each document for `states.ttl_days`. Meanwhile the
document can be asked about without being read, or even there; `expire` removes what has had its time.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from configs.errors import ConfigError
from configs.settings import PromptSettings
from jobs import command, exits, screen
from pipeline.reports.quantities import count, duration, size
from pipeline.states import expiry, question
from pipeline.states.expiry import Removable
from pipeline.states.library import KeptState, StateLibrary, newest_of_each
from pipeline.storage import header
from pipeline.telemetry import logs

NAME_CHARS = 44
MODEL_CHARS = 20
ID_CHARS = 12
COLUMNS = ("document", "state", "model", "tokens", "size", "created (UTC)", "expires in", "parents")
ALL_COLUMNS = (*COLUMNS, "status")
NUMBERS = ("tokens", "size", "expires in", "parents")

StateName = Annotated[
    str,
    typer.Argument(metavar="STATE", help="A document's id, the URI of a state, or a part of either that names one."),
]
DocumentText = Annotated[
    str | None, typer.Option("--document", metavar="TEXT", help="A document's id; else all whose ids hold this.")
]
DocumentId = Annotated[
    str | None, typer.Option("--document", metavar="ID", help="All states of the document with exactly this id.")
]
ModelText = Annotated[
    str | None, typer.Option("--model", metavar="TEXT", help="Only states of models whose name contains this.")
]
JsonSchemaPath = Annotated[
    Path | None, typer.Option("--json-schema", metavar="FILE", help="Answer in JSON that matches this schema.")
]
ModelUri = Annotated[
    str | None, typer.Option("--model", metavar="URI", help="A copy elsewhere of the model that made the state.")
]
TokenizerUri = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="URI", help="Default: the tokenizer of the run that kept the state."),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto uses a GPU if there is one.")]


def list_states(
    output: command.OutputUri,
    document: DocumentText = None,
    model: ModelText = None,
    all_states: Annotated[bool, typer.Option("--all", help="Include older, expired and removed states.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of objects with every column.")] = False,
) -> None:
    """List the newest state of each document, how many tokens it has read and how long it is kept.

    `state` is the part of its URI that `show` and `ask` accept; `parents` counts the states that it was resumed from.
    """
    catalog = StateLibrary(output)
    found = catalog.states if document is None else catalog.like(document)
    if model is not None:
        found = [state for state in found if model in state.row["model_id"]]
    newest = newest_of_each(found)
    shown = found if all_states else newest
    if as_json:
        lines = [json.dumps(_record(catalog, state), default=_text, ensure_ascii=False) for state in shown]
        print("[" + ",\n ".join(lines) + "]")
        return
    if shown:
        screen.console().print(_table(catalog, shown, newest if all_states else None))
    print("\n".join(_sums(catalog, shown, len(found) - len(shown))))


def show(output: command.OutputUri, state: StateName) -> None:
    """One state in detail: its row, the header of its object, and the states that it was resumed from."""
    catalog = StateLibrary(output)
    found = catalog.find(state)
    _print_fields("Row", {"status": found.status} | found.row)
    if found.status != "removed":
        about = header.about(found.uri)
        about["answers"] = f"{len(about['answers'])} of earlier sections"
        _print_fields("Object", about)
    lineage = catalog.lineage(found)
    _print_fields("Lineage", dict(enumerate(lineage, 1)) if lineage else {"": "read from the document's start"})


def ask(
    output: command.OutputUri,
    state: StateName,
    asked: Annotated[str, typer.Argument(metavar="QUESTION", help="What the model is told after the document.")],
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 always picks the most likely token.")] = 0.0,
    json_schema: JsonSchemaPath = None,
    model: ModelUri = None,
    tokenizer: TokenizerUri = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object with the answer and its metadata.")] = False,
) -> int:
    """Ask a question about a document from its kept state. The document is not read and need not exist any more.

    The answer is the one that a run with this prompt would give. Exit codes: 0, 2 refused, 3 where the answer is
    unusable even after a second try: empty, a loop, a copy of the question, or not of the schema.
    """
    logs.configure()
    prompt = _prompt(asked, max_tokens, temperature, json_schema)
    catalog = StateLibrary(output)
    found = catalog.find(state)
    making = question.Making.of(catalog, found)
    if tokenizer is not None:
        making = replace(making, tokenizer_uri=tokenizer)
    reply = question.ask(found, prompt, question.Reader.of(found, making, model, device))
    if as_json:
        about = {"document_id": found.document_id, "state_uri": found.uri, "question": asked}
        print(json.dumps(about | asdict(reply), ensure_ascii=False))
    else:
        print(_printable(reply.answer))
    if reply.finish_reason in ("stop", "length"):
        return exits.SUCCESS
    print(f"the answer is unusable: {reply.error or reply.finish_reason}", file=sys.stderr)
    return exits.PARTIAL


def expire(
    output: command.OutputUri,
    document: DocumentId = None,
    every: Annotated[bool, typer.Option("--all", help="All states, whether they have expired or not.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove more than one object without asking.")] = False,
) -> None:
    """Remove expired states, states that runs left more than a day ago when they died before their commit, and
    snapshots of documents that failed in runs that are complete.

    With --document, all states of that document, expired or not. Removing more than one object asks for confirmation;
    without a terminal, as in cron, it needs --yes. Never removes what a run has still to commit. The rows stay as
    history.
    """
    catalog = StateLibrary(output)
    objects = expiry.removable(catalog, document, whatever_their_time=every or document is not None)
    going = _going(objects)
    if dry_run:
        for each in objects:
            print(_printable(f"{each.document_id or 'of no row'}  {size(each.size_bytes)}  {each.uri}"))
        print(f"would remove {going}")
    elif len(objects) <= 1 or yes or _agreed(going):
        expiry.remove(objects)
        print(f"removed {going}")
    else:
        print("nothing was removed")


def _going(objects: Sequence[Removable]) -> str:
    of_rows = sum(each.document_id is not None for each in objects)
    freed = size(sum(each.size_bytes for each in objects))
    return f"{_objects(len(objects))}, {freed}: {of_rows} of documents, {len(objects) - of_rows} of no row"


def _agreed(going: str) -> bool:
    """Raises ConfigError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise ConfigError(f"this would remove {going}; --yes removes them without a terminal to ask on")
    return typer.confirm(f"remove {going}?", err=True)


def _table(catalog: StateLibrary, shown: Sequence[KeptState], newest: Sequence[KeptState] | None) -> Table:
    """With a column for the status where `newest` is given."""
    table = screen.table("States", COLUMNS if newest is None else ALL_COLUMNS, numbers=NUMBERS)
    for state in shown:
        cells = _cells(catalog, state)
        if newest is not None:
            cells.append(("newest" if state in newest else "older") if state.status == "kept" else state.status)
        table.add_row(*map(screen.plain, cells))
    return table


def _cells(catalog: StateLibrary, state: KeptState) -> list[str]:
    row = state.row
    left = (row["expires_at"] - catalog.now).total_seconds()
    return [
        _end(state.document_id, NAME_CHARS),
        state.place.removesuffix(".safetensors")[-ID_CHARS:],
        _end(row["model_id"], MODEL_CHARS),
        f"{count(row['tokens'])}/{count(row['tokens_total'])}",
        size(row["size_bytes"]),
        f"{row['created_at']:%Y-%m-%d %H:%M}",
        duration(left) if left > 0 else "-",
        count(len(catalog.lineage(state))),
    ]


def _sums(catalog: StateLibrary, shown: Sequence[KeptState], left_out: int) -> list[str]:
    there = [state for state in shown if state.found]
    removed = f", {len(shown) - len(there)} removed" if len(there) < len(shown) else ""
    sums = [f"{len(there)} state{'' if len(there) == 1 else 's'}{removed}, {size(_bytes(there))}"]
    if left_out:
        sums.append(f"not shown: {left_out} older, expired or removed (--all)")
    if catalog.unnamed:
        left = size(sum(entry.size_bytes for entry in catalog.unnamed))
        sums.append(f"of no row: {_objects(len(catalog.unnamed))}, {left}, of a run under way or one that died")
    return sums


def _bytes(states_there: Sequence[KeptState]) -> int:
    return sum(state.found.size_bytes for state in states_there if state.found)


def _objects(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}"


def _record(catalog: StateLibrary, state: KeptState) -> dict[str, Any]:
    return state.row | {"state_uri": state.uri, "status": state.status, "lineage": catalog.lineage(state)}


def _print_fields(title: str, fields: Mapping[Any, Any]) -> None:
    table = screen.table(title, ["field", "value"])
    table.show_header = False
    for name, value in fields.items():
        table.add_row(*map(screen.plain, [name, _text(value)]))
    screen.console().print(table)


def _prompt(asked: str, max_tokens: int, temperature: float, json_schema: Path | None) -> PromptSettings:
    """A prompt with the default name of a run's prompt, so that both sample the same tokens."""
    schema: Any = None if json_schema is None else str(json_schema)
    try:
        return PromptSettings(instruction=asked, max_tokens=max_tokens, temperature=temperature, json_schema=schema)
    except ValidationError as error:
        problems = [f"{each['loc'][0] if each['loc'] else 'question'}: {each['msg']}" for each in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def _end(text: str, limit: int) -> str:
    """The end of a text that is too long, since paths differ there."""
    return text if len(text) <= limit else f"\N{HORIZONTAL ELLIPSIS}{text[1 - limit :]}"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """The text with its line breaks, without control characters that a terminal would obey."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


ABOUT = "The states that runs with `incremental: true` kept: list them, ask them, and remove those that have expired."
COMMANDS: dict[str, Callable[..., Any]] = {"list": list_states, "show": show, "ask": ask, "expire": expire}

if __name__ == "__main__":
    command.run_several(COMMANDS, ABOUT)
