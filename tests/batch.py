"""A batch of documents with what a run wrote about them, to be reviewed: files, their listing and their summaries."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.documents import pinned
from pipeline.schemas.tables import LISTING, Row
from tests.outputs import write_part

RUN = "night"
FINISHED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
WORDS = (
    "court company quarter revenue river engine order table winter report margin water council judge license plant "
    "growth market bridge school budget harvest engineer supply contract safety season visitor record station"
)


@dataclass
class Batch:
    """One output of one run, as it is put together in `root`."""

    root: Path
    rows: list[Row] = field(default_factory=list)
    listed: list[Row] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.root / "output"

    def document(self, name: str, text: str, title: str | None = None, encoding: str = "utf-8", **columns: Any) -> Row:
        """A file, listed; what its rows have in common."""
        path = self.root / "documents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode(encoding)
        path.write_bytes(content)
        place = {"source_etag": pinned.hash_of(content), "size_bytes": len(content)}
        place |= {"document_id": str(path), "source_uri": str(path)} | columns
        self.listed.append({each: place[each] for each in LISTING.names if each in place})
        tokens = len(text) // 4
        about = {"title": title or name, "tokens_total": tokens, "tokens_read": tokens, "format": "text"}
        return about | {"status": "ok", "finished_at": FINISHED, "cost": Decimal("0.001")} | place

    def extract(self, about: Row, text: str, *sentences: str, **columns: Any) -> Row:
        """A row of these sentences of the text."""
        found = [place(text, sentence) | {"score": 1.5} for sentence in sentences]
        bullets = "\n".join(f"- {each['text']}" for each in found)
        own = {"kind": "extract", "prompt_id": "key_points", "model_id": "key-sentences", "summary": bullets}
        return self._add(about | own | {"sentences": found} | columns)

    def answer(self, about: Row, text: str, summary: str, cited: dict[str, str] | None = None, **columns: Any) -> Row:
        """A row of this answer; of its sentences some cite one of the text."""
        citations = None
        if cited is not None:
            citations = [self._citation(summary, said, text, source) for said, source in cited.items()]
        own = {"kind": "answer", "prompt_id": "summary", "model_id": "default", "summary": summary}
        return self._add(about | own | {"citations": citations} | columns)

    def write(self) -> Path:
        """The output's folder, with what there is so far."""
        rmtree(self.output / "summaries", ignore_errors=True)
        write_part(self.output, "summaries", RUN, self.rows)
        folder = self.output / "listing"
        folder.mkdir(exist_ok=True)
        listed = [row | {"listed_at": FINISHED} for row in self.listed]
        pq.write_table(pa.Table.from_pylist(listed, schema=LISTING), folder / "part-one.parquet")
        return self.output

    def _add(self, row: Row) -> Row:
        self.rows.append(row)
        return row

    @staticmethod
    def _citation(summary: str, said: str, text: str, source: str) -> Row:
        start = summary.encode().index(said.encode())
        span = {"answer_start": start, "answer_end": start + len(said.encode())}
        return span | place(text, source) | {"score": 0.8}


def place(text: str, sentence: str, section: str | None = "Results") -> Row:
    """Where a sentence stands in a text."""
    start = text.encode().index(sentence.encode())
    shown = " ".join(sentence.split())
    return {"start": start, "end": start + len(sentence.encode()), "section": section, "text": shown}


def long_text(number: int, paragraphs: int = 40) -> tuple[str, list[str]]:
    """A text of paragraphs of which no two are the same, and their first sentences."""
    random, words = Random(number), WORDS.split()
    blocks, firsts = [], []
    for paragraph in range(paragraphs):
        sentences = [
            " ".join(random.choice(words) for _ in range(random.randint(8, 22))).capitalize() + "." for _ in range(6)
        ]
        sentences[0] = f"In paragraph {paragraph} of {number}, the {sentences[0].lower()}"
        blocks.append("\n".join(sentences))
        firsts.append(sentences[0])
    return f"Report {number}\n\n" + "\n\n".join(blocks) + "\n", firsts


def write_batch(root: Path, documents: int = 200) -> Batch:
    """Documents with an extract, an answer, and every fifth with sections; every seventh has an invented number."""
    batch = Batch(root)
    for number in range(documents):
        text, firsts = long_text(number)
        warnings = ["3 bytes could not be decoded and are shown as U+FFFD."] if number % 9 == 4 else []
        about = batch.document(f"{number:03}.txt", text, f"Report {number}", warnings=warnings)
        batch.extract(about, text, *(firsts[at] for at in (1, 4, 9, 17, 24, 31, 38)))
        said = [
            f"The record of {number} says that the harvest grew.",
            "Revenue was 4,817 in the quarter.",
            "It rained.",
        ]
        unsupported = ["4,817"] if number % 7 == 3 else []
        summary = " ".join(said)
        batch.answer(about, text, summary, {said[0]: firsts[2], said[1]: firsts[30]}, unsupported=unsupported)
        if number % 5 == 0:
            for index in range(4):
                section = {
                    "section_index": index,
                    "section_title": f"Part {index}",
                    "section_start": about["tokens_total"] * index // 4,
                    "section_end": about["tokens_total"] * (index + 1) // 4,
                    "prompt_id": "of_section",
                }
                batch.extract(about, text, *firsts[10 * index : 10 * index + 4], **section)
    batch.write()
    return batch
