"""`python -m jobs.summarize CONFIG.yaml [key=value ...]`: read documents, write summaries and what they cost."""

import signal
import sys
from functools import partial
from typing import Any

from configs.errors import DeviceError, LedgerError, StorageError
from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, exits
from pipeline.driver.prepare import Prepared, prepare
from pipeline.driver.run import execute
from pipeline.reports import quantities
from pipeline.telemetry import logs

STOPPED = {"interrupt": exits.INTERRUPTED, "failures": exits.TOO_MANY_FAILED}
"""By what a run was stopped for, where that is not its deadline or budget."""


def summarize(config_path: command.ConfigPath, overrides: command.Overrides = None) -> int:
    """Summarize documents of any length, and account for every second.

    Exit codes: 0 all done, 2 refused before anything started, 3 some documents failed, 4 stopped at the deadline or the
    budget, 5 stopped because too many documents failed, 130 interrupted. Run the same command again to resume a stopped
    run inside its documents, or to process what has changed since. Ctrl-C saves and commits first; a second Ctrl-C
    exits at once.
    """
    config = load(SummarizeConfig, config_path, overrides or [])
    logs.configure()
    prepared = prepare(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_interrupt, prepared))
    try:
        job = execute(prepared)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {_how_to_resume(prepared)}", file=sys.stderr)
        return exits.INTERRUPTED
    except (StorageError, LedgerError, DeviceError) as error:
        print(f"stopped: {error}\n{_how_to_resume(prepared)}", file=sys.stderr)
        return exits.CRASH
    if job is None:
        print(
            f"nothing to do: all {_done(prepared)} documents are already done in {config.output.uri}{_failed(prepared)}"
        )
        return exits.SUCCESS
    print(_outcome(job, config.output.uri))
    if job["documents_left"]:
        print(_why_stopped(prepared, job), file=sys.stderr)
        return STOPPED.get(prepared.stopping.reason or "", exits.STOPPED)
    return exits.PARTIAL if job["documents_failed"] else exits.SUCCESS


def _interrupt(prepared: Prepared, *_: object) -> None:
    if prepared.stopping.reason is not None or not prepared.stopping.is_possible:
        raise KeyboardInterrupt
    print("\nstopping: documents in progress are being saved; interrupt again to exit at once", file=sys.stderr)
    prepared.stopping.ask("interrupt")


def _why_stopped(prepared: Prepared, job: dict[str, Any]) -> str:
    run = prepared.config.run
    why = {
        "deadline": f"run.deadline = {run.deadline!r} has passed",
        "budget": f"this start has spent run.budget_usd = {run.budget_usd}",
        "failures": f"{prepared.error_budget} (run.max_failed_share = {run.max_failed_share})",
        "interrupt": "it was interrupted",
    }
    left = f"{job['documents_left']} documents are left"
    return f"stopped: {why[prepared.stopping.reason or 'interrupt']}; {left}: {_how_to_resume(prepared)}"


def _how_to_resume(prepared: Prepared) -> str:
    return f"run the same command again to resume, finished documents are kept (run.id={prepared.ledger.run_id})"


def _done(prepared: Prepared) -> int:
    return len(prepared.documents) + prepared.num_skipped


def _failed(prepared: Prepared) -> str:
    """In earlier runs, of those that were listed."""
    if not prepared.num_failed_before:
        return ""
    return (
        f"; {prepared.num_failed_before} more failed before for what is in them (table failures), and "
        "input.retry_failed=true tries them again"
    )


def _outcome(job: dict[str, Any], output_uri: str) -> str:
    failed = f", {job['documents_failed']} failed" if job["documents_failed"] else ""
    cost = quantities.money(job["cost"], job["currency"])
    return (
        f"run {job['run_id']} {job['status']}: {job['documents_succeeded']} documents summarized{failed}, "
        f"{quantities.count(job['tokens_read'])} tokens read, {cost}\n"
        f"  python -m jobs.report {output_uri}"
    )


if __name__ == "__main__":
    command.run(summarize, SummarizeConfig)
