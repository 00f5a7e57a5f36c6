"""A model that transformers runs, asked by its chat template, in an actor: read, stopped inside, resumed elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import ModelError
from configs.settings import EngineSettings, PromptSettings
from models.backends.adapter import TransformersBackend
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.planning.model import Model
from tests import adapted_models
from tests.driven import Driven
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment, entries, resuming, run, streamed, submitted, tokenizer

TEMPLATE = "{% for message in messages %}0{{ message.content }}\n{% endfor %}{% if add_generation_prompt %}1{% endif %}"


def assignment_with(kind: str, tmp_path: Path) -> Assignment:
    directory = adapted_models.save(kind, tmp_path / "model")
    tokenizer().save(directory)
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return assignment(
        str(tmp_path / "output"),
        model_uri=str(directory),
        model_revision=checkpoint.fingerprint(directory),
        prompts=(PromptSettings(instruction="line", max_tokens=5),),
        engine=EngineSettings(slots=2, step_tokens=128),
        heartbeat_seconds=300,
        max_lost_device_seconds=0.001,
        state_key="k",
        preamble="all in a line",
    )


def test_a_document_resumes_inside_and_says_the_same(tmp_path: Path) -> None:
    told = assignment_with("olmo_hybrid", tmp_path)
    book = streamed(tmp_path / "book.txt", TEXT.encode())
    undisturbed = replace(told, output_uri=str(tmp_path / "undisturbed"))
    run(undisturbed, book)[1][0].result(PATIENCE_SECONDS)
    (expected,) = entries(undisturbed)["book.txt"]["summaries"]
    driver = Driven(told)
    submitted(driver, book)
    driver.await_arrivals(1)
    assert isinstance(driver._engine._backend, TransformersBackend)

    def is_inside() -> bool:
        # As if a pass took a second: what is worth less is not saved.
        driver.clock.now_us += 1_000_000
        return driver._engine.in_slots.get("book.txt", 0) > 400

    driver.work_until(is_inside)
    driver._snapshots.take_all(driver._jobs)
    assert driver._writer.flush(30)
    (again,) = resuming(told, book)
    assert again["state_uri"] is not None
    _, (receipt,) = run(told, again)
    assert receipt.result(PATIENCE_SECONDS)["status"] == "ok"
    (resumed,) = entries(told)["book.txt"]["summaries"]
    assert resumed["tokens_resumed"] > 0 and expected["tokens_resumed"] == 0
    assert resumed["summary"] == expected["summary"] != ""
    # A conversation has its beginning before the document.
    chat = Tokenizer.of_run(told.config.model)
    assert chat.before("all in a line") == chat.encode("0all in a line\n0")
    assert resumed["tokens_read"] == len(chat.encode(TEXT))


def test_what_forgets_is_refused_before_anything_starts_and_the_others_are_planned(tmp_path: Path) -> None:
    config = assignment_with("jamba", tmp_path / "jamba").config
    with pytest.raises(ModelError, match="forgets what it read between two pieces"):
        Model.of(config)
    config = assignment_with("olmo_hybrid", tmp_path / "olmo").config
    planned = Model.of(config)
    assert planned.footprint.state_bytes > 0 and planned.footprint.max_context == 65536
    # Keys and values of one layer in bfloat16, for the document and for the copy that answers.
    assert planned.footprint.cache_bytes(1) == 2 * (2 * 1 * 2 * 16 * 2)
    assert json.loads((Path(config.model.uri) / "config.json").read_text())["model_type"] == "olmo_hybrid"
