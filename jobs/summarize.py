"""`python -m jobs.summarize CONFIG.yaml [key=value ...]`: read documents, write summaries and what they cost."""

import signal
import sys
from typing import Any, NoReturn

from configs.errors import LedgerError, StorageError
from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, exits
from pipeline import logs, quantities
from pipeline.run import Prepared, execute, prepare


def summarize(config_path: command.ConfigPath, overrides: command.Overrides = None) -> int:
    """Summarise documents of any length, and account for every second.

    Exit codes: 0 all done, 2 refused before anything started, 3 some documents failed, 130 interrupted.
    Run the same command again to go on with an interrupted run, or to do what has changed since.
    """
    config = load(SummarizeConfig, config_path, overrides or [])
    logs.configure()
    signal.signal(signal.SIGTERM, _interrupt)
    prepared = prepare(config)
    try:
        job = execute(prepared)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {_how_to_go_on(prepared)}", file=sys.stderr)
        return exits.INTERRUPTED
    except (StorageError, LedgerError) as error:
        print(f"stopped: {error}\n{_how_to_go_on(prepared)}", file=sys.stderr)
        return exits.CRASH
    if job is None:
        print(f"nothing to do: {_done(prepared)} documents are done already in {config.output.uri}")
        return exits.SUCCESS
    print(_outcome(job, config.output.uri))
    return exits.PARTIAL if job["documents_failed"] else exits.SUCCESS


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _how_to_go_on(prepared: Prepared) -> str:
    return f"run the same command again to go on, what is finished stays (run.id={prepared.ledger.run_id})"


def _done(prepared: Prepared) -> int:
    return len(prepared.documents) + prepared.num_skipped


def _outcome(job: dict[str, Any], output_uri: str) -> str:
    failed = f", {job['documents_failed']} failed" if job["documents_failed"] else ""
    cost = quantities.money(job["cost"], job["currency"])
    return (
        f"run {job['run_id']} {job['status']}: {job['documents_succeeded']} documents summarised{failed}, "
        f"{quantities.count(job['tokens_read'])} tokens read, {cost}\n"
        f"  python -m jobs.report {output_uri}"
    )


if __name__ == "__main__":
    command.run(summarize, SummarizeConfig)
