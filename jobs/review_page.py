"""A review as one self-contained HTML page: documents that can be searched and sorted, each with what was written about
it and where that is from.

It holds no more of a document than there is room for: a page of 200 documents has less than 3 MB.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from jobs import look, plots
from jobs.plots import Mark
from pipeline.documents.passages import CUT
from pipeline.documents.tokenize import TOKENS_PER_BYTE
from pipeline.reports.review import Entry, Review, Reviewed, Section, Sentence
from pipeline.reports.source_texts import Passage

SCRIPT = Path(__file__).with_name("review.js")
ROOM_BYTES = 2_650_000
"""For documents, however many..."""
LEAST_ROOM_BYTES = 13_000
"""...but on average for each so much."""
MOST_ROOM_BYTES = 200_000
PLACE_BYTES = 300
"""Of HTML for a sentence without its text, about."""
MOST_TICKS = 100
WEAK = 0.25
MOST_TITLE = 160
MOST_HINT = 80
WRAPPED = re.compile(r"^([^\n]{45,92})\n(?=\S)(?![-*•|#>] )", re.MULTILINE)
"""A line of prose and its end."""


class Room(NamedTuple):
    """How much of a document is shown."""

    around: int
    """Characters of a paragraph before a sentence, and as many behind it."""
    around_in_sections: int
    """The same in what was written about sections."""
    sections: int
    places: int
    """Of an entry."""
    characters: int
    """Of a text."""


ROOMS = (
    Room(800, 800, 128, 128, 20_000),
    Room(800, 200, 128, 128, 20_000),
    Room(400, 200, 128, 128, 20_000),
    Room(400, 0, 128, 128, 20_000),
    Room(250, 0, 128, 128, 20_000),
    Room(250, 0, 32, 128, 10_000),
    Room(150, 0, 32, 64, 10_000),
    Room(150, 0, 16, 64, 5_000),
    Room(100, 0, 8, 32, 5_000),
    Room(100, 0, 4, 32, 2_500),
    Room(100, 0, 0, 32, 2_500),
    Room(0, 0, 0, 16, 2_500),
    Room(0, 0, 0, 8, 1_000),
    Room(0, 0, 0, 4, 400),
)
"""The first that fits: key sentences and answers of the whole document come before those of its sections."""


@dataclass(frozen=True)
class Place:
    """A sentence as it is shown."""

    id: str
    sentence: Sentence
    text: str
    at: str
    """`34%` of the document; empty where its length is not known."""
    passage: tuple[str, str, str] | None
    """What is before it in its paragraph, itself, and what follows."""


@dataclass(frozen=True)
class Part:
    """Some of an answer, in bits that are marked as unsupported or not."""

    bits: Sequence[tuple[str, bool]]
    place: Place | None = None
    number: int = 0
    """Of the place."""

    @property
    def is_weak(self) -> bool:
        """Whether the place holds few of its words."""
        score = self.place.sentence.score if self.place else None
        return score is not None and score < WEAK


@dataclass(frozen=True)
class Shown:
    """An extract or an answer as it is shown."""

    entry: Entry
    places: Sequence[Place]
    parts: Sequence[Part]
    strip: Markup
    num_more: int
    """Places that there is no room for."""


@dataclass(frozen=True)
class ShownDocument:
    """A document as it is shown."""

    id: str
    about: Reviewed
    entries: Sequence[Shown]
    sections: Sequence[tuple[Section, Sequence[Shown]]]
    num_more_sections: int


def page(review: Review) -> str:
    """The page's HTML."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    documents = review.documents
    return look.render(
        "review.html",
        review=review,
        documents=list(zip(_ids(documents), documents, _rendered(documents), strict=True)),
        cost=sum((each.cost or Decimal(0) for each in documents), Decimal(0)),
        currencies={each.currency for each in documents},
        is_checked=any(each.unsupported is not None for each in documents),
        cut=_cut,
        most_title=MOST_TITLE,
        script=Markup(script),  # ours
        script_hash=digest,
    )


def _ids(documents: Sequence[Reviewed]) -> list[str]:
    return [f"d{number}" for number in range(1, len(documents) + 1)]


def _rendered(documents: Sequence[Reviewed]) -> list[Markup]:
    """Each with as much as there is room for."""
    room = max(ROOM_BYTES, LEAST_ROOM_BYTES * len(documents))
    named = list(zip(_ids(documents), documents, strict=True))
    most = share([_wanted(each) for each in documents], room)
    made = [_fitting(*each, most) for each in named]
    # What was thought knows nothing of escapes.
    most = share([len(html.encode()) for html in made], room)
    return [
        html if len(html.encode()) <= most else _fitting(*each, most) for each, html in zip(named, made, strict=True)
    ]


def _fitting(id: str, document: Reviewed, most: int) -> Markup:
    template = look.environment().get_template("review_document.html")
    made = (template.render(document=shown(id, document, room), cut=_cut) for room in ROOMS)
    html = next(each for number, each in enumerate(made, 1) if len(each.encode()) <= most or number == len(ROOMS))
    return Markup(html)  # its template has escaped it


def share(wanted: Sequence[int], room: int) -> int:
    """The most that each may have so that all fit: what some do not need is for others."""
    left = room
    for number, least in enumerate(sorted(wanted)):
        if least * (len(wanted) - number) > left:
            return left // (len(wanted) - number)
        left -= least
    return MOST_ROOM_BYTES


def _wanted(document: Reviewed) -> int:
    """Bytes for all of a document, about."""
    entries = document.all_entries
    sentences = [sentence for entry in entries for sentence in _sentences(entry)]
    texts = [entry.text for entry in entries] + [each.text for each in sentences]
    texts += [text for each in sentences if each.passage for text in astuple(each.passage)]
    return min(MOST_ROOM_BYTES, 2_000 + PLACE_BYTES * len(sentences) + sum(len(text.encode()) for text in texts))


def shown(id: str, document: Reviewed, room: Room) -> ShownDocument:
    """What there is room for."""
    builder = _Builder(id, document, room)
    entries = [builder.entry(entry) for entry in document.entries]
    sections = [
        (each, [builder.entry(entry, in_section=True) for entry in each.entries])
        for each in document.sections[: room.sections]
    ]
    return ShownDocument(id, document, entries, sections, len(document.sections) - len(sections))


class _Builder:
    """Numbers the places of one document."""

    def __init__(self, id: str, document: Reviewed, room: Room) -> None:
        self._id, self._room, self._count = id, room, 0
        ends = [place.end for entry in document.all_entries for place in _sentences(entry)]
        estimate = round((document.tokens or 0) / TOKENS_PER_BYTE)
        self._length = document.num_bytes or max(estimate, *ends, 1, 1)
        self._ticks = [
            (section.start / document.tokens, look.clean(_cut(section.title or "a section", MOST_HINT)))
            for section in document.sections[:MOST_TICKS]
            if section.start and document.tokens
        ]

    def entry(self, entry: Entry, in_section: bool = False) -> Shown:
        sentences = _sentences(entry)
        around = self._room.around_in_sections if in_section else self._room.around
        places = [self._place(sentence, around) for sentence in sentences[: self._room.places]]
        parts = [] if entry.is_extract else list(_parts(entry, places, self._room.characters))
        strip = self._strip(places) if places and not in_section else Markup("")
        return Shown(entry, places, parts, strip, len(sentences) - len(places))

    def _strip(self, places: Sequence[Place]) -> Markup:
        ticks, self._ticks = self._ticks, []  # on the first one
        marks = [
            Mark(place.sentence.start / self._length, place.sentence.end / self._length, _title(place), f"#{place.id}")
            for place in places
        ]
        return plots.strip("Places in the document, from its start to its end", marks, ticks)

    def _place(self, sentence: Sentence, around: int) -> Place:
        self._count += 1
        most, passage = self._room.characters, None
        if sentence.passage and around:
            before, itself, after = _unwrapped(sentence.passage)
            passage = _end(before, around), _cut(itself, most), _cut(after, around)
        at = f"{sentence.start / self._length:.0%}"
        return Place(f"{self._id}-{self._count}", sentence, _cut(sentence.text, most), at, passage)


def _sentences(entry: Entry) -> Sequence[Sentence]:
    return [*entry.sentences, *(citation.source for citation in entry.citations)]


def _title(place: Place) -> str:
    return f"{place.at}: {look.clean(_cut(place.text, MOST_HINT))}"


def _parts(entry: Entry, places: Sequence[Place], most: int) -> Iterator[Part]:
    """An answer, its sentences with what supports them. Sentences that overlap, or lie outside, are not told apart."""
    text = entry.text.encode()
    marked = _pattern(entry.unsupported or ())
    cited = [(each.start, each.end, place) for each, place in zip(entry.citations, places, strict=False)]
    reached = 0
    for number, (start, end, place) in sorted(enumerate(cited, 1), key=lambda each: each[1][:2]):
        if not reached <= start < end <= len(text) or end > most:
            continue
        yield Part(_bits(text[reached:start], marked))
        yield Part(_bits(text[start:end], marked), place, number)
        reached = end
    yield Part(_bits(_cut(text[reached:].decode(errors="replace"), most).encode(), marked))


def _pattern(unsupported: Sequence[str]) -> re.Pattern[str] | None:
    found = sorted({re.escape(each) for each in unsupported if each.strip()}, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(found)})(?![^\W_])") if found else None


def _bits(text: bytes, marked: re.Pattern[str] | None) -> list[tuple[str, bool]]:
    shown, bits, reached = text.decode(errors="replace"), [], 0
    for found in marked.finditer(shown) if marked else ():
        bits += [(shown[reached : found.start()], False), (found[0], True)]
        reached = found.end()
    return [(bit, is_marked) for bit, is_marked in [*bits, (shown[reached:], False)] if bit]


def _unwrapped(passage: Passage) -> tuple[str, str, str]:
    """Before, itself and after, without line ends where lines are prose that was cut to the width of a page."""
    whole = "\0".join((passage.before, passage.sentence, passage.after))
    before, itself, *after = WRAPPED.sub(r"\1 ", whole).split("\0")
    return before, itself, "".join(after)


def _cut(text: str, most: int) -> str:
    """Its beginning, to the end of a word where there is one."""
    if len(text) <= most:
        return text
    head = text[:most]
    return (head[: head.rfind(" ")] if " " in head[most // 2 :] else head).rstrip() + CUT


def _end(text: str, most: int) -> str:
    """Its end, from the start of a word on where there is one."""
    if len(text) <= most:
        return text
    tail = text[-most:]
    return CUT + (tail[tail.find(" ") + 1 :] if " " in tail[: most // 2] else tail).lstrip()
