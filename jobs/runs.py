"""`python -m jobs.runs list|show|prune OUTPUT`: the runs of an output, and what they leave behind."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
import yaml

from configs.errors import ConfigError
from jobs import command, screen
from pipeline.ledger import commits, lease
from pipeline.ledger.run_folder import Ledger, runs
from pipeline.reports.quantities import UNKNOWN, count, duration, size
from pipeline.states import retention
from pipeline.states.retention import Prunable
from pipeline.storage import objects

COLUMNS = ("run", "begun", "starts", "status", "documents", "ledger")
NUMBERS = ("starts", "documents", "ledger")
GIB = 1024**3

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id.")]


def list_runs(output: command.OutputUri) -> None:
    """List the runs of an output, the newest first, with the size of what each left in _runs/.

    `python -m jobs.report` has their costs, and `python -m jobs.status` how one stands.
    """
    table = screen.table("Runs", COLUMNS, NUMBERS)
    for ledger in runs(output):
        table.add_row(*map(screen.plain, _cells(ledger)))
    screen.console().print(table)


def show(output: command.OutputUri, run_id: RunId) -> None:
    """One run: its starts, the size of each part of its ledger, and its settings as YAML that can be run again."""
    ledger = Ledger(output, run_id)
    about = ledger.about()
    if about is None:
        raise ConfigError(f"there is no run {run_id!r} in {output}: `python -m jobs.runs list` shows them")
    for number, started in lease.starts(ledger).items():
        print(f"# start {number}: {started:%Y-%m-%d %H:%M:%S} UTC")
    for part, num_bytes in _parts(ledger).most_common():
        print(f"# {part}: {size(num_bytes)}")
    print(yaml.safe_dump(about["config"], sort_keys=False, allow_unicode=True).rstrip())


def prune(
    output: command.OutputUri,
    older_than: Annotated[int, typer.Option(metavar="DAYS", min=1, help="Not used for so many days.")] = 30,
    max_gib: Annotated[
        float | None, typer.Option(min=0, help="Also the oldest, until no more than this is left.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove what no run needs any more: ledgers of runs that are committed in full, snapshots of runs that stopped and
    that nobody resumed (their documents are then read from the start), states that have expired.

    The tables stay as they are: summaries, costs and reports need nothing of this. A run whose ledger is gone cannot be
    resumed by its id. Nothing younger than a day goes. Prints what would go, then asks; without a terminal, as in cron,
    it needs --yes.
    """
    max_bytes = None if max_gib is None else round(max_gib * GIB)
    going = retention.prunable(output, timedelta(days=older_than), max_bytes)
    for each in going:
        print(_line(each))
    what = f"{_objects(going)}, {size(sum(each.size_bytes for each in going))}"
    if dry_run or not going:
        print(f"would remove {what}")
    elif yes or _agreed(what):
        retention.prune(output, going)
        print(f"removed {what}")
    else:
        print("nothing was removed")


def _line(each: Prunable) -> str:
    age = duration((datetime.now(UTC) - each.last_used).total_seconds())
    of = f"{each.kind} of {screen.plain(each.name)}, last used {age} ago" if each.name else "states that have expired"
    return f"{of}: {_objects([each])}, {size(each.size_bytes)}"


def _objects(going: Sequence[Prunable]) -> str:
    number = sum(len(each.uris) for each in going)
    return f"{number} object{'' if number == 1 else 's'}"


def _agreed(what: str) -> bool:
    """Raises ConfigError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise ConfigError(f"this would remove {what}; --yes removes them without a terminal to ask on")
    return typer.confirm(f"remove {what}?", err=True)


def _cells(ledger: Ledger) -> list[str]:
    about, marker = ledger.about(), commits.newest(ledger)
    assert about is not None, "`runs` gives those that have begun"
    status = "pruned" if ledger.is_pruned() else marker.get("status", UNKNOWN) if marker else "not committed"
    return [
        ledger.run_id,
        f"{datetime.fromisoformat(about['started_at']):%Y-%m-%d %H:%M}",
        count(len(lease.starts(ledger))),
        status,
        count(marker.get("documents")) if marker else UNKNOWN,
        size(sum(_parts(ledger).values())),
    ]


def _parts(ledger: Ledger) -> Counter[str]:
    """Bytes by the first name below the run's folder."""
    found: Counter[str] = Counter()
    for each in objects.walk(ledger.uri):
        found[each.uri.removeprefix(ledger.uri).lstrip("/").partition("/")[0]] += each.size_bytes
    return found


ABOUT = "The runs of an output: list them, show one, and remove what they left behind that nobody needs any more."
COMMANDS: dict[str, Callable[..., Any]] = {"list": list_runs, "show": show, "prune": prune}

if __name__ == "__main__":
    command.run_several(COMMANDS, ABOUT)
