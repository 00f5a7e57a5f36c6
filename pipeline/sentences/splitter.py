"""Text that comes in pieces, cut into sentences: the same ones wherever the pieces end, in bounded memory."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.sentences.lexicon import ABBREVIATIONS
from pipeline.sentences.lines import Kind, Line, breaks_off, is_cue, kind_of

LONGEST_LINE = 8192
"""In characters; a longer one is taken in parts."""
LONGEST_BLOCK = 16_384
LONGEST_SENTENCE = 600
LONGEST_TITLE = 300
MOST_CUES = 256

END = re.compile(r"""(?<![.!?…])[.!?…]+["'”’)\]*_]*\s+|[。！？]+[」』”’）]*""")
INITIALS = re.compile(r"(?!i$)[^\W\d_](?:\.[^\W\d_])*$")
OPENERS = "\"'“‘([*_`"
LOOKED_BACK = 24


class Sentence(NamedTuple):
    """A sentence, or a heading, a row of a table or a line of code, where it stands."""

    text: str
    """Verbatim but for white space: one line."""
    start: int
    end: int
    """In characters of the document."""
    start_byte: int
    end_byte: int
    """In bytes of its UTF-8."""
    kind: Kind
    block: int
    """Number of its paragraph, item or turn."""
    section: int
    """Number of headings before it."""
    heading: str
    """The last of them."""
    speaker: str


class Splitter:
    """Finds the sentences of one document."""

    def __init__(self) -> None:
        self._buffer = ""
        self._held: str | None = None
        """The last whole line: what it is depends on the one below."""
        self._parts: list[str] = []
        self._size = 0
        self._kind = Kind.PROSE
        self._speaker = ""
        self._char = self._byte = 0
        """Where the open block, or what comes next, begins."""
        self._block = self._section = 0
        self._heading = ""
        self._is_fenced = self._goes_on = False
        self._cues: set[str] = set()
        self._found: list[Sentence] = []

    def feed(self, piece: str) -> list[Sentence]:
        """Those that the piece completes."""
        buffer, start = self._buffer + piece, 0
        while line := _line(buffer, start):
            start += len(line)
            self._next(line)
        self._buffer = buffer[start:]
        return self._take()

    def finish(self) -> list[Sentence]:
        """The last ones; nothing may be fed any more."""
        if self._buffer:
            self._next(self._buffer)
        if self._held is not None:
            self._add(self._held, "")
        self._buffer, self._held = "", None
        self._close()
        return self._take()

    def state(self) -> dict[str, Any]:
        """To go on from here: what JSON can hold."""
        return {name: sorted(value) if isinstance(value, set) else value for name, value in vars(self).items()}

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> "Splitter":
        """One that goes on from a state."""
        splitter = cls()
        vars(splitter).update(state, _cues=set(state["_cues"]), _kind=Kind(state["_kind"]))
        return splitter

    def _take(self) -> list[Sentence]:
        found, self._found = self._found, []
        return found

    def _next(self, line: str) -> None:
        if self._held is not None:
            self._add(self._held, line)
        self._held = line

    def _add(self, line: str, below: str) -> None:
        """Put a line where it belongs: into the open block, or a new one."""
        goes_on, self._goes_on = self._goes_on, not line.endswith("\n")
        if goes_on:
            self._append(line)
            return
        is_open = bool(self._parts)
        found = kind_of(line, below, not is_open)
        if found.kind is Kind.FENCE:
            self._is_fenced = not self._is_fenced
        if found.kind in (Kind.BLANK, Kind.FENCE, Kind.RULE):
            self._close()
            self._pass(line)
        elif self._is_fenced:
            self._open(Line(Kind.CODE), line)
        elif found.kind is not Kind.PROSE or found.speaker:
            self._open(found, line)
        elif is_open and self._kind in (Kind.PROSE, Kind.LIST, Kind.QUOTE):
            self._append_prose(line, below)
        else:
            self._open_prose(line, below)

    def _append_prose(self, line: str, below: str) -> None:
        if breaks_off(self._parts[-1], line.strip()):
            self._open_prose(line, below)
        else:
            self._append(line)

    def _open_prose(self, line: str, below: str) -> None:
        text = line.strip()
        if not is_cue(text) or not below.strip():
            self._open(Line(Kind.PROSE), line)
            return
        if text in self._cues:
            # Spoken by one who spoke before: the name of a play's character above what is said.
            self._close()
            self._pass(line)
            self._parts, self._kind, self._speaker = [""], Kind.PROSE, text.rstrip(".:").title()
            return
        if len(self._cues) < MOST_CUES:
            self._cues.add(text)
        self._open(Line(Kind.PROSE), line)

    def _open(self, found: Line, line: str) -> None:
        self._close()
        self._kind, self._speaker = found.kind, found.speaker
        self._pass(line[: found.text_at])
        self._append(line[found.text_at :])
        if found.kind in (Kind.HEADING, Kind.CODE, Kind.TABLE, Kind.LOG) and not self._goes_on:
            self._close()

    def _append(self, line: str) -> None:
        self._parts.append(line)
        self._size += len(line)
        if self._size > LONGEST_BLOCK:
            self._cut()

    def _pass(self, text: str) -> None:
        self._char += len(text)
        self._byte += _num_bytes(text)

    def _close(self) -> None:
        """End the open block."""
        text = "".join(self._parts)
        if text.strip():
            if self._kind is Kind.HEADING:
                self._section += 1
                self._heading = text.strip().strip("#").strip()[:LONGEST_TITLE]
            for start, end in self._bounds(text):
                self._emit(text, start, end)
            self._block += 1
        self._pass(text)
        self._parts, self._size, self._speaker = [], 0, ""

    def _cut(self) -> None:
        """Take the whole sentences of a block that is too long to wait for its end."""
        text = "".join(self._parts)
        bounds = list(self._bounds(text))
        rest = bounds[-1][0] if len(bounds) > 1 else len(text)
        for start, end in bounds[:-1] or bounds:
            self._emit(text, start, end)
        self._pass(text[:rest])
        self._parts, self._size = [text[rest:]], len(text) - rest

    def _bounds(self, text: str) -> Iterator[tuple[int, int]]:
        if self._kind in (Kind.HEADING, Kind.CODE, Kind.TABLE, Kind.LOG):
            return iter([(0, len(text))])
        return (part for bounds in sentence_bounds(text) for part in _by_lines(text, *bounds))

    def _emit(self, text: str, start: int, end: int) -> None:
        verbatim = text[start:end]
        start += len(verbatim) - len(verbatim.lstrip())
        verbatim = verbatim.strip()
        if not verbatim:
            return
        first, first_byte = self._char + start, self._byte + _num_bytes(text[:start])
        shown = " ".join(verbatim.split())
        place = (first, first + len(verbatim), first_byte, first_byte + _num_bytes(verbatim))
        self._found.append(
            Sentence(shown, *place, self._kind, self._block, self._section, self._heading, self._speaker)
        )


def sentence_bounds(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of a paragraph begin and end."""
    start = 0
    for found in END.finditer(text):
        if found.end() < len(text) and _ends(text, start, found):
            yield start, found.end()
            start = found.end()
    if start < len(text):
        yield start, len(text)


def _by_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence as it is, or line by line if it is too long to be one: a table, a poem, a list of names."""
    while end - start > LONGEST_SENTENCE and (cut := text.find("\n", start, end - 1) + 1):
        yield start, cut
        start = cut
    yield start, end


def _ends(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether a sentence ends at a period, or an abbreviation."""
    after = text[found.end() : found.end() + 8].lstrip(OPENERS)
    if after[:1].islower():
        return False
    if text[found.start()] != "." or (not found.group().startswith(". ") and not found.group().startswith(".\n")):
        return True
    before = text[max(start, found.start() - LOOKED_BACK) : found.start()]
    word = (before.split() or [""])[-1].lstrip(OPENERS).lower()
    if word in ABBREVIATIONS or INITIALS.match(word):
        return False
    # A number at the start is that of an item.
    return not (word.isdigit() and found.start() - start < 6)


def _line(buffer: str, start: int) -> str:
    """The next line, or part of a line that is too long; empty if its end has not come yet."""
    end = buffer.find("\n", start, start + LONGEST_LINE)
    if end >= 0:
        return buffer[start : end + 1]
    if len(buffer) - start < LONGEST_LINE:
        return ""
    cut = buffer.rfind(" ", start, start + LONGEST_LINE) + 1
    return buffer[start : cut if cut > start else start + LONGEST_LINE]


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
