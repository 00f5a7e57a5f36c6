"""`jobs.summarize` on a real Ray: every document has one row, every second an account, and reruns do what is left."""

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Collection
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from pydoc_data.topics import topics

import psutil
import pytest
from pypdf import PdfWriter

from jobs import exits
from jobs.query import Format, query
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests import documented
from tests.jobs.conftest import ROOT
from tests.waiting import PATIENCE_SECONDS, wait_for

TEXTS = [text for text in topics.values() if 2000 < len(text) < 6000][:6]


def write_documents(directory: Path, texts: list[str] = TEXTS) -> list[Path]:
    directory.mkdir(parents=True)
    paths = [directory / f"topic {index}.txt" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def assert_costs_add_up(output: str) -> None:
    tables = Warehouse(output)
    (job,) = tables.rows("select cost, device_seconds from jobs")
    (costs,) = tables.rows("select sum(cost) as cost, sum(device_seconds) as device_seconds from costs")
    assert costs == job
    assert job["cost"] > 0
    wrong = tables.rows("select * from costs where cost is distinct from device_seconds * price_per_second")
    assert [row for row in wrong if row["device_seconds"] * row["price_per_second"] != row["cost"]] == []
    # Each meter goes on between the last document that came with a reading and the end of its actor.
    files = [file for file in objects.list_files(f"{output}/_runs", ".json") if "/actors/" in file]
    with_documents = [entry["reading"] for entry in entries(output) if entry["reading"] is not None]
    with_heartbeats = [json.loads(objects.read_bytes(file))["reading"] for file in files]
    assert metered(with_documents) <= job["device_seconds"] <= metered(with_documents + with_heartbeats)


def metered(readings: list[dict]) -> Decimal:
    """Device-seconds of all actors, by the highest of the readings of each."""
    shown: dict[str, Decimal] = {}
    for each in readings:
        seconds = Decimal(each["total_us"]) / 1_000_000 * each["devices"]
        shown[each["actor_id"]] = max(seconds, shown.get(each["actor_id"], Decimal(0)))
    return sum(shown.values(), Decimal(0))


def test_good_documents_are_summarized_and_bad_ones_have_a_reason(summarize, tmp_path, small_model):
    folder = tmp_path / "docs"
    good = write_documents(folder)
    odd_name = folder / 'it\'s a "naïve" name — 文書 #1?.md'
    odd_name.write_text(f"# Odd names\n\n{TEXTS[0]}", encoding="utf-8")
    one_line = folder / "one line.txt"
    one_line.write_text("word " * 100_000)
    (folder / "page.html").write_text("<html><title>A page</title><body><p>Some text to read.</p></body></html>")
    (folder / "lines.jsonl").write_text('{"id": "a", "text": "First record."}\n{"id": "b", "text": "Second record."}\n')
    (folder / "empty.txt").touch()
    (folder / "binary.bin").write_bytes(bytes(range(256)) * 50)
    (folder / "cut.txt.gz").write_bytes(gzip.compress(TEXTS[0].encode())[:-40])
    (folder / "invalid.txt").write_bytes(b"Good text at first, then \xff\xfe\xfa\x80 and \x00\x01 rubbish." * 20)
    blank = PdfWriter()
    blank.add_blank_page(200, 200)
    blank.write(folder / "scan.pdf")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "loop2")

    finished = summarize.alone([str(folder)])

    assert finished.returncode == exits.PARTIAL, finished.stderr
    tables = Warehouse(summarize.output)
    rows = {row["document_id"]: row for row in tables.rows("select * from summaries")}
    records = [f"{folder / 'lines.jsonl'}#{name}" for name in "ab"]
    assert set(rows) == {*map(str, [*good, odd_name, one_line, folder / "page.html"]), *records}
    failures = {Path(row["document_id"]).name: row for row in tables.rows("select * from failures")}
    assert {name: row["error_class"] for name, row in failures.items()} == {
        "empty.txt": "EmptyDocumentError",
        "binary.bin": "UndecodableError",
        "cut.txt.gz": "CorruptError",
        "invalid.txt": "UndecodableError",
        "scan.pdf": "EmptyDocumentError",
        "loop": "UnreadableError",
        "nowhere": "UnreadableError",
    }
    assert all(len(row["error_message"]) > 20 for row in failures.values())

    tokenizer = Tokenizer.load(Path(small_model))
    for path in [*good, odd_name, one_line]:
        row = rows[str(path)]
        assert row["tokens_total"] == row["tokens_read"] == len(tokenize.tokens([path.read_text()], tokenizer))
        assert row["truncated"] is False
        assert row["cost"] > 0
    assert rows[str(odd_name)]["title"] == "Odd names"
    assert len({row["summary"] for row in rows.values()}) > 3
    assert_costs_add_up(summarize.output)

    again = summarize([str(folder)])
    assert again.returncode == exits.PARTIAL
    assert f"done_before={len(rows)}" in again.stderr
    assert Warehouse(summarize.output).rows("select count(*) as n from summaries") == [{"n": len(rows)}]


def test_an_output_below_the_source_is_no_input_of_the_next_night(summarize, tmp_path):
    folder = tmp_path / "docs"
    paths = write_documents(folder, TEXTS[:2])
    output = f"output.uri={folder / 'summaries'}"
    assert summarize([str(folder)], output).returncode == exits.SUCCESS
    again = summarize([str(folder)], output)
    assert again.returncode == exits.SUCCESS and "nothing to do" in again.stdout
    rows = Warehouse(str(folder / "summaries")).rows("select document_id from summaries order by 1")
    assert [row["document_id"] for row in rows] == list(map(str, paths))


def test_a_rerun_does_nothing_and_changed_content_is_done_again(summarize, tmp_path):
    paths = write_documents(tmp_path / "docs", TEXTS[:3])
    (tmp_path / "docs" / "empty.txt").touch()
    assert summarize([str(tmp_path / "docs")]).returncode == exits.PARTIAL
    before = files_below(summarize.output)

    again = summarize([str(tmp_path / "docs")])
    assert (again.returncode, files_below(summarize.output)) == (exits.SUCCESS, before)
    assert "nothing to do: all 3 documents are already done" in again.stdout
    assert "1 more failed before for what is in them" in again.stdout

    paths[1].write_text("Something else altogether. " * 30)
    changed = summarize([str(tmp_path / "docs")])
    assert changed.returncode == exits.SUCCESS, changed.stderr
    tables = Warehouse(summarize.output)
    counts = tables.rows("select document_id, count(*) as n from summaries group by 1 order by 1")
    assert [row["n"] for row in counts] == [1, 2, 1]
    assert tables.rows("select documents_total as n from jobs order by started_at") == [{"n": 4}, {"n": 1}]


def test_a_second_driver_gives_way_and_kill_9_of_the_first_loses_nothing(summarize, tmp_path):
    # The long one is far from its end when another is finished, however busy the machine: a pass has room for all.
    texts = [*TEXTS, "\n\n".join(topics.values())[:300_000]]
    documents = str(tmp_path / "docs")
    *_, long = write_documents(tmp_path / "docs", texts)
    undisturbed = Summaries(summarize, documents, str(tmp_path / "undisturbed"))

    summarize.output = str(tmp_path / "output")
    run = "run.id=killed"
    # Without a snapshot, so that what the killed one had begun is lost however slow the machine.
    command = summarize.command([documents], run, "engine.step_tokens=512", "snapshot.max_lost_device_seconds=1000000")
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: objects.list_files(f"{summarize.output}/_runs", ".alive"))
    second = summarize([documents], run)
    assert second.returncode == exits.REFUSED and "is at work on this run" in second.stderr
    ledger = Ledger(summarize.output, "killed")
    wait_for(lambda: entries(summarize.output) and tokens_underway(ledger).get(str(long)))
    offspring = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    # Its Ray too, and at once: an actor that Ray tells of its driver's end may have the time to save what it has read.
    for process in offspring:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    driver.wait()
    # Nobody may still write to the ledger.
    _, alive = psutil.wait_procs(offspring, timeout=PATIENCE_SECONDS)
    assert not alive
    published = entries(summarize.output)
    assert 0 < len(published) < len(texts)
    assert not objects.list_files(f"{summarize.output}/summaries")

    resumed = summarize([documents], run)
    assert resumed.returncode == exits.SUCCESS, resumed.stderr
    tables = Warehouse(summarize.output)
    assert {row["document_id"]: row["summary"] for row in tables.rows("select * from summaries")} == undisturbed.by_id
    assert tables.rows("select count(*) as n from summaries") == [{"n": len(texts)}]
    assert f"done_before={len(published)}" in resumed.stderr
    # Two actors worked; what the first one had begun is named as waste, and it all sums up.
    assert tables.rows("select actors from jobs") == [{"actors": 2}]
    assert tables.rows("select count(*) as n from costs where kind = 'wasted'")[0]["n"] >= 1
    assert_costs_add_up(summarize.output)


def test_ctrl_c_while_another_driver_is_waited_for_stops_nobody(summarize, tmp_path):
    write_documents(tmp_path / "docs")
    run = f"{summarize.output}/_runs/held"
    about = {"started_at": "2026-11-22T01:00:00+00:00", "host": "elsewhere", "pid": 1, "machine": "another"}
    objects.publish(f"{run}/starts/0001.json", json.dumps(about).encode())
    command = summarize.command([str(tmp_path / "docs")], "run.id=held")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert any("waiting_for_another_driver" in line for line in waiting.stderr)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(PATIENCE_SECONDS) == exits.INTERRUPTED
    assert [file.rsplit("/", 2)[1:] for file in objects.list_files(run)] == [["starts", "0001.json"]]


def test_documents_come_from_s3_and_rows_go_there_and_answer_the_readmes_questions(summarize, bucket, capsys):
    for index, text in enumerate(TEXTS[:4]):
        objects.publish(f"{bucket}/in/topic {index}.txt", text.encode())
    objects.publish(f"{bucket}/in/empty.txt", b"")
    summarize.output = f"{bucket}/out"
    finished = summarize([f"{bucket}/in/"])
    assert finished.returncode == exits.PARTIAL, finished.stderr
    tables = Warehouse(summarize.output)
    rows = tables.rows("select document_id, source_etag, tokens_total - tokens_read as rest from summaries order by 1")
    assert [row["document_id"] for row in rows] == [f"{bucket}/in/topic {index}.txt" for index in range(4)]
    assert all(row["rest"] == 0 and row["source_etag"] for row in rows)
    reading = tables.rows("select distinct format, encoding, len(warnings) as warnings from summaries")
    assert {(row["format"], row["encoding"], row["warnings"]) for row in reading} <= {
        ("text", "utf-8", 0),
        ("text", None, 0),
    }
    assert tables.rows("select error_class from failures") == [{"error_class": "EmptyDocumentError"}]
    assert_costs_add_up(summarize.output)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert not any(secret.encode() in objects.read_bytes(file) for file in objects.list_files(summarize.output))
    assert secret not in finished.stderr + finished.stdout

    dearest = answer(summarize.output, "select document_id, cost from costs order by cost desc limit 10", capsys)
    assert len(dearest) == 10 or len(dearest) == tables.rows("select count(*) as n from costs")[0]["n"]
    amounts = [Decimal(row["cost"]) for row in dearest]
    assert amounts == sorted(amounts, reverse=True)
    assert sum(row["document_id"] is not None for row in dearest) == 5
    page = (Path(__file__).parents[2] / "docs/cost.md").read_text(encoding="utf-8")
    questions = [arguments[1] for module, arguments in documented.jobs(page) if module == "jobs.query"]
    assert len(questions) > 3
    assert all(answer(summarize.output, question, capsys) for question in questions)


def answer(output: str, question: str, capsys) -> list[dict]:
    """As `jobs.query` prints it."""
    query(output, question, Format.JSON)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.uri=/nowhere", "model.uri"),
        ("engine.slots=0", "engine.slots"),
        ("engine.slot=3", "engine.slots"),
        ("run.id=7", "run.id"),
        ("input.sources=[/nowhere/at/all]", "/nowhere/at/all"),
    ],
)
def test_a_run_that_cannot_work_is_refused_before_anything_starts(summarize, tmp_path, override, says):
    (tmp_path / "one.txt").write_text("text")
    refused = summarize([str(tmp_path / "one.txt")], override)
    assert refused.returncode == exits.REFUSED
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not Path(summarize.output).exists()


def test_a_store_that_fails_in_mid_run_stops_it_with_a_sentence(summarize, tmp_path):
    """The folder of segments is a file: nothing can be published there."""
    write_documents(tmp_path / "docs", TEXTS[:2])
    segments = Path(summarize.output) / "_runs" / "night" / "segments"
    segments.parent.mkdir(parents=True)
    segments.touch()
    stopped = summarize([str(tmp_path / "docs")], "run.id=night")
    assert stopped.returncode == exits.CRASH, stopped.stderr
    assert f"stopped: {segments}" in stopped.stderr
    assert "run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not objects.list_files(f"{summarize.output}/summaries")

    segments.unlink()
    assert summarize([str(tmp_path / "docs")], "run.id=night").returncode == exits.SUCCESS
    other = summarize([str(tmp_path / "docs")], "run.id=night", "prompts.0.max_tokens=7")
    assert other.returncode == exits.REFUSED
    assert "run.id = 'night'" in other.stderr


class Summaries:
    """What an undisturbed run over the same documents says."""

    def __init__(self, summarize, documents: str, output: str) -> None:
        summarize.output = output
        finished = summarize([documents])
        assert finished.returncode == exits.SUCCESS, finished.stderr
        self.by_id = {row["document_id"]: row["summary"] for row in Warehouse(output).rows("select * from summaries")}


def entries(output: str) -> list[dict]:
    parts = objects.list_files(f"{output}/_runs", ".parquet")
    return [row for part in parts if "/segments/" in part for row in objects.read_table(part).to_pylist()]


def tokens_underway(ledger: Ledger, but: Collection[str] = ()) -> dict[str, int]:
    """Of documents that are being read, as the last heartbeats of all actors but some say."""
    heartbeats = [heartbeat for heartbeat in ledger.heartbeats() if heartbeat.reading.actor_id not in but]
    return {each.document_id: each.tokens_read for heartbeat in heartbeats for each in heartbeat.underway}


def files_below(output: str) -> dict[str, int]:
    """When each was written, but for heartbeats: on a Ray that goes on an actor outlives its run by a little."""
    files = [path for path in Path(output).rglob("*") if path.is_file() and path.parent.name != "actors"]
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_a_document_inline_as_a_handle_and_in_other_company_gives_the_same_rows(summarize, tmp_path):
    """Sections, whole documents and a schema; of the documents some travel as handles, alone or with others."""
    folder = tmp_path / "docs"
    paths = write_documents(folder)
    book = folder / "book.md"
    # Without the headings that are underlined in it.
    texts = [re.sub(r"^[=-]{3,}$", "", text, flags=re.MULTILINE) for text in TEXTS * 3]
    chapters = [f"# Chapter {number}\n\n{text}" for number, text in enumerate(texts)]
    book.write_text("\n\n".join(chapters), encoding="utf-8")
    (folder / "cut.txt.gz").write_bytes(gzip.compress(("word and another " * 3000).encode())[:-40])
    prompts = (
        "prompts=[{name: whole, instruction: Summarize., max_tokens: 6},"
        "{name: facts, instruction: List facts., max_tokens: 8, json_schema: {type: object}}]",
        "sections.prompts=[{name: section, instruction: And this part., max_tokens: 5}]",
        "sections.least_tokens=64",
        "sections.most_tokens=700",
    )
    columns = "document_id, prompt_id, section_index, section_title, section_start, section_end, summary, finish_reason"
    query = f"select {columns}, retries, tokens_total from summaries order by all"
    outputs = {}
    for name, overrides in {
        "inline": (),
        "handles": ("input.inline_bytes=3000", "engine.slots=2", "engine.step_tokens=256"),
    }.items():
        output = f"{tmp_path}/{name}"
        finished = summarize([str(folder)], f"output.uri={output}", *prompts, *overrides)
        assert finished.returncode == exits.PARTIAL, finished.stderr
        outputs[name] = Warehouse(output).rows(query)
        (failure,) = Warehouse(output).rows("select document_id, error_class from failures")
        assert failure == {"document_id": str(folder / "cut.txt.gz"), "error_class": "CorruptError"}
        assert_costs_add_up(output)
    assert outputs["inline"] == outputs["handles"]
    alone = f"{tmp_path}/alone"
    assert summarize([str(paths[2])], f"output.uri={alone}", *prompts).returncode == exits.SUCCESS
    rows = [row for row in outputs["inline"] if row["document_id"] == str(paths[2])]
    assert Warehouse(alone).rows(query) == rows

    of_book = [row for row in outputs["inline"] if row["document_id"] == str(book)]
    sections = [row for row in of_book if row["section_index"] is not None]
    assert [row["section_index"] for row in sections] == list(range(len(sections)))
    titles = [row["section_title"] for row in sections if row["section_title"]]
    assert titles == [f"Chapter {number}" for number in range(len(chapters))]
    assert sections[0]["section_start"] == 0 and sections[-1]["section_end"] == sections[-1]["tokens_total"]
    assert all(one["section_end"] == two["section_start"] for one, two in itertools.pairwise(sections))
    assert {row["prompt_id"] for row in of_book if row["section_index"] is None} == {"whole", "facts"}
    assert {row["finish_reason"] for row in of_book if row["prompt_id"] == "facts"} == {"schema"}
    assert {row["retries"] for row in of_book if row["prompt_id"] == "facts"} == {1}
