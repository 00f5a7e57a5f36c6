"""`python -m benchmarks.going_on [document=FILE] [megabytes=3.5]`: what a stop reads twice, what growth costs.

One document through `jobs.summarize`, on this machine's CPU, with the default model and the default policy for
snapshots: undisturbed; with a budget of 60 % of what that cost, and again without one; and, when 5 % have been added
to it, once more. Prints JSON: tokens read in all against the document's, whether the summaries are the same, the
share of snapshots in the time, and what reading the grown document cost against reading it from its start.
Without `document` one is made up of the Python reference. A million tokens take some twenty minutes.
"""

import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.reading import MEGABYTE, write_text
from pipeline.reports.warehouse import Warehouse

SHARE_BEFORE_THE_STOP = Decimal("0.6")
SHARE_ADDED = 0.05
STOPPED = 4


class Output:
    """One output folder and the runs into it."""

    def __init__(self, folder: Path, document: Path) -> None:
        self._uri, self._document = str(folder), document

    def summarize(self, *settings: str) -> int:
        given = [
            f"input.sources=[{self._document}]",
            f"output.uri={self._uri}",
            "run.ray_address=local",
            "citations=false",
            *settings,
        ]
        asked = "prompts=[{name: summary, instruction: Summarize the document in one sentence., max_tokens: 64}]"
        command = [sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", "model.device=cpu", asked, *given]
        return subprocess.run(command, check=False, stdout=sys.stderr).returncode

    def rows(self, query: str) -> list[dict[str, Any]]:
        return Warehouse(self._uri).rows(query)

    def job(self) -> dict[str, Any]:
        """The newest."""
        return self.rows("select * from jobs order by started_at desc limit 1")[0]

    def summary(self) -> str:
        return str(self.rows("select summary from summaries order by started_at desc limit 1")[0]["summary"])

    def seconds(self, kind: str) -> Decimal:
        """Of the newest run."""
        newest = (
            f"select coalesce(sum(device_seconds), 0) as seconds from costs where run_id = '{self.job()['run_id']}'"
        )
        return Decimal(self.rows(f"{newest} and kind = '{kind}'")[0]["seconds"])


def stopped_and_finished(folder: Path, document: Path, whole: Output) -> dict[str, Any]:
    output = Output(folder, document)
    budget = (whole.job()["cost"] * SHARE_BEFORE_THE_STOP).quantize(Decimal("0.000001"))
    code = output.summarize(f"run.budget_usd={budget}", "incremental=true")
    assert code == STOPPED, f"the run was to stop at its budget, and ended with {code}"
    read_before = output.job()["tokens_read"]
    assert output.summarize("incremental=true") == 0
    return {
        "read_before_the_stop": round(read_before / whole.job()["tokens_read"], 3),
        "tokens_read_in_all_ratio": round(output.job()["tokens_read"] / whole.job()["tokens_read"], 5),
        "wasted_share": round(float(output.seconds("wasted") / output.job()["device_seconds"]), 5),
        "same_summary": output.summary() == whole.summary(),
    }


def grown(folder: Path, document: Path, output: Output) -> dict[str, Any]:
    """Of `output`, which kept the state of the document as it was."""
    text = document.read_bytes()
    document.write_bytes(text + text[: round(len(text) * SHARE_ADDED)])
    assert output.summarize("incremental=true") == 0
    anew = Output(folder, document)
    assert anew.summarize() == 0
    return {
        "tokens_read_ratio": round(output.job()["tokens_read"] / anew.job()["tokens_read"], 5),
        "cost_ratio": round(float(output.seconds("document") / anew.seconds("document")), 5),
        "same_summary": output.summary() == anew.summary(),
    }


def main(document: str, megabytes: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        path = folder / "document.txt"
        if document:
            path.write_bytes(Path(document).read_bytes())
        else:
            write_text(path, round(float(megabytes) * MEGABYTE))
        whole = Output(folder / "whole", path)
        assert whole.summarize() == 0
        snapshots = float(whole.seconds("snapshot") / whole.job()["device_seconds"])
        measure.publish(
            "going_on",
            model="default",
            tokens=whole.job()["tokens_read"],
            snapshot_share=round(snapshots, 6),
            stopped=stopped_and_finished(folder / "stopped", path, whole),
            grown=grown(folder / "anew", path, Output(folder / "stopped", path)),
        )


if __name__ == "__main__":
    main(**measure.arguments(document="", megabytes="3.5"))
