"""The progress line says how far the run is, how fast, what it has cost and how long it will take."""

import io
import sys
from decimal import Decimal

import pytest
import structlog
from structlog.testing import capture_logs

from pipeline.billing.metering import Rate
from pipeline.driver.progress import Progress, Tally
from pipeline.ledger.records import Heartbeat, MeterReading
from pipeline.telemetry import logs

RATE = Rate("cpu", 1, Decimal("3.60"), "USD")


def reading(actor: str, tokens: int, seconds: float, idle: float = 0, startup: float = 2) -> MeterReading:
    total = round((seconds + idle + startup) * 1e6)
    return MeterReading(
        actor_id=actor,
        node="n",
        device_type="cpu",
        devices=1,
        price_per_second=str(RATE.price_per_second),
        currency="USD",
        started_us=0,
        read_us=1,
        total_us=total,
        startup_us=round(startup * 1e6),
        load_us=0,
        idle_us=round(idle * 1e6),
        snapshot_us=0,
        drain_us=0,
        tokens_read=tokens,
        tokens_decoded=0,
        documents=0,
        peak_rss_bytes=0,
    )


def test_speed_is_that_of_the_actors_while_they_have_documents():
    tally = Tally(documents_total=10, bytes_total=40_000)
    for _ in range(4):
        tally.add("ok", 4000, 1000)
    tally.add("failed", 0, 0)
    tally.add("stopped", 4000, 500)
    readings = [reading("a", 3000, 10, idle=50), reading("b", 3000, 5)]
    now = Progress(tally, "USD", lambda: [Heartbeat(each) for each in readings], "run").standing(before=frozenset())
    assert (now.done, now.failed, now.total, now.tokens) == (5, 1, 10, 6000)
    assert now.tokens_per_second == 300 + 600
    # 4 bytes a token so far: 10,000 tokens in all, 4,000 of them left.
    assert now.seconds_left == 4000 / 900
    assert now.cost == RATE.cost(62_000_000) + RATE.cost(7_000_000)
    assert now.line() == "5/10 documents (1 failed) · 6,000 tokens · 900 tokens/s · $0.069 · ETA 4.44s"


def test_actors_of_earlier_attempts_do_not_count():
    tally = Tally(1, 4000)
    readings = [reading("old", 9000, 10), reading("new", 500, 1)]
    now = Progress(tally, "USD", lambda: [Heartbeat(each) for each in readings], "run").standing(
        before=frozenset({"old"})
    )
    assert (now.tokens, now.tokens_per_second) == (500, 500)


def test_nothing_is_promised_before_the_first_token():
    now = Progress(Tally(3, 100), "USD", lambda: [], "run").standing(before=frozenset())
    assert now.seconds_left is None
    assert now.line() == "0/3 documents · waiting for the first actor"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_below_the_log(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    logs.configure()
    with Progress(Tally(3, 100), "USD", lambda: [], "run") as progress:
        progress._say(progress.standing(frozenset()))
        structlog.get_logger().info("something_happened")
        progress._tally.add("ok", 10, 3)
    shown = terminal.getvalue()
    assert shown.index("0/3 documents") < shown.index("something_happened") < shown.index("1/3 documents")
    # The event has a line of its own.
    assert "documents" not in next(line for line in shown.splitlines() if "something_happened" in line)


def test_without_a_terminal_progress_is_an_event():
    with capture_logs() as events, Progress(Tally(3, 100), "USD", lambda: [], "run"):
        pass
    assert [(each["event"], each["line"]) for each in events] == [
        ("progress", "0/3 documents · waiting for the first actor")
    ]
