"""Each document is charged with its own passes and each overhead with its own work, on a device that works on after the
call that asked it to, and an actor that has nothing to do is idle and sleeps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from configs.settings import EngineSettings
from models.backends import device as devices
from models.backends.recurrent import RecurrentBackend
from models.engine.backend import Handle, SavedState
from models.mamba.language_model import MambaLM
from pipeline.ledger.records import Claim
from tests.driven import WAIT_US, Clock, Driven
from tests.one_actor import (
    PATIENCE_SECONDS,
    TEXT,
    assignment_in,
    begun,
    entries,
    ledger,
    row,
    submitted,
    tokenizer,
    with_settings,
)

TOKEN_US, DECODED_US = 10, 3000


class FakeDevice(Clock):
    """Passes are asked for and end later, one after the other; only who waits for them sees the clock move."""

    def __init__(self) -> None:
        super().__init__()
        self.busy_until_us = 0

    def work(self, microseconds: int) -> None:
        self.busy_until_us = max(self.now_us, self.busy_until_us) + microseconds

    def wait(self, until_us: int) -> None:
        self.now_us = max(self.now_us, until_us)


class FakeMark:
    def __init__(self, device: FakeDevice) -> None:
        self._device, self._end_us = device, device.busy_until_us

    def wait(self) -> None:
        self._device.wait(self._end_us)

    def ended_ns(self) -> int:
        self.wait()
        return self._end_us * 1000


@pytest.fixture(params=[0, 1], ids=["in_turn", "a_pass_ahead"])
def ahead(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, ahead: int) -> FakeDevice:
    fake = FakeDevice()
    prefill, decode, copy = MambaLM.prefill_, MambaLM.decode_, RecurrentBackend.export

    def prefill_(self: MambaLM, tokens: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
        fake.work(TOKEN_US * len(tokens))
        return prefill(self, tokens, *others, **options)

    def decode_(self: MambaLM, tokens: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
        fake.work(DECODED_US * len(tokens))
        return decode(self, tokens, *others, **options)

    def export(self: RecurrentBackend, handle: Handle, since: int = 0) -> SavedState:
        # Nothing can be copied from a device before it is there.
        fake.wait(fake.busy_until_us)
        return copy(self, handle, since)

    monkeypatch.setattr(RecurrentBackend, "export", export)
    monkeypatch.setattr(MambaLM, "prefill_", prefill_)
    monkeypatch.setattr(MambaLM, "decode_", decode_)
    monkeypatch.setattr(RecurrentBackend, "limits", property(lambda self: replace(self._limits, passes_ahead=ahead)))
    monkeypatch.setattr(RecurrentBackend, "mark", lambda self: FakeMark(fake))
    monkeypatch.setattr(devices, "synchronize", lambda device: fake.wait(fake.busy_until_us))
    return fake


def test_each_document_is_charged_its_own_passes_and_loading_its_own(
    tmp_path: Path, device: FakeDevice, ahead: int
) -> None:
    # One slot, so that each pass is of one document.
    assignment = with_settings(assignment_in(tmp_path), engine=EngineSettings(slots=1, step_tokens=512))
    driver = Driven(assignment, device)
    loaded = driver.overheads()
    assert loaded == {"load": device.now_us} and loaded["load"] > 0
    texts = {"long": TEXT, "short": TEXT[:40], "middle": TEXT[:900], "tiny": "a"}
    rows = [row(tmp_path / name, title="T", tokens=tokenizer().encode(text)) for name, text in texts.items()]
    futures = submitted(driver, *rows)
    driver.await_arrivals(len(rows))
    driver.work_to_the_end()
    assert {future.result(PATIENCE_SECONDS)["status"] for future in futures} == {"ok"}
    (asked,), _ = driver._prompts.of("any")
    prompt = len(asked.tokens)
    for each in rows:
        entry = entries(assignment)[each["document_id"]]
        spent, (summary,) = entry["spent"], entry["summaries"]
        tries = 1 + summary["retries"]
        # The first token of an answer comes with its prompt. A pass ahead may decode one that comes after the last.
        decoded_us = spent["decoding"]
        in_vain, rest_us = divmod(decoded_us - DECODED_US * (entry["tokens_decoded"] - tries), DECODED_US)
        assert rest_us == 0 and 0 <= in_vain <= tries * ahead
        assert spent["microseconds"] == spent["saved"] == TOKEN_US * (len(each["tokens"]) + prompt * tries) + decoded_us
        assert spent["decoding_saved"] == decoded_us
    assert driver.overheads() == loaded and not driver.waits


def test_a_snapshot_is_not_charged_with_the_pass_before_it(tmp_path: Path, device: FakeDevice) -> None:
    driver = Driven(assignment_in(tmp_path), device)
    tokens = tokenizer().encode(TEXT)
    futures = submitted(driver, *(row(tmp_path / name, title="T", tokens=tokens) for name in "abc"))
    driver.await_arrivals(3)
    driver.work_until(lambda: driver._actor.reading().tokens_read > 1000)
    driver._snapshots.take_all(driver._jobs)
    driver._writer.flush()
    assert len(ledger(driver._assignment).snapshots()) == 2
    assert len(driver._jobs) == 3 and "snapshot" not in driver.overheads()
    driver.work_to_the_end()
    assert {future.result(PATIENCE_SECONDS)["status"] for future in futures} == {"ok"}


def test_an_actor_without_work_is_idle_and_sleeps_whatever_came_last(tmp_path: Path, device: FakeDevice) -> None:
    assignment = assignment_in(tmp_path)
    for attempt in (1, 2):
        begun(assignment, Claim("quarantined", "e", attempt, f"dead{attempt}", 1, 0))
    driver = Driven(assignment, device)
    tokens = tokenizer().encode(TEXT)
    failed = row(tmp_path / "failed", error_class="CorruptError", error_message="It is damaged.")
    rows = [row(tmp_path / name, title="T", tokens=tokens) for name in ("a", "b", "quarantined")]
    *good, elsewhere, broken = submitted(driver, *rows, failed)
    driver.await_arrivals(4)
    # Before it goes in, another actor begins it: it goes back to the intake, and never enters the engine.
    begun(assignment, Claim("quarantined", "e", 3, "other", 1, 0, quarantined=True))
    driver._intake.take = lambda job: None
    driver.work_to_the_end()
    assert {future.result(PATIENCE_SECONDS)["status"] for future in good} == {"ok"}
    assert broken.result(PATIENCE_SECONDS)["status"] == "failed" and not elsewhere.done()
    driver._work()
    waits, idle_us = len(driver.waits), driver.overheads()["idle"]
    for _ in range(20):
        driver._work()
    assert len(driver.waits) == waits + 20
    assert driver.overheads()["idle"] == idle_us + 20 * WAIT_US
    # Until the next heartbeat.
    assert all(0 <= seconds <= assignment.heartbeat_seconds for seconds in driver.waits)
    spent = [entry["spent"] for entry in entries(assignment).values() if entry["outcome"] == "finished"]
    assert sum(each["saved"] for each in spent) == device.now_us - sum(driver.overheads().values())
