"""`python -m benchmarks.week [output=week]`: a week of nightly runs, for a report of real figures.

Seven nights of `jobs.summarize` over the same folder, each with the clocks of its Python processes set to 22:00 of that
night by time-machine. Every night documents arrive and a log has grown; the second night ends at its budget and the
third goes on with what was left; on the fourth an actor is killed with kill -9; on the fifth a broken PDF comes.
Everything else is as on any night: real runs, on this machine's CPU, with the default model. Prints the report, and
writes it as a page beside the output. Takes some ten minutes.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from pydoc_data.topics import topics
from random import Random

import psutil

from benchmarks import measure
from jobs import exits
from pipeline.ledger.run_folder import Ledger, runs
from pipeline.reports.warehouse import Warehouse

NIGHTS = 7
BUDGET_NIGHT, KILL_NIGHT, BROKEN_NIGHT = 1, 3, 4
DOCUMENTS_A_NIGHT, LOG_CHARS_A_NIGHT = 9, 60_000
STOPPED_AT = Decimal("0.6")
"""Of what the night before cost."""
TOKENS_BEFORE_THE_KILL = 12_000
CLOCK = """\
import os, time, time_machine
time_machine.travel(time.time() + float(os.environ["CLOCK_OFFSET"]), tick=True).start()
"""
"""What Python runs first in every process."""
ACTOR = "SummarizeStage"
SETTINGS = (
    "model.device=cpu",
    "incremental=true",
    "states.storage_gib_month=0",
    "run.ray_address=local",
    # By which it is seen when to kill.
    "run.heartbeat_seconds=1",
    # So often that half a minute's work is saved as an hour's would be.
    "snapshot.max_lost_device_seconds=5",
    "input.inline_bytes=20000",
    # That of a GPU, so that amounts look as they do where there is one.
    "price.cpu_hour=2.25",
)


class Week:
    def __init__(self, folder: Path) -> None:
        self.documents, self.output, self.site = folder / "documents", folder / "output", folder / "site"
        self.documents.mkdir(parents=True)
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
        self.texts = sorted(topics.values())
        Random(0).shuffle(self.texts)

    def arrivals(self, night: int) -> None:
        """New documents, more in the middle of the week, and what the log has gained."""
        number = DOCUMENTS_A_NIGHT + 3 * (night in (2, 3))
        for text in self.texts[night * 12 : night * 12 + number]:
            title = text.strip().splitlines()[0][:40].replace("/", " ")
            (self.documents / f"night {night + 1} {title}.txt").write_text(text, encoding="utf-8")
        with (self.documents / "events.log").open("a", encoding="utf-8") as log:
            log.write("\n".join(self.texts)[night * LOG_CHARS_A_NIGHT : (night + 1) * LOG_CHARS_A_NIGHT])
        if night == BROKEN_NIGHT:
            (self.documents / "scan.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows")

    def run(self, night: int) -> int:
        now = datetime.now(UTC)
        at = (now - timedelta(days=NIGHTS - night)).replace(hour=22, minute=0, second=0)
        settings = [f"input.sources=[{self.documents}]", f"output.uri={self.output}", *SETTINGS]
        if night == BUDGET_NIGHT:
            cost = Warehouse(str(self.output)).rows("select sum(cost) as cost from jobs")[0]["cost"]
            settings.append(f"run.budget_usd={(cost * STOPPED_AT).quantize(Decimal('0.000001'))}")
        offset = {"CLOCK_OFFSET": str((at - now).total_seconds()), "PYTHONPATH": str(self.site.resolve())}
        command = [sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", *settings]
        with subprocess.Popen(command, env=os.environ | offset, stdout=sys.stderr) as running:
            if night == KILL_NIGHT:
                self._kill_an_actor(running)
            return running.wait()

    def _kill_an_actor(self, running: subprocess.Popen[bytes]) -> None:
        known = len(runs(str(self.output)))
        while running.poll() is None:
            newest = runs(str(self.output))
            if len(newest) > known and _tokens_read(newest[0]) > TOKENS_BEFORE_THE_KILL:
                for process in psutil.Process(running.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if ACTOR in " ".join(process.cmdline()):
                            process.kill()
                            return
            time.sleep(0.2)


def _tokens_read(ledger: Ledger) -> int:
    return sum(heartbeat.reading.tokens_read for heartbeat in ledger.heartbeats())


def main(output: str) -> None:
    folder = Path(output)
    if folder.exists():
        sys.exit(f"{folder} exists: name another output=, or remove it")
    week = Week(folder)
    for night in range(NIGHTS):
        week.arrivals(night)
        code = week.run(night)
        # What is broken fails every night again, until somebody mends it or takes it away.
        usual = exits.PARTIAL if night >= BROKEN_NIGHT else exits.SUCCESS
        expected = exits.STOPPED if night == BUDGET_NIGHT else usual
        if code != expected:
            print(f"night {night + 1} ended with {code}, not with {expected}", file=sys.stderr)
    page = folder / "report.html"
    subprocess.run([sys.executable, "-m", "jobs.report", str(week.output), "--html", str(page)], check=True)
    subprocess.run([sys.executable, "-m", "jobs.report", str(week.output), "--by", "day"], check=True)


if __name__ == "__main__":
    main(**measure.arguments(output="week"))
