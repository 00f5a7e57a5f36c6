"""`python -m jobs.status OUTPUT [RUN]`: how a run stands that goes on, or how it ended."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobs import command, screen
from pipeline.reports import standing
from pipeline.reports.quantities import count, duration, money
from pipeline.reports.standing import Standing

SHOWN = 5
"""Documents under way."""
MEANS = {
    "running": "running",
    "silent": "silent: its driver gives no sign of life; start the same command again, which resumes the run",
    "succeeded": "succeeded",
    "partial": "finished, with failures (table failures)",
    "stopped": "stopped; the same command resumes it",
    "ended": "ended before it was committed; the same command resumes it",
}

RunId = Annotated[str | None, typer.Argument(metavar="RUN", help="Its id. Default: the newest run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one object.")]


def status(output: command.OutputUri, run_id: RunId = None, as_json: AsJson = False) -> None:
    """Show how a run stands: documents, tokens, cost so far, actors and what they are at.

    Reads the output alone, so it answers from any machine that can, also when the cluster is gone.
    """
    found = standing.of(output, run_id)
    print(json.dumps(_record(found), ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _record(found: Standing) -> dict[str, Any]:
    record = asdict(found) | {"left": found.left, "cost": str(found.cost), "started_at": found.started_at.isoformat()}
    record["underway"] = [
        {"document_id": each.document_id, "attempt": each.attempt, "tokens_read": each.tokens_read}
        for each in found.underway
    ]
    return record


def _lines(found: Standing) -> list[str]:
    since = (datetime.now(UTC) - found.started_at).total_seconds()
    start = f", start {found.starts}" if found.starts > 1 else ""
    failed = f", {count(found.failed)} failed" if found.failed else ""
    speed = f", {count(found.tokens_per_second)} tokens/s" if found.state == "running" else ""
    lines = [
        f"{found.run_id}: {MEANS[found.state]}",
        f"  begun      {found.started_at:%Y-%m-%d %H:%M} UTC, {duration(since)} ago{start}",
        f"  documents  {count(found.succeeded)} of {count(found.documents)} done{failed}, {count(found.left)} left",
        f"  tokens     {count(found.tokens_read)} read{speed}",
        f"  cost       {money(found.cost, found.currency)}",
    ]
    if found.state == "running":
        lines.append(
            f"  actors     {found.actors} at work" if found.actors else "  actors     none yet: waiting for a node"
        )
    lines += [
        f"  under way  {screen.plain(each.document_id)}: {count(each.tokens_resumed + each.tokens_read)} tokens"
        + (f", attempt {each.attempt}" if each.attempt > 1 else "")
        for each in found.underway[:SHOWN]
    ]
    more = len(found.underway) - SHOWN
    return [*lines, f"             and {count(more)} more"] if more > 0 else lines


if __name__ == "__main__":
    command.run(status)
