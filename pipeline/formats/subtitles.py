"""Subtitles (WebVTT and SubRip): what is said, without numbers, times and the repeats of rolling captions."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from configs.settings import InputSettings
from pipeline.formats import encoding, lines
from pipeline.formats.notes import Notes

MADE_BY = "subtitles 1"
TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})(?:[.,](\d{1,3}))?"
TIMES = re.compile(rf"\s{{0,9}}{TIME}[ \t]{{0,9}}-->[ \t]{{0,9}}{TIME}")
WORD_TIME = re.compile(r"<(?:\d+:)?\d\d:\d\d[.,]\d{3}>")
SPEAKER = re.compile(r"<v(?:\.[^<>\s]{1,200})?[ \t]([^<>]{1,200})>")
TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d[\d:.,]{1,20}>|\{\\[^{}]{1,200}\}")
NO_CUES = ("NOTE", "STYLE", "REGION", "WEBVTT")
END_OF_SENTENCE = re.compile(r"""[.!?…。？！]["'”’»)\]]*$""")
NEW_TURN = re.compile(r"[-–—]\s?\w|>>|[A-Z][\w .'-]{0,40}:\s|\[|♪")
LONGEST_PARAGRAPH = 1000
PAUSE_SECONDS = 3.0
ROLLING_SHARE = 0.3
LEAST_ROLLS = 2


@dataclass
class _Cue:
    start: float
    end: float
    lines: list[str] = field(default_factory=list)


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """No title, and what is said, a sentence or a turn a line. Raises UndecodableError."""
    text = "".join(encoding.decode([data], notes=notes, settings=settings))
    cues = list(_cues(text.split("\n")))
    if WORD_TIME.search(text) or _is_rolling(cues):
        _take_repeats_out(cues)
    return None, _paragraphs(cues)


def _cues(text_lines: list[str]) -> Iterator[_Cue]:
    cue: _Cue | None = None
    skipping = False
    for number, line in enumerate(text_lines):
        is_apart = not text_lines[number - 1].strip()
        if times := TIMES.match(line):
            if cue:
                yield cue
            cue, skipping = _Cue(_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])), False
        elif not line.strip():
            skipping = False
        elif cue is None or skipping or (is_apart and line.split(" ")[0].strip() in NO_CUES):
            skipping = True
        elif not _is_name_of_cue(text_lines, number):
            cue.lines += filter(None, [_said(line)])
    if cue:
        yield cue


def _is_name_of_cue(text_lines: list[str], number: int) -> bool:
    """Whether a line is the number or name before the times of a cue: after an empty line, or a number."""
    following = text_lines[number + 1] if number + 1 < len(text_lines) else ""
    is_apart = not text_lines[number - 1].strip() or text_lines[number].strip().isdecimal()
    return is_apart and TIMES.match(following) is not None


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")


def _said(line: str) -> str:
    """A line without tags, speakers as names."""
    named = SPEAKER.sub(lambda speaker: f"{speaker[1].strip()}: ", line)
    return " ".join(html.unescape(TAG.sub("", named)).split()).replace("\u200b", "")


def _is_rolling(cues: list[_Cue]) -> bool:
    """Whether many cues begin with what the one before them ended with, as captions that roll do."""
    pairs = [(a, b) for a, b in pairwise(cues) if a.lines and b.lines]
    rolls = sum(a.lines[-1] == b.lines[0] for a, b in pairs)
    return rolls >= LEAST_ROLLS and rolls >= ROLLING_SHARE * len(pairs)


def _take_repeats_out(cues: list[_Cue]) -> None:
    """Each line that the cue before shows already."""
    shown: list[str] = []
    for cue in cues:
        now = cue.lines
        overlap = next((size for size in range(len(now), 0, -1) if now[:size] == shown[-size:]), 0)
        cue.lines = now[overlap:]
        # A cue without a new line leaves what is seen as it is.
        shown = now or shown


def _paragraphs(cues: list[_Cue]) -> Iterator[str]:
    said: list[str] = []
    length, end = 0, 0.0
    for cue in cues:
        for line in cue.lines:
            is_new = cue.start - end > PAUSE_SECONDS or NEW_TURN.match(line) or length > LONGEST_PARAGRAPH
            if said and (is_new or END_OF_SENTENCE.search(said[-1])):
                yield lines.paragraph(" ".join(said))
                said, length = [], 0
            said.append(line)
            length += len(line)
            end = cue.end
    yield lines.paragraph(" ".join(said))
