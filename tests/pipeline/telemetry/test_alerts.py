"""Shares of a budget are told of once each, in the log and to a webhook that may fail at first."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import structlog

from pipeline.telemetry import alerts, observer
from pipeline.telemetry.alerts import Shares
from tests.waiting import PATIENCE_SECONDS


class Hook:
    """A webhook that refuses what comes first."""

    def __init__(self, refuses: int) -> None:
        self.left, self.got, self.enough = refuses, [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.left -= 1
                self.send_response(200 if outer.left < 0 else 503)
                self.end_headers()
                if outer.left < 0:
                    outer.got.append(body)
                    outer.enough.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-path"


@pytest.fixture
def hook(monkeypatch) -> Iterator[Hook]:
    monkeypatch.setattr(alerts, "FIRST_PAUSE_SECONDS", 0.01)
    made = Hook(refuses=2)
    monkeypatch.setenv(alerts.WEBHOOK, made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_each_share_is_told_of_once():
    watch = Shares("r", Decimal("10"), observer.of_driver().tell)
    with structlog.testing.capture_logs() as logs:
        for cost in ("1", "4.99", "5", "5.5", "9", "30"):
            watch.spent(Decimal(cost))
    assert [(each["event"], each["share_percent"], each["cost"]) for each in logs] == [
        ("budget_share_spent", 50, "5"),
        ("budget_share_spent", 80, "9"),
        ("budget_share_spent", 100, "30"),
    ]


def test_a_webhook_that_fails_at_first_gets_it_in_the_end(hook):
    Shares("night-7", Decimal("2"), observer.of_driver().tell).spent(Decimal("1.2"))
    assert hook.enough.wait(PATIENCE_SECONDS)
    assert hook.got == [
        {
            "event": "budget_share_spent",
            "run_id": "night-7",
            "share_percent": 50,
            "cost": "1.2",
            "budget": "2",
            "currency": "USD",
        }
    ]


def test_a_webhook_that_is_gone_costs_a_line_without_its_address(hook):
    hook.left = 99
    with structlog.testing.capture_logs() as logs:
        alerts._post(hook.url, {"run_id": "r", "share_percent": 50})
    assert [each["event"] for each in logs] == ["alert_not_delivered"]
    assert "secret" not in json.dumps(logs)


def test_without_a_budget_nothing_is_said():
    with structlog.testing.capture_logs() as logs:
        Shares("r", None, observer.of_driver().tell).spent(Decimal("1000"))
    assert logs == []
