"""A document read by its handle gives the tokens that a reader makes, from any cut on, in bounded memory."""

import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import zstandard

from configs.errors import (
    CorruptError,
    EmptyDocumentError,
    StateError,
    StorageError,
    TimeLimitError,
    TooLargeError,
    UndecodableError,
    UnexpectedError,
    UnreadableError,
)
from configs.settings import InputSettings, SectionSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import content as reading
from pipeline.documents import pinned, tokenize
from pipeline.documents.extract import Extractor
from pipeline.documents.sections import Section, SectionFinder, before
from pipeline.documents.token_feed import TokenFeed
from pipeline.documents.tokenize import Part, Position
from pipeline.schemas.document import Document, Place
from pipeline.storage import objects
from tests.waiting import PATIENCE_SECONDS, wait_for

BEGIN = 7


class Checksums:
    """A quick tokenizer whose tokens tell both the text and where its parts begin."""

    begin = (BEGIN,)

    def encode(self, text: str) -> list[int]:
        data = text.encode("utf-32-le")
        return [crc32(data[start : start + 64]) & 0x7FFFFFFF for start in range(0, len(data), 64)]


CHECKSUMS: Any = Checksums()


@cache
def real_tokenizer() -> Tokenizer:
    return Tokenizer.train(list(topics.values())[:40], vocab_size=500)


def settings(**values: Any) -> InputSettings:
    return InputSettings(sources=("unused",), **values)


def document(uri: object) -> Document:
    return Document(str(uri), str(uri), objects.stat(str(uri)).etag or "etag", 0)


@contextmanager
def reading_ahead(uri: object, tokenizer: Any = CHECKSUMS, **options: Any) -> Iterator["Reader"]:
    reader = Reader(document(uri) if not isinstance(uri, Document) else uri, tokenizer, **options)
    try:
        yield reader
    finally:
        close(reader.feed)


def close(feed: TokenFeed) -> None:
    feed.close()
    feed._thread.join(PATIENCE_SECONDS)
    assert not feed._thread.is_alive()


class Reader:
    """Takes what comes, and sleeps until more does."""

    def __init__(self, source: Document, tokenizer: Any, inputs: InputSettings | None = None, **options: Any) -> None:
        self._news = threading.Event()
        self.feed = TokenFeed(source, inputs or settings(), tokenizer, self._news.set, **options)

    def ready(self) -> int:
        """Tokens to be had now, or 0 at the end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._news.clear()
            ended, count = self.feed.ended, self.feed.ready
            if count or ended:
                return count
            assert self._news.wait(deadline - time.monotonic()), "the feed gives no sign"

    def take(self, most: int = 1 << 60) -> np.ndarray:
        """So many tokens, or all."""
        taken = [np.empty(0, np.int32)]
        while most and (count := min(self.ready(), most)):
            taken.append(self.feed.take(count))
            most -= count
        return np.concatenate(taken)

    def positions(self, step: int) -> list[Position]:
        """Each that shows while all is taken in steps."""
        seen = {self.feed.position()}
        while len(self.take(step)):
            seen.add(self.feed.position())
        return sorted(seen, key=lambda position: position.tokens)


def whole(uri: object, tokenizer: Any = CHECKSUMS, inputs: InputSettings | None = None) -> np.ndarray:
    """As a reader does it."""
    source = uri if isinstance(uri, Document) else document(uri)
    return tokenize.tokens(Extractor(inputs or settings()).read(source).text, tokenizer)


def parts(uri: object, tokenizer: Any = CHECKSUMS, finder: SectionFinder | None = None) -> list[Part]:
    """As a reader does it."""
    source = uri if isinstance(uri, Document) else document(uri)
    return list(tokenize.parts(tokenize.passages(Extractor(settings()).read(source).pieces), tokenizer, finder))


def cuts(uri: object, tokenizer: Any = CHECKSUMS) -> list[Position]:
    return [part.start for part in parts(uri, tokenizer)[1:] if part.start]


def assert_goes_on_from_every_position(uri: object, tokens: np.ndarray, positions: list[Position], count: int) -> None:
    known = {Position(), *cuts(uri)}
    assert known >= set(positions)
    for position in positions:
        with reading_ahead(uri, start=position) as resumed:
            expected = tokens[position.tokens : position.tokens + count]
            assert np.array_equal(resumed.take(len(expected)), expected), position
            assert position.tokens <= resumed.feed.position().tokens <= position.tokens + count
            assert resumed.feed.position() in known


def prose(chars: int, line_end: str = "\n", foreign: str = "", seed: int = 0) -> str:
    rng = random.Random(seed)
    words = [word for word in " ".join(topics.values()).split() if word.isascii()]
    lines, length = [], 0
    while length < chars:
        line = " ".join(rng.choices(words, k=rng.choice((0, 3, 12, 12, 12, 900))))
        lines.append(line + (foreign if rng.random() < 0.3 else "") + line_end)
        length += len(lines[-1])
    return "".join(lines)


PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def test_tokens_of_10_mb_are_equal_whole_by_handle_and_from_any_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(prose(5_000_000) + prose(5_000_000, "\r\n", " naïve 漢字🙂"), newline="")
    tokens = whole(path)
    with reading_ahead(path) as reader:
        assert np.array_equal(reader.take(), tokens)
        assert reader.feed.ended and reader.feed.ready == 0
    with reading_ahead(path) as reader:
        positions = reader.positions(step=300)
    assert len(positions) > 1000 and positions[0] == Position()
    rng = random.Random(1)
    assert_goes_on_from_every_position(path, tokens, rng.sample(positions, 60) + positions[-2:], count=3000)
    assert_goes_on_from_every_position(path, tokens, positions[1:2], count=len(tokens))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("encoding", "foreign", "suffix"),
    [
        ("ascii", "", ""),
        ("utf-8", " Größe 漢字", ""),
        ("utf-8", " Größe 漢字", ".zst"),
        ("utf-8-sig", " Größe 漢字🙂", ""),
        ("utf-16", " Größe 漢字🙂", ""),
        ("utf-32", " Größe 漢字🙂", ".gz"),
        ("cp1252", " The café’s naïve fiancée", ""),
        ("cp932", " 吾輩は猫である。名前はまだ無い。", ""),
        ("euc_jp", " 何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。", ""),
        ("gb18030", " 道可道，非常道。名可名，非常名。无名天地之始，有名万物之母。", ".gz"),
        ("cp1251", " Все счастливые семьи похожи друг на друга" * 10, ""),
    ],
)
def test_every_cut_can_be_gone_on_from_in_any_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, foreign: str, line_end: str, suffix: str
) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 50_001)
    text = prose(150_000, line_end) + prose(100_000, line_end, foreign)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](text.encode(encoding)))
    tokens = whole(path)
    with reading_ahead(path) as reader:
        positions = reader.positions(step=130)
    assert len(positions) > 10
    assert positions == [Position(), *cuts(path)]
    sample = positions if not suffix else positions[::5]
    assert_goes_on_from_every_position(path, tokens, sample, count=1500)
    assert_goes_on_from_every_position(path, tokens, positions[::9], count=len(tokens))


def test_a_piece_whose_offsets_cannot_be_told_has_no_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde in EUC-JP is one byte or three."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 40_000)
    line = ("何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。" * 4 + "\n").encode("euc_jp")
    before = line * 300
    path = tmp_path / "a.txt"
    path.write_bytes(before + b"\x8f\xa2\xb7" + line * 600)
    tokens = whole(path)
    with reading_ahead(path) as reader:
        positions = reader.positions(step=30)
    piece = len(before) // 40_000 * 40_000
    offsets = [position.offset for position in positions]
    assert not [offset for offset in offsets if piece + 10 < offset < piece + 40_000]
    assert min(offsets[1:]) < piece and max(offsets) > piece + 40_000
    assert_goes_on_from_every_position(path, tokens, positions, count=2000)


def test_plain_text_seeks_and_what_is_compressed_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = prose(3_000_000)
    read = 0

    def counting(stream: Any, position: int = 0) -> Iterator[bytes]:
        nonlocal read
        for piece in original(stream, position):
            read += len(piece)
            yield piece

    original = reading.pieces
    amounts = {}
    for suffix, pack in PACK.items():
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(pack(text.encode()))
        with reading_ahead(path) as reader:
            last = reader.positions(step=5000)[-1]
        monkeypatch.setattr(reading, "pieces", counting)
        read = 0
        with reading_ahead(path, start=last) as reader:
            reader.take()
        amounts[suffix] = read
        monkeypatch.setattr(reading, "pieces", original)
        assert last.offset > 2_900_000
    # The piece that says which kind of file it is, and the one with the cut.
    assert max(amounts.values()) <= 2 * reading.PIECE_BYTES


def test_documents_in_a_store_are_read_by_range(bucket: str) -> None:
    text = prose(6_000_000).encode()
    for suffix, pack in PACK.items():
        uri = f"{bucket}/a.txt{suffix}"
        objects.publish(uri, pack(text))
        tokens = whole(uri)
        with reading_ahead(uri) as reader:
            positions = reader.positions(step=2000)
        assert_goes_on_from_every_position(uri, tokens, positions[:: len(positions) // 4], count=1500)
        with reading_ahead(uri) as reader:
            assert np.array_equal(reader.take(), tokens)


@pytest.mark.parametrize("name", ["a.html", "a.json", "a.pdf"])
def test_what_is_parsed_whole_goes_on_from_its_characters(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.html":
        path.write_text("<title>T</title><body>" + "".join(f"<p>{text}é</p>" for text in topics.values()))
    elif name == "a.json":
        path.write_text('{"text": "' + "naïve words \\r\\n" * 20_000 + '"}')
    else:
        path.write_bytes(pdf(200))
    tokens = whole(path)
    with reading_ahead(path) as reader:
        positions = reader.positions(step=100)
    assert len(positions) > 3
    assert_goes_on_from_every_position(path, tokens, positions[:: max(1, len(positions) // 10)], count=len(tokens))


@pytest.mark.parametrize("name", ["a.json", "without suffix"])
def test_what_was_parsed_is_compared_with_what_was_read_though_nobody_says_that_it_has_changed(
    tmp_path: Path, name: str
) -> None:
    """Another field of JSON, or a parser that makes another text: the same characters' offset is of other words."""
    path = tmp_path / name
    if name == "a.json":
        path.write_text(json.dumps({"text": "alpha beta gamma\n" * 2000, "body": "one two three four\n" * 2000}))
    else:
        path.write_text("<!doctype html><body>" + "<p>alpha beta gamma</p>\n" * 2000)
    with reading_ahead(path) as reader:
        positions = reader.positions(step=100)
        made_by = reader.feed.made_by
    assert made_by.startswith("json field text" if name == "a.json" else "html 2 lxml")
    other = replace(positions[-1], digest="00" * 16)
    if name == "a.json":
        with gone_on_from(path, positions[-1], text_field="body") as feed, pytest.raises(StateError, match="history"):
            ended(feed)
    with gone_on_from(path, other) as feed, pytest.raises(StateError, match="history"):
        ended(feed)
    with gone_on_from(path, positions[-1]) as feed:
        assert ended(feed) > 0


@contextmanager
def gone_on_from(path: Path, start: Position, **values: Any) -> Iterator[TokenFeed]:
    feed = TokenFeed(document(path), settings(**values), CHECKSUMS, start=start)
    try:
        yield feed
    finally:
        feed.close()


def ended(feed: TokenFeed) -> int:
    feed._thread.join(60)
    return feed.ready


def pdf(num_pages: int) -> bytes:
    import io

    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")})
    font[NameObject("/BaseFont")] = NameObject("/Helvetica")
    for number in range(num_pages):
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td (Page {number} {'and so on ' * 20}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_long_record_of_json_lines_is_read_by_its_place(tmp_path: Path) -> None:
    lines = [b'{"text": "first"}\n', b'{"text": "' + b"a second record " * 5000 + b'"}\n']
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))
    uri = str(tmp_path / "a.jsonl.gz")
    etag = pinned.hash_of(lines[1].rstrip())
    place = Place("jsonl", None, len(lines[0]), len(lines[1]))
    record = Document("b", uri, etag, len(lines[1]), (place,))
    with reading_ahead(record) as reader:
        assert np.array_equal(reader.take(), whole(record))


def test_tokens_of_a_real_tokenizer_are_equal_too(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(prose(400_000, foreign=" <|endoftext|> naïve"))
    tokens = whole(path, real_tokenizer())
    with reading_ahead(path, real_tokenizer()) as reader:
        parts = [reader.take(999) for _ in range(20)]
        position = reader.feed.position()
        assert np.array_equal(np.concatenate([*parts, reader.take()]), tokens)
    assert 0 < position.tokens <= 20 * 999
    with reading_ahead(path, real_tokenizer(), start=position) as reader:
        assert np.array_equal(reader.take(), tokens[position.tokens :])


def test_a_position_survives_an_append_and_the_end_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    # Its last part ends just where a cut would be; that the carriage return is half of a line end shows only later.
    path.write_bytes((b"x" * (tokenize.PART_CHARS - 1) + b"\r\n") * 3 + b"y" * (tokenize.PART_CHARS - 1) + b"\r")
    with reading_ahead(path) as reader:
        last = reader.positions(step=50)[-1]
    assert last.offset == 3 * (tokenize.PART_CHARS + 1)
    path.write_bytes(path.read_bytes() + b"\nmore " * 2000)
    tokens = whole(path)
    with reading_ahead(path, start=last) as reader:
        assert np.array_equal(reader.take(), tokens[last.tokens :])


def test_a_position_is_never_beyond_what_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(60_000))
    with reading_ahead(path) as reader:
        taken = 0
        assert reader.feed.position() == Position()
        while reader.ready():
            taken += len(reader.feed.take(1))
            assert taken - 3 * tokenize.PART_CHARS < reader.feed.position().tokens <= taken


def test_no_more_is_read_than_the_room_ahead(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(4_000_000))
    with reading_ahead(path, ahead_tokens=1000) as reader:
        part = 3 * tokenize.PART_CHARS // 16
        assert reader.ready()
        time.sleep(0.3)
        assert 1000 <= reader.feed.ready < 1000 + part
        reader.feed.take(900)
        wait_for(lambda: reader.feed.ready >= 1000)
        assert reader.feed.ready < 1000 + part


def test_close_ends_the_thread_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(2_000_000))
    for seconds in (0, 0.001, 0.01, 0.1):
        feed = TokenFeed(document(path), settings(), CHECKSUMS, ahead_tokens=100)
        time.sleep(seconds)
        feed.close()
        close(feed)


def test_close_does_not_wait_for_the_store_and_what_comes_late_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def slow(stream: Any, position: int = 0) -> Iterator[bytes]:
        for piece in original(stream, position):
            asked.set()
            assert answers.wait(PATIENCE_SECONDS)
            yield piece

    original = reading.pieces
    monkeypatch.setattr(reading, "pieces", slow)
    path = tmp_path / "a.txt"
    path.write_text(prose(100_000))
    news: list[int] = []
    feed = TokenFeed(document(path), settings(), CHECKSUMS, lambda: news.append(1))
    assert asked.wait(PATIENCE_SECONDS)
    feed.close()
    assert feed._thread.is_alive()
    answers.set()
    close(feed)
    assert feed.ready == 0 and not news and feed.position() == Position()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_feed_that_gets_no_further_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung, goes_on = threading.Event(), threading.Event()

    def hanging(stream: Any, position: int = 0) -> Iterator[bytes]:
        yield from list(islice(original(stream, position), 3))
        hung.set()
        assert goes_on.wait(PATIENCE_SECONDS)
        yield b"more"

    original = reading.pieces
    monkeypatch.setattr(reading, "PIECE_BYTES", tokenize.PART_CHARS)
    monkeypatch.setattr(reading, "pieces", hanging)
    path = tmp_path / "a.txt"
    path.write_text(LINE * 9)
    clock = Clock()
    with reading_ahead(path, inputs=settings(max_document_seconds=60), clock=clock) as reader:
        assert hung.wait(PATIENCE_SECONDS)
        clock.now = 59.0
        reader.take(reader.feed.ready)
        clock.now = 60.5
        for _ in range(2):
            with pytest.raises(
                TimeLimitError, match=r"got no further for 60 s, the limit that input\.max_document_sec"
            ):
                _ = reader.feed.ready
        goes_on.set()
        reader.feed._thread.join(PATIENCE_SECONDS)
        # What comes after all is dropped.
        with pytest.raises(TimeLimitError):
            _ = reader.feed.ready


def test_a_feed_that_waits_for_its_tokens_to_be_taken_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(LINE * 9)
    clock = Clock()
    with reading_ahead(path, inputs=settings(max_document_seconds=60), clock=clock, ahead_tokens=10) as reader:
        taken = 0
        while count := reader.ready():
            # For longer than the limit the engine had no room for them.
            clock.now += 100.0
            taken += len(reader.feed.take(count))
        assert taken == len(whole(path))


def test_whatever_the_thread_meets_is_a_failure_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(Checksums):
        def encode(self, text: str) -> list[int]:
            raise MemoryError("so many words")

    path = tmp_path / "a.txt"
    path.write_text(prose(100_000))
    with reading_ahead(path, Faulty()) as reader:
        with pytest.raises(
            UnexpectedError, match=r"MemoryError: so many words \(at pipeline/documents/tokenize\.py:\d+\)"
        ):
            reader.take()
        assert reader.feed.ended


def test_the_title_is_found_where_a_document_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("A short line\n\n" + prose(100_000))
    for options, title in (({}, "A short line"), ({"start": cuts(path)[0]}, None)):
        with reading_ahead(path, **options) as reader:
            reader.take()
            assert reader.feed.title == title


# What a state needs


@pytest.mark.parametrize(("suffix", "encoding"), [("", "utf-8"), (".gz", "cp1252"), ("", "utf-16")])
def test_tokens_that_a_state_holds_already_are_skipped(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](prose(200_000, "\r\n", " café").encode(encoding)))
    tokens, known = whole(path), [Position(), *cuts(path)]
    rng = random.Random(0)
    for start in [*rng.sample(known, 8), known[-1]]:
        for skip in {1, min(1500, len(tokens) - start.tokens), rng.randrange(len(tokens) - start.tokens)}:
            taken = start.tokens + skip
            with reading_ahead(path, start=start, skip=skip) as reader:
                if reader.ready():
                    assert reader.feed.position() == max((cut for cut in known if cut.tokens <= taken), key=place)
                assert np.array_equal(reader.take(), tokens[taken:])
                assert reader.feed.position() == known[-1]
                assert len(reader.feed.tail) == len(tokens) - known[-1].tokens


def place(position: Position) -> int:
    return position.tokens


def test_a_state_beyond_the_end_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(60_000))
    tokens, known = whole(path), cuts(path)
    for start in (Position(), known[3], known[-1]):
        with reading_ahead(path, start=start, skip=len(tokens) - start.tokens + 5) as reader:
            with pytest.raises(StateError, match="ends 5 tokens before"):
                reader.take()
            assert reader.feed.ended


class ChecksumsWithPlaces(Checksums):
    def encode_with_places(self, text: str) -> tuple[list[int], list[int]]:
        ids = self.encode(text)
        return ids, [16 * index for index in range(len(ids))]


WITH_PLACES: Any = ChecksumsWithPlaces()
SECTIONS = SectionSettings(least_tokens=100, most_tokens=1000)


def with_headings(chars: int, seed: int) -> str:
    rng = random.Random(seed)
    lines = prose(chars, seed=seed).splitlines(keepends=True)
    return "".join(f"## Part {rng.random()}\n{line}" if rng.random() < 0.2 else line for line in lines)


def sections_of(uri: object, tokenizer: Any) -> list[Section]:
    parts(uri, tokenizer, finder := SectionFinder(SECTIONS))
    return finder.sections


def section_ends(reader: Reader, rng: random.Random, taken: int = 0) -> list[int]:
    """As an engine meets them, which takes no more than up to the end of a section."""
    ends = []
    while count := reader.ready():
        end = reader.feed.section_end
        step = min(rng.randint(1, 700), count, end or count)
        taken += len(reader.feed.take(step))
        if step == end:
            ends.append(taken)
    return ends


def test_sections_are_the_same_whole_and_from_every_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(with_headings(400_000, seed=4))
    expected = sections_of(path, WITH_PLACES)
    ends = [section.start for section in expected[1:]]
    assert sum(section.title is None for section in expected) > 2 and len(expected) > 40
    rng = random.Random(0)
    for start in [Position(), *cuts(path)]:
        found = before(expected, start.tokens)
        with reading_ahead(path, WITH_PLACES, start=start, sections=SECTIONS, found=found) as reader:
            assert section_ends(reader, rng, start.tokens) == [end for end in ends if end > start.tokens]
            assert list(reader.feed.sections) == expected


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.html"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_of_a_document_that_has_grown_only_the_rest_is_read(tmp_path: Path, name: str, line_end: str) -> None:
    path = tmp_path / name

    def write(text: str) -> None:
        if name == "a.html":
            text = "".join(f"<p>{line}</p>" for line in text.splitlines() if line)
        path.write_bytes(PACK[".gz" if name.endswith(".gz") else ""](text.replace("\n", line_end).encode()))

    full = with_headings(150_000, seed=5) + "naïve " * 40 + with_headings(30_000, seed=6)
    rng = random.Random(1)
    for length in (rng.randint(20_000, 120_000) for _ in range(12)):
        write(full[:length])
        start, found = cuts(path, WITH_PLACES)[-1], sections_of(path, WITH_PLACES)
        write(full[: length + rng.choice((0, 1, 5, 60, 4000, 50_000))])
        tokens = whole(path, WITH_PLACES)
        options = {"sections": SECTIONS, "found": before(found, start.tokens)}
        with reading_ahead(path, WITH_PLACES, start=start, check_history=True, **options) as reader:
            assert np.array_equal(reader.take(), tokens[start.tokens :])
            assert list(reader.feed.sections) == sections_of(path, WITH_PLACES)
            assert reader.feed.position() == cuts(path, WITH_PLACES)[-1]


def test_history_that_has_changed_is_noticed_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = prose(100_000)
    path.write_text(text)
    *_, before_last, start = cuts(path)
    for changed in (0, 50_000, before_last.offset, start.offset - 1):
        path.write_text(text[:changed] + "~" + text[changed + 1 :] + "and more\n" * 2000)
        with reading_ahead(path, start=start, check_history=True) as reader:
            with pytest.raises(StateError, match="history has changed"):
                reader.ready()
            assert reader.feed.ended and reader.feed.position() == start
    for length in (5, before_last.offset, start.offset - 5):
        path.write_text(text[:length])
        with reading_ahead(path, start=start, check_history=True) as reader, pytest.raises(StateError):
            reader.ready()
    for behind in (start.offset, len(text) - 1):
        path.write_text(text[:behind] + "~" + text[behind + 1 :])
        with reading_ahead(path, start=start, check_history=True) as reader:
            assert np.array_equal(reader.take(), whole(path)[start.tokens :])


def test_a_document_that_ends_at_the_cut_has_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = prose(50_000)
    path.write_text(text)
    start = cuts(path)[-1]
    path.write_text(text[: start.offset])
    with reading_ahead(path, start=start, check_history=True) as reader:
        assert reader.ready() == 0 and reader.feed.ended
        assert (reader.feed.last_cut, len(reader.feed.tail), reader.feed.position()) == (0, 0, start)


def test_places_are_those_of_the_document_as_it_is_now(tmp_path: Path) -> None:
    """Other line ends are the same text."""
    path = tmp_path / "a.txt"
    text = prose(50_000)
    path.write_text(text)
    start = cuts(path)[-1]
    path.write_bytes(text.replace("\n", "\r\n").encode())
    with reading_ahead(path, start=start, check_history=True) as reader:
        reader.take()
        assert reader.feed.position() == cuts(path)[-1] != start


def test_history_is_checked_in_one_pass_without_tokenizing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(prose(500_000).encode()))
    *_, start = cuts(path)
    opened: list[str] = []
    encoded: list[str] = []

    class Counting(Checksums):
        def encode(self, text: str) -> list[int]:
            encoded.append(text)
            return super().encode(text)

    original = reading.open_document
    monkeypatch.setattr(reading, "open_document", lambda uri, *more: opened.append(uri) or original(uri, *more))
    with reading_ahead(path, Counting(), start=start, check_history=True) as reader:
        reader.take()
    assert len(opened) == len(encoded) == 1
    long = Position(10**9, 10**9, None, 10**9, "00")
    feed = TokenFeed(document(path), settings(), CHECKSUMS, start=long, check_history=True)
    close(feed)


LINE = "a" * (tokenize.PART_CHARS - 1) + "\n"


@pytest.mark.parametrize(
    ("text", "num_cuts"),
    [("a word", 0), (LINE, 0), (LINE + "b", 1), (LINE * 2, 1), (LINE * 7, 6), (LINE * 7 + "b", 7)],
)
def test_the_last_cut_is_known_before_it_is_passed(tmp_path: Path, text: str, num_cuts: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    known, tokens = [Position(), *cuts(path)], whole(path)
    assert len(known) == num_cuts + 1
    end = known[-1].tokens
    for step in (1, 100, 10_000):
        with reading_ahead(path) as reader:
            taken, at_the_cut = 0, False
            while count := reader.ready():
                last = reader.feed.last_cut
                assert last in (None, end - taken)
                if taken == end > 0:
                    at_the_cut = last == 0
                    assert reader.feed.position() == known[-1]
                    assert np.array_equal(reader.feed.tail, tokens[end:])
                taken += len(reader.feed.take(min(step, count, last or count)))
            assert at_the_cut == (num_cuts > 0)
            assert reader.feed.last_cut is None
            assert np.array_equal(reader.feed.tail, tokens[end:] if num_cuts else [])
    for start, skip in ((known[-1], 0), (known[-1], 1), (known[0], end), (known[0], end + 1)):
        with reading_ahead(path, start=start, skip=skip) as reader:
            wait_for(lambda: reader.feed.ended)
            at = start.tokens + skip
            assert reader.feed.last_cut == (end - at if num_cuts and at <= end else None)


def test_an_empty_document_has_no_last_cut(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with reading_ahead(tmp_path / "a.txt") as reader:
        with pytest.raises(EmptyDocumentError):
            reader.take()
        assert reader.feed.last_cut is None and len(reader.feed.tail) == 0


def test_just_one_part_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def gated(stream: Any, position: int = 0) -> Iterator[bytes]:
        for number, piece in enumerate(original(stream, position)):
            if number == 4:
                assert gate.wait(PATIENCE_SECONDS)
            yield piece

    original = reading.pieces
    monkeypatch.setattr(reading, "PIECE_BYTES", tokenize.PART_CHARS)
    monkeypatch.setattr(reading, "pieces", gated)
    path = tmp_path / "a.txt"
    path.write_text(LINE * 9)
    part = tokenize.PART_CHARS // 16
    with reading_ahead(path) as reader:
        # Of five pieces. The decoder, too, holds one back.
        wait_for(lambda: reader.feed.ready == 1 + 3 * part)
        time.sleep(0.05)
        assert reader.feed.ready == 1 + 3 * part and reader.feed.last_cut is None
        gate.set()
        assert len(reader.take()) == 1 + 9 * part


def failing(path: Path, content: bytes, **inputs: Any) -> tuple[Reader, Exception]:
    path.write_bytes(content)
    with reading_ahead(path, inputs=settings(**inputs)) as reader, pytest.raises(Exception) as caught:  # noqa: PT011  # each caller says which
        reader.take()
    return reader, caught.value


def test_what_breaks_off_says_so_as_soon_as_it_is_known(tmp_path: Path) -> None:
    text = prose(400_000).encode()
    noise = random.Random(0).randbytes(300_000)
    cases: list[tuple[str, bytes, type[Exception]]] = [
        ("a.txt.gz", gzip.compress(text)[:-20], CorruptError),
        ("a.txt.zst", zstandard.compress(text)[:-20], CorruptError),
        ("a.txt", "Größe ".encode() * 300_000 + b"\xff" * 5000 + text, UndecodableError),
        ("a.txt", text * 4 + b"\0" + noise, UndecodableError),
        ("a.txt", b" \n" * 3_000_000, EmptyDocumentError),
        ("a.txt", b"", EmptyDocumentError),
    ]
    for name, content, error in cases:
        reader, caught = failing(tmp_path / name, content)
        assert type(caught) is error, caught
        assert reader.feed.ended
        with pytest.raises(error):
            _ = reader.feed.ready
    assert type(failing(tmp_path / "a.json", b'{"text": "' + text + b'"}', max_document_bytes=9)[1]) is TooLargeError


def test_a_document_that_is_gone_or_cut_short_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(3_000_000))
    with reading_ahead(path) as reader:
        positions = reader.positions(step=3000)
    path.write_text(prose(1000))
    for position in positions[1:]:
        with reading_ahead(path, start=position) as reader, pytest.raises(UnreadableError, match="shorter"):
            reader.take()
    path.unlink()
    with reading_ahead(path) as reader, pytest.raises(UnreadableError, match="not exist any more"):
        reader.take()


def test_a_store_that_is_gone_is_no_failure_of_the_document(bucket: str) -> None:
    uri = "s3://no-such-bucket-anywhere/a.txt"
    with reading_ahead(Document(uri, uri, "etag", 1)) as reader, pytest.raises(StorageError):
        reader.take()


@pytest.mark.parametrize("name", ["a.txt", "a.html"])
def test_what_is_over_the_limit_of_tokens_is_never_ready(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("some words of it\n" * 3000)
    count = len(whole(path))
    with reading_ahead(path, inputs=settings(max_document_tokens=count)) as reader:
        assert len(reader.take()) == count
    with (
        reading_ahead(path, inputs=settings(max_document_tokens=count - 1), ahead_tokens=1) as reader,
        pytest.raises(TooLargeError, match=rf"{count - 1} tokens, the limit that input\.max_document_tokens sets"),
    ):
        reader.take()
