"""What earlier runs have measured becomes the speed of a quote."""

import gzip
import json
import sys
from datetime import timedelta
from decimal import Decimal

import pytest

from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings, SummarizeConfig
from pipeline.documents import tokenize
from pipeline.planning import token_count
from pipeline.planning.quote import Prices, quote
from pipeline.planning.speed import Speed, measured_speed
from pipeline.planning.token_count import Tokens, count_tokens
from pipeline.planning.windowed import Beside
from pipeline.schemas.document import Document, Place
from tests import pdf
from tests.one_actor import tokenizer
from tests.outputs import STARTED, cost_row, job_row, write_part

ASKED = {"prompts": [{"name": "one", "max_tokens": 100}]}


def config(*most_tokens: int, sections: SectionSettings | None = None) -> SummarizeConfig:
    prompts = tuple(PromptSettings(name=f"p{index}", max_tokens=most) for index, most in enumerate(most_tokens))
    return SummarizeConfig(input=InputSettings(sources=("x",)), prompts=prompts, sections=sections)


def write_run(root, name: str, *costs: dict, started=STARTED, **quoted: int) -> None:
    job = job_row("1", started, model_revision="m", config=json.dumps(ASKED), quote=json.dumps(quoted))
    write_part(root, "jobs", name, [job])
    write_part(root, "costs", name, [{"device_type": "cpu", "actor_id": "a"} | cost for cost in costs])


def seconds(total: str, answering: str | None = None) -> dict[str, Decimal | None]:
    return {"device_seconds": Decimal(total), "decode_seconds": answering and Decimal(answering)}


def test_reading_answers_and_starts_are_told_apart(tmp_path):
    write_run(
        tmp_path,
        "one",
        cost_row("document", "0", "a", tokens_read=1000, outcome="finished") | seconds("12", "2"),
        cost_row("document", "0", "b", tokens_read=3000, outcome="finished") | seconds("32", "4"),
        # What was lost, or failed, says nothing of how fast reading is.
        cost_row("document", "0", "c", tokens_read=9000, outcome="lost") | seconds("0"),
        cost_row("wasted", "0", "c", outcome="lost") | seconds("50"),
        cost_row("wasted", "0", "d", tokens_read=500, outcome="fenced") | seconds("50"),
        cost_row("document", "0", "e", tokens_read=7, outcome="failed") | seconds("50"),
        cost_row("snapshot", "0") | seconds("2"),
        cost_row("startup", "0") | seconds("5"),
        cost_row("load", "0") | seconds("6"),
    )
    speed = measured_speed(str(tmp_path), "m", "cpu", config(100))
    assert speed is not None and "measured in 1 run" in speed.source
    assert speed.seconds_per_token == pytest.approx(40 / 4000)
    assert speed.seconds_per_answered == pytest.approx(3)
    assert speed.startup_seconds == pytest.approx(11)
    # Longer answers, and more of them.
    more = measured_speed(str(tmp_path), "m", "cpu", config(100, 50, sections=SectionSettings()))
    assert more is not None
    assert more.seconds_per_answered == pytest.approx(3 * (150 + SectionSettings().prompts[0].max_tokens) / 100)


def test_what_documents_in_windows_take_beside_is_quoted_at_the_speed_of_all_that_was_read(tmp_path):
    row = cost_row("document", "0", "a", tokens_read=1000, outcome="finished") | seconds("22", "6")
    write_run(tmp_path, "one", row, documents=1, tokens=1000, tokens_beside=600, tokens_decoded=300)
    asked = config(60, 40)
    speed = measured_speed(str(tmp_path), "m", "cpu", asked)
    assert speed is not None
    assert speed.seconds_per_token == pytest.approx(16 / 1600)
    assert speed.seconds_per_answered == pytest.approx(6 / 300 * 100)
    documents = [Document(name, name, "e", 9) for name in "ab"]
    tokens = Tokens(3000, 2500, True, longer=(("a", 2500),))
    given = (documents, tokens, asked, None, speed, "cpu", Prices(Decimal(1), None, None, "USD"))
    found = quote(*given, 0, Beside(5, 700, 600), Beside(5, 700, 600))
    # One document is answered as a whole.
    assert (found.num_windows, found.tokens_beside, found.tokens_decoded) == (5, 700, 600 + 100)
    assert found.device_seconds == pytest.approx(3700 * 0.01 + 700 * 0.02)
    assert quote(*given).device_seconds == pytest.approx(3000 * 0.01 + 200 * 0.02)


def test_runs_of_an_older_version_count_their_answers_as_reading(tmp_path):
    row = cost_row("document", "0", "a", tokens_read=1000) | seconds("10")
    write_run(tmp_path, "old", row, started=STARTED - timedelta(days=1))
    speed = measured_speed(str(tmp_path), "m", "cpu", config(100))
    assert speed is not None
    assert (speed.seconds_per_token, speed.seconds_per_answered) == (pytest.approx(0.01), 0)


def test_what_has_read_nothing_to_its_end_has_no_speed(tmp_path):
    write_run(tmp_path, "one", cost_row("document", "0", "c", tokens_read=9000, outcome="lost") | seconds("1"))
    assert measured_speed(str(tmp_path), "m", "cpu", config(100)) is None
    assert measured_speed(str(tmp_path), "another model", "cpu", config(100)) is None
    assert measured_speed(str(tmp_path / "nothing"), "m", "cpu", config(100)) is None


def test_what_was_read_before_is_not_quoted_again(tmp_path):
    texts = {"a": "a line 1\n" * 50, "b": "line 2\n" * 30}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    documents = [
        Document(name, str(tmp_path / f"{name}.txt"), "e", (tmp_path / f"{name}.txt").stat().st_size) for name in texts
    ]
    lengths = {name: len(tokenize.tokens([text], tokenizer())) for name, text in texts.items()}
    given = (documents, config(1), tokenizer(), True)
    # The longer a document, the more of all tokens are in it.
    before = sum(length**2 for length in lengths.values()) / sum(lengths.values()) / 2
    assert count_tokens(*given, {}) == Tokens(sum(lengths.values()), lengths["a"], True, before)
    left = count_tokens(*given, {"a": lengths["a"] - 7, "b": lengths["b"] + 100, "gone": 5})
    assert left == Tokens(7, lengths["a"], True, before)


@pytest.mark.parametrize(
    ("asked", "metered"),
    [
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA_H100", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("A100-80G", "NVIDIA A100-SXM4-80GB"),
        ("L40S", "NVIDIA L40S"),
        ("cpu", "cpu"),
    ],
)
def test_a_devices_speed_is_found_by_whatever_name_it_is_asked_for(tmp_path, asked, metered):
    write_run(tmp_path, "one", read_in("10", metered))
    speed = measured_speed(str(tmp_path), "m", asked, config(100))
    assert speed is not None and f"on {metered}," in speed.source
    assert speed.seconds_per_token == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("asked", "metered"),
    [
        ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"),
        ("H100 SXM5 80 GB", "NVIDIA H100 PCIe"),
        ("H200", "NVIDIA H100 80GB HBM3"),
        ("A100-40G", "NVIDIA A100-SXM4-80GB"),
        ("cpu", "NVIDIA H100 80GB HBM3"),
        ("H100", "cpu"),
        ("H100", "node"),
    ],
)
def test_another_devices_speed_is_not_taken(tmp_path, asked, metered):
    write_run(tmp_path, "one", read_in("10", metered))
    assert measured_speed(str(tmp_path), "m", asked, config(100)) is None


def test_of_devices_of_one_name_only_the_one_used_last_is_taken(tmp_path):
    write_run(tmp_path, "older", read_in("30", "NVIDIA H100 PCIe"), started=STARTED - timedelta(days=1))
    write_run(tmp_path, "newer", read_in("10", "NVIDIA H100 80GB HBM3"))
    by_name = {
        name: measured_speed(str(tmp_path), "m", name, config(100)).seconds_per_token  # type: ignore[union-attr]
        for name in ("H100", "NVIDIA H100 PCIe")
    }
    assert by_name == {"H100": pytest.approx(0.01), "NVIDIA H100 PCIe": pytest.approx(0.03)}


def read_in(total: str, device: str) -> dict:
    return cost_row("document", "0", "a", tokens_read=1000, outcome="finished", device_type=device) | seconds(total)


def test_dated_files_are_one_kind_of_which_a_sample_is_read(tmp_path, monkeypatch):
    documents, read, line = [], [], b"a line of a log\n"
    for day in range(10, 30):
        for name in (f"app.2026-11-{day}.log", f"app.log.2026-11-{day}", f"app.{day}.log.gz"):
            text = gzip.compress(line) if name.endswith(".gz") else line
            (tmp_path / name).write_bytes(text)
            documents.append(Document(name, str(tmp_path / name), "e", len(text)))

    class Sampler(token_count._Sampler):
        def _read(self, document: Document, most_bytes: int) -> tuple[int, int, bool]:
            read.append(document.document_id)
            return super()._read(document, most_bytes)

    monkeypatch.setattr(token_count, "_Sampler", Sampler)
    monkeypatch.setattr(token_count, "SAMPLED_BYTES", 2 * len(line))
    assert not count_tokens(documents, config(1), tokenizer(), False, {}).is_counted
    # Two of each of the three kinds.
    assert len(read) == 6


def test_a_document_that_never_ends_does_not_keep_a_quote_waiting(tmp_path):
    endless, good = tmp_path / "endless.pdf", tmp_path / "good.html"
    endless.write_bytes(pdf.operators(1_000_000, num_pages=1000))
    good.write_text("<title>A page</title><p>Words that are counted.</p>")
    documents = [Document(file.name, str(file), "e", file.stat().st_size) for file in (endless, good)]
    limits = InputSettings(sources=("x",), max_document_seconds=1)
    counted = count_tokens(documents, SummarizeConfig(input=limits), tokenizer(), True, {})
    assert 3 < counted.total < 100


def test_a_document_too_long_to_travel_is_counted_however_its_format_was_found_out(tmp_path):
    log = tmp_path / "events.log"
    log.write_text("A line of words.\n" * 1000)
    documents = [Document(log.name, str(log), "e", log.stat().st_size)]
    limits = InputSettings(sources=("x",), inline_bytes=1000)
    counted = count_tokens(documents, SummarizeConfig(input=limits), tokenizer(), True, {})
    assert counted.total > 1000


def test_what_lies_in_an_archive_is_sampled_in_its_order():
    """Another order would go through the archive again for each document."""
    documents = [Document(f"x#{n}", "x.tar.gz", "e", 10, (Place("tar", f"{n}.txt", n * 10, 10),)) for n in range(100)]
    sample = token_count._picked(documents, 200)
    assert len(sample) == 20 and list(sample) == sorted(sample, key=documents.index) != documents[:20]
    assert list(token_count._picked(documents, sys.maxsize)) == documents


def test_fewer_actors_take_longer_and_cost_the_same():
    documents = [Document(f"d{index}", "x", "etag", 1000, ()) for index in range(10)]
    tokens = Tokens(total=10_000, longest=1000, is_counted=True)
    speed = Speed(seconds_per_token=0.1, seconds_per_answered=0.0, startup_seconds=60.0, source="said so")
    prices = Prices(Decimal(36), None, None, "USD")

    def quoted(**actors: int):
        engine = EngineSettings(actors=actors or 4)
        of = SummarizeConfig(input=InputSettings(sources=("x",)), engine=engine)
        return quote(documents, tokens, of, None, speed, "cpu", prices)

    both = quoted(min=2, max=4)
    assert (both.workers, both.wall_seconds) == (4, pytest.approx(250 + 60))
    assert (both.least_workers, both.least_workers_seconds) == (2, pytest.approx(500 + 60))
    assert both.cost == quoted().cost
    assert (quoted().least_workers, quoted().least_workers_seconds) == (None, None)
    # A document is read by one actor, however many there are.
    assert quoted(min=1, max=100).wall_seconds == pytest.approx(100 + 60)
