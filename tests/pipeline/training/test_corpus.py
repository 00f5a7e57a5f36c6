"""Documents are drawn as the settings say, the same ones whenever asked, and laid out as a run lays them out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard

from configs.errors import ConfigError
from configs.training import DataSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts import template
from pipeline.storage import objects
from pipeline.training.corpus import Corpus

TOKENIZER = Tokenizer.shipped()
TEXT = "The committee met on Tuesday. It approved the budget of 12 million.\n" * 20
ONE, OTHER = (
    "The committee approved a budget of 12 million on Tuesday.",
    "A committee met and agreed to spend 12 million.",
)


def row(name: str, **more: object) -> dict[str, object]:
    return {"id": name, "text": f"{name}: {TEXT}", **more}


def write(place: str, name: str, rows: list[dict[str, object]]) -> None:
    data = "\n".join(map(json.dumps, rows)).encode()
    pack = {"zst": zstandard.compress, "gz": gzip.compress, "jsonl": bytes}[name.rpartition(".")[2]]
    objects.publish(objects.join(place, name), pack(data))


def corpus(place: str, **more: object) -> Corpus:
    return Corpus(DataSettings(directory=place, held_out_share=1e-9, **more))


def text_of(example) -> tuple[str, str]:
    """Of what is read, and of the answer."""
    split = len(example.tokens) - example.answer_tokens
    return TOKENIZER.decode(example.tokens[:split].tolist()), TOKENIZER.decode(example.tokens[split:].tolist())


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def test_files_of_any_compression_are_read_from_a_disk_or_a_store(place):
    for number, name in enumerate(("a.jsonl", "b.jsonl.zst", "c.jsonl.gz", "ignored.txt.gz")):
        write(place, name, [row(f"document {number}", summary=ONE)])
    found = corpus(place, pair_share=1)
    read = {text_of(found.example(TOKENIZER, 0, 0, number))[0][:10] for number in range(60)}
    assert read == {"document 0", "document 1", "document 2"}


@pytest.mark.parametrize("field", ["summary", "summaries", "reference", "references"])
def test_a_summary_has_any_of_four_names_and_may_be_a_list(tmp_path, field):
    write(str(tmp_path), "a.jsonl", [row("a", **{field: [ONE, OTHER] if field.endswith("s") else ONE})])
    found = corpus(str(tmp_path), pair_share=1)
    answers = {text_of(found.example(TOKENIZER, 0, 0, number))[1] for number in range(40)}
    assert answers == ({ONE, OTHER} if field.endswith("s") else {ONE})


def test_a_pair_is_laid_out_as_a_run_does(tmp_path):
    given = row("a", summary=ONE, query="What was approved?")
    write(str(tmp_path), "a.jsonl", [given])
    example = corpus(str(tmp_path), pair_share=1, preamble="You read minutes.").example(TOKENIZER, 0, 0, 0)
    # As pipeline/actor/startup.py has the preamble, pipeline/documents/tokenize.py a document, and bound.py a prompt.
    expected = [
        *(TOKENIZER.begin_id, *TOKENIZER.encode("You read minutes.")),
        *tokenize.tokens([given["text"]], TOKENIZER),
        *TOKENIZER.encode(template.render("What was approved?")),
        *(*TOKENIZER.encode(ONE), TOKENIZER.end_id),
    ]
    assert example.tokens.tolist() == expected
    assert example.answer_tokens == len(TOKENIZER.encode(ONE)) + 1


def test_an_example_follows_from_seed_stream_and_number_alone(tmp_path):
    write(str(tmp_path), "a.jsonl", [row(f"document {number}", summary=ONE) for number in range(50)])
    one, again = corpus(str(tmp_path)), corpus(str(tmp_path))

    def drawn(corpus: Corpus, seed: int, stream: int, numbers: range) -> list[np.ndarray]:
        return [corpus.example(TOKENIZER, seed, stream, number).tokens for number in numbers]

    whole = drawn(one, 0, 0, range(12))
    for number in (11, 3, 7):
        assert np.array_equal(again.example(TOKENIZER, 0, 0, number).tokens, whole[number])
    for other in (drawn(one, 1, 0, range(12)), drawn(one, 0, 1, range(12))):
        assert not all(map(np.array_equal, whole, other))


def test_shares_and_weights_are_kept(tmp_path):
    for name in ("often", "seldom", "never"):
        write(str(tmp_path), f"{name}.jsonl", [row(f"{name} {number}", summary=ONE) for number in range(20)])
    found = corpus(str(tmp_path), weights={"often": 3, "never": 0}, pair_share=0.5)
    drawn = [found.example(TOKENIZER, 0, 0, number) for number in range(400)]
    pairs = [text_of(each)[0].split()[0] for each in drawn if each.answer_tokens]
    assert 150 < len(pairs) < 250
    assert {*pairs} == {"often", "seldom"}
    assert 1.5 < pairs.count("often") / pairs.count("seldom") < 6


def test_other_data_has_another_digest(tmp_path):
    write(str(tmp_path), "a.jsonl", [row("a", summary=ONE)])
    before = corpus(str(tmp_path)).digest
    assert corpus(str(tmp_path)).digest == before
    write(str(tmp_path), "a.jsonl", [row("a", summary=OTHER)])
    assert corpus(str(tmp_path)).digest != before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a"}], "object 1: `id` and `text` are needed"),
        ([row("a"), row("b", summary=7)], "object 2: `summary` must be a string or a list of strings"),
        ([row("a", summaries=[ONE, None])], "object 1: `summaries` must be a string or a list of strings"),
        ([row("a", summary="short")], "holds no document with a summary of at least data.min_summary_chars = 40"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(tmp_path, rows, message):
    write(str(tmp_path), "a.jsonl", rows)
    with pytest.raises(ConfigError, match=message):
        corpus(str(tmp_path))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "b"}\n{"id": \n')
    with pytest.raises(ConfigError, match=r"a\.jsonl is no file of JSON lines"):
        corpus(str(tmp_path))
