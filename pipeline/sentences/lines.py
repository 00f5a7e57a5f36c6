"""What kind of line stands before us: prose, a heading, an item of a list, code, a row of a table, a speaker's turn."""

import re
from enum import IntEnum
from typing import NamedTuple

from pipeline.sentences.lexicon import NO_SPEAKERS


class Kind(IntEnum):
    """Of a block of lines, and of each sentence in it."""

    PROSE = 0
    HEADING = 1
    LIST = 2
    CODE = 3
    TABLE = 4
    QUOTE = 5
    LOG = 6
    """A line that begins with a time."""
    BLANK = 7
    FENCE = 8
    """Where code begins or ends."""
    RULE = 9


class Line(NamedTuple):
    """What a line is."""

    kind: Kind
    text_at: int = 0
    """Where in the line its text begins: behind the mark of an item, or the name of a speaker."""
    speaker: str = ""


MARKS = re.compile(
    r"""\s*(?:(?P<fence>```|~~~) | (?P<heading>\#{1,6}\s+\S) | (?P<rule>([=\-~^*`"#+_])\4{2,}\s*$) | (?P<table>\||\+-)
    | (?P<log>\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\[?\d\d:\d\d:\d\d\b|[A-Z][a-z]{2}\ [ \d]\d\ \d\d:\d\d:\d\d\b)
    | (?P<list>(?:[-*+•]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+(?=\S)) | (?P<quote>>\s*)
    | (?P<speaker>[A-Z][\w.'’-]{0,30}(?:\ [A-Z(][\w.'’()-]{0,30}){0,5}(?:\ \([^)\n]{0,60}\))?)\s?:\s+(?=\S))""",
    re.VERBOSE,
)
UNDERLINE = re.compile(r"""\s*([=\-~^*`"#+])\1{2,}\s*$""")
SYMBOLS = re.compile(r"[{}();=<>\[\]_|\\$#@&]")
NAMED = re.compile(
    r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?\s+)?(?:abstract|(?:executive |plain language )?summary|introduction|background"
    r"|overview|conclusions?|discussion|references|bibliography|acknowledge?ments?|appendix(?: [a-z])?|contents"
    r"|table of contents|index)\s*:?\s*$",
    re.IGNORECASE,
)
NUMBERED = re.compile(
    r"(?:(?:chapter|part|section|book|act|scene)\s+[\divxlc]{1,7}\b|\d{1,2}(?:\.\d{1,2}){0,3}\.?\s+[A-Z])", re.I
)
CUE = re.compile(r"[A-Z][A-Z .'’-]{1,30}[.:]?$")
MOST_SYMBOLS = 0.09
LONGEST_HEADING = 120
LONGEST_BARE_HEADING = 80


def kind_of(line: str, below: str, is_first: bool) -> Line:
    """Of a line outside of fenced code. `below` is the line after it; `is_first` tells that no block is open above."""
    text = line.strip()
    if not text:
        return Line(Kind.BLANK)
    marked = _marked(line, text)
    if marked.kind is not Kind.PROSE or marked.speaker:
        return marked
    if is_first and _is_heading(text, below):
        return Line(Kind.HEADING)
    return Line(Kind.CODE if looks_like_code(text) else Kind.PROSE)


def _marked(line: str, text: str) -> Line:
    found = MARKS.match(line)
    name = found.lastgroup if found else None
    if found and found["speaker"]:
        return _turn(found)
    if found and name in ("list", "quote"):
        return Line(Kind[name.upper()], found.end())
    if name in ("fence", "heading", "log"):
        return Line(Kind[name.upper()])
    if found and found["rule"]:
        return Line(Kind.RULE)
    if name == "table" or text.count(" | ") > 1:
        return Line(Kind.TABLE)
    return Line(Kind.PROSE)


def _turn(found: re.Match[str]) -> Line:
    name = found["speaker"]
    if name.partition(" ")[0].lower() in NO_SPEAKERS or len(name) > LONGEST_BARE_HEADING:
        return Line(Kind.PROSE)
    return Line(Kind.PROSE, found.end(), name)


def _is_heading(text: str, below: str) -> bool:
    if len(text) > LONGEST_HEADING:
        return False
    if UNDERLINE.match(below):
        return True
    if below.strip() and not NAMED.match(text):
        return False
    if len(text) > LONGEST_BARE_HEADING or text[-1] in ".!?,;":
        return False
    return bool(NAMED.match(text) or NUMBERED.match(text) or (text.isupper() and len(text) > 3))


def looks_like_code(text: str) -> bool:
    """Whether symbols are too many for prose."""
    return len(SYMBOLS.findall(text)) > MOST_SYMBOLS * len(text) and not text.endswith(".")


def is_cue(text: str) -> bool:
    """Whether a line could be the name of who speaks next, as in a play."""
    return bool(CUE.match(text))


def breaks_off(above: str, text: str) -> bool:
    """Whether a line of prose begins a block of its own although the line above is not blank: that was a short one."""
    above = above.strip()
    return len(above) <= 30 and above[-1:] not in ",;-—(" and text[0].isupper()
