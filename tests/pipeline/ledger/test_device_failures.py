"""An actor whose device fails hands its documents back and leaves; a document that makes devices fail is given up and
its neighbors are read; where every device fails the run ends with a sentence."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path

import pytest
import torch

from configs.errors import DeviceError
from configs.settings import EngineSettings
from models.mamba.language_model import MambaLM
from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.ledger.commit import commit
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment_in, begin, entries, ledger, row, tokenizer, with_settings

POISON = 60
"""A token that no text has."""


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return with_settings(assignment_in(tmp_path), engine=EngineSettings(slots=4, step_tokens=512))


def break_passes(monkeypatch: pytest.MonkeyPatch, breaks: Callable[[torch.Tensor], bool]) -> None:
    original = MambaLM.prefill_

    def prefill_(self: MambaLM, tokens: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
        if breaks(tokens):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, tokens, *others, **options)

    monkeypatch.setattr(MambaLM, "prefill_", prefill_)


class Replaced:
    """Actors one after another, each in the place of one that has left, as Ray does it: what has no receipt is asked
    for again."""

    def __init__(self, assignment: Assignment, rows: list[Row]) -> None:
        self.actors: list[EngineDriver] = []
        self._assignment, self._rows, self._changed = assignment, rows, threading.Event()
        self._futures: dict[str, Future[Row]] = {}

    def run(self) -> list[Row]:
        """All receipts."""
        while True:
            self._start()
            while not all(future.done() for future in self._futures.values()) and self.actors[-1].is_alive():
                assert self._changed.wait(PATIENCE_SECONDS)
                self._changed.clear()
            if all(future.done() for future in self._futures.values()):
                return [self._futures[each["document_id"]].result() for each in self._rows]

    def _start(self) -> None:
        if self.actors:
            self.actors[-1].join(PATIENCE_SECONDS)
        self.actors.append(EngineDriver(self._assignment, leave=self._changed.set))
        self.actors[-1].start()
        for each in self._rows:
            future = self._futures.get(each["document_id"])
            if future is None or not future.done():
                self._futures[each["document_id"]] = self.actors[-1].submit([each])[0]
                self._futures[each["document_id"]].add_done_callback(lambda future: self._changed.set())


def rows_in(folder: Path, *names: str) -> list[Row]:
    tokens = tokenizer().encode(TEXT)
    rows = [row(folder / name, title="T", tokens=tokens[: 2000 - 100 * index]) for index, name in enumerate(names)]
    for each in rows:
        if each["document_id"] == "poison":
            each["tokens"] = [*tokens, POISON, *tokens]
    return rows


def test_a_document_that_makes_devices_fail_is_a_failure_and_its_neighbors_are_read(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_in(tmp_path, "a", "poison", "b", "c")
    others = [each for each in rows if each["document_id"] != "poison"]
    undisturbed = with_settings(assignment, output_uri=str(tmp_path / "undisturbed"))
    assert {receipt["status"] for receipt in Replaced(undisturbed, others).run()} == {"ok"}

    break_passes(monkeypatch, lambda tokens: bool((tokens == POISON).any()))
    replaced = Replaced(assignment, rows)
    receipts = {receipt["document_id"]: receipt for receipt in replaced.run()}
    poison = receipts.pop("poison")
    assert {receipt["status"] for receipt in receipts.values()} == {"ok"}
    assert (poison["status"], poison["error_class"]) == ("failed", "ProcessKilledError")
    assert "the device failed with OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB." in str(poison)
    # Two shared it with its neighbors, two had it alone, and the last one is told that it is given up.
    assert len(replaced.actors) == 1 + assignment.config.engine.max_attempts
    found, expected = entries(assignment), entries(undisturbed)
    for each in others:
        (one,), (two,) = (of[each["document_id"]]["summaries"] for of in (found, expected))
        assert (one["summary"], one["tokens_read"]) == (two["summary"], two["tokens_read"])

    # Every microsecond of every actor is in the bill.
    replaced.actors[-1].preempt(30.0)
    for actor in replaced.actors:
        actor.join(PATIENCE_SECONDS)
    begin(assignment)
    job = commit(ledger(assignment), [Document(each["document_id"], each["source_uri"], "e", 1) for each in rows])
    readings = [actor._actor.reading() for actor in replaced.actors]
    assert job["cost"] == sum((each.rate.cost(each.total_us) for each in readings), Decimal(0)) > 0
    assert (job["actors"], job["documents_succeeded"], job["documents_failed"]) == (len(readings), 3, 1)


def test_where_actor_after_actor_fails_the_run_ends_with_a_sentence(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_passes(monkeypatch, lambda tokens: True)
    replaced = Replaced(assignment, rows_in(tmp_path, "a", "b", "c"))
    with pytest.raises(DeviceError, match="the device failed under 3 actors in a row, and no document came to an end"):
        replaced.run()
    assert len(replaced.actors) == 3
    # The device failed before any of them was in the engine: none is blamed, and the next start reads them.
    monkeypatch.undo()
    assert {receipt["status"] for receipt in Replaced(assignment, rows_in(tmp_path, "a", "b", "c")).run()} == {"ok"}
    assert not any(claim.quarantined for claim in ledger(assignment).claims_without_an_end({}))
