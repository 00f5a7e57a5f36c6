"""A suspect that waits for its turn is not blamed for the deaths of another."""

from dataclasses import replace

from configs.settings import EngineSettings
from pipeline.ledger import Claim, document_key
from tests.one_actor import TEXT, assignment_in, ledger, run, streamed


def test_a_suspect_that_waits_for_its_turn_is_no_attempt(tmp_path):
    assignment = replace(assignment_in(tmp_path), engine=EngineSettings(slots=4, step_tokens=64))
    for name in ("a.txt", "b.txt"):
        for attempt in (1, 2):
            assert ledger(assignment).begin_attempt(Claim(name, "e", attempt, f"dead{attempt}", 1, 0))
    rows = [streamed(tmp_path / name, (TEXT * 8).encode()) for name in ("a.txt", "b.txt")]
    driver, futures = run(assignment, *rows)
    while not driver._jobs:
        assert not any(future.done() for future in futures)
    begun = sorted(len(ledger(assignment).claims(document_key(name, "e"))) for name in ("a.txt", "b.txt"))
    assert begun == [2, 3]
    assert [future.result(120)["status"] for future in futures] == ["ok", "ok"]
