"""Of two starts of one command one works, in whatever order they look and write."""

import os
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest

from configs.errors import ConfigError
from pipeline.ledger.commands import Command
from pipeline.storage import objects
from tests.schedule import Turns, every_order


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path)


def found(output: str) -> Command:
    return Command(output, "settings", ["in/"])


def start(output: str, name: str, done: tuple[str, ...] = ()) -> str:
    """As `prepare` and `execute` do: the id of the run that goes on to its lease, where two of one run meet."""
    command = found(output)
    run_id = name if command.run_id is None or command.run_id in done else command.run_id
    command.claim(run_id)
    return run_id


def test_in_every_order_of_their_operations_all_but_one_run_give_way(tmp_path, monkeypatch):
    numbers = count()
    orders = every_order(lambda schedule: start_together(tmp_path / str(next(numbers)), monkeypatch, schedule, 2))
    assert sum(1 for _ in orders) > 50


@pytest.mark.parametrize("earlier", [(), ("old",)], ids=["the first run", "after another"])
def test_of_three_starts_too(tmp_path, monkeypatch, earlier):
    """In some of all the orders."""
    draw = Random(1)
    for number in range(150):
        schedule = tuple(draw.choices(range(6), k=60))
        start_together(tmp_path / str(number), monkeypatch, schedule, 3, earlier)


def start_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch, schedule: tuple[int, ...], starts: int, earlier: tuple[str, ...] = ()
) -> Turns:
    output = str(folder)
    for name in earlier:
        found(output).claim(name)
    with monkeypatch.context() as patch:
        turns = Turns(patch, schedule)
        outcomes = turns.run([partial(start, output, f"run-{number}", earlier) for number in range(starts)])
    (winner,) = {outcome for outcome in outcomes if isinstance(outcome, str)}
    refused = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    assert all(isinstance(error, ConfigError) and repr(winner) in str(error) for error in refused), outcomes
    assert found(output).run_id == winner
    return turns


def test_a_winner_that_dies_before_its_first_word_is_gone_on_with(output):
    """Or is refused, or fails: nothing of its run is there but its id."""
    found(output).claim("dead")
    assert start(output, "mine") == "dead"
    assert objects.list_folders(f"{output}/_runs") == ["_commands"]


@pytest.mark.parametrize("passed", [1, 2, 3])
def test_who_looked_long_ago_gives_way_although_its_place_is_free_again(output, passed):
    """Each run sweeps the places of those before it."""
    slow = found(output)
    for number in range(1, passed + 1):
        found(output).claim(f"run-{number}")
    with pytest.raises(ConfigError, match=rf"run.id = 'run-{passed}'"):
        slow.claim("slow")
    assert found(output).run_id == f"run-{passed}"
    assert len(objects.list_files(f"{output}/_runs/_commands")) == 1


def test_who_looked_just_before_two_others_passed_gives_way(output, monkeypatch):
    """The second one sweeps the place that the slow one then takes."""
    slow, create = found(output), objects.create

    def after_two_others(uri: str, data: bytes) -> bool:
        monkeypatch.setattr(objects, "create", create)
        for name in ("one", "two"):
            found(output).claim(name)
        return create(uri, data)

    monkeypatch.setattr(objects, "create", after_two_others)
    with pytest.raises(ConfigError, match=r"run\.id = 'two'"):
        slow.claim("slow")
    assert found(output).run_id == "two"
    assert len(objects.list_files(f"{output}/_runs/_commands")) == 1


def test_ids_that_users_choose_are_refused_by_nobody(output):
    one, other = found(output), found(output)
    one.claim("monday", whoever_else=True)
    other.claim("tuesday", whoever_else=True)
    assert found(output).run_id == "tuesday"
    one.claim("monday", whoever_else=True)
    assert found(output).run_id == "monday"


def test_other_settings_and_other_sources_are_other_commands(output):
    found(output).claim("mine")
    assert Command(output, "other", ["in/"]).run_id is None
    assert Command(output, "settings", ["in/", "more/"]).run_id is None
    assert found(output).run_id == "mine"
