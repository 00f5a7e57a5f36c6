"""Where the sections of a document end: at its headings, or after so many tokens without one."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.settings import SectionSettings

HEADING = re.compile(
    r"""^(?: \#{1,6} [ \t]+ (?P<marked> \S [^\n]* )                            # Markdown, as HTML's are written too
      | (?P<underlined> [^\s|>\-=#] [^\n]{0,118} ) \n (?: ={3,} | -{3,} ) [ \t]*       # Markdown's other way
      | (?P<numbered> \d{1,3} (?:\.\d{1,3})* \.? [ \t]+ [A-Z] [^\n]{0,78} [^\s.,;:] )
      | (?P<named> (?i:chapter|part|section|article|appendix) [ \t]+ (?:\d+|[IVXLC]+|[A-Z])
          (?: [ \t]* [.:)\u2013\u2014-] [^\n]{0,80} | [ \t]+ ["\u201c(]? [A-Z0-9] [^\n]{0,80} )? [ \t]* ) )$""",
    re.MULTILINE | re.VERBOSE,
)
FENCE = re.compile(r"^ {0,3}(?P<marks>```+|~~~+)[ \t]*(?P<language>[^\s`]*)[^`\n]*$", re.MULTILINE)
FRONT_MATTER = re.compile(r"---[ \t]*\n(?:[^\n]*\n){1,200}?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
"""YAML before a Markdown document: facts about it."""
SENTENCE = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|does|did|do|will|would|shall|should|may|must|can|could|applies|apply"
    r"|contains?|provides?|states?|requires?|says|said|means)\b"
)
"""Words of sentences, which titles do not have: a line that begins with a number or `Section 12` may be prose."""
NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,3})*[.)]?[ \t]")
MONTH = re.compile(
    r"\d{1,2}\.?[ \t]+(?:January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
LONGEST_TITLE = 300
CLOSING = " \t#"
"""What may close a heading of Markdown."""


@dataclass(frozen=True)
class Section:
    """Where a section of a document begins, and what it is called."""

    title: str | None
    """Text of its heading; None before the first heading, and if it is the rest of a section that was split."""
    start: int
    """Number of the document's tokens before it."""
    named_at: int | None = None
    """Number of tokens before the heading that gave the title. It may be larger than `start`, since a short section is
    merged with the next."""


def headings(text: str, is_start: bool = False) -> Iterator[tuple[str, int]]:
    """The title of each heading in a part of a document, and the offset of its line in characters; none within code.
    `is_start` tells whether the part is the document's first, which may begin with front matter."""
    codes = _code(text)
    front = FRONT_MATTER.match(text) if is_start else None
    for found in HEADING.finditer(text, front.end() if front else 0):
        if (title := _title(found)) and not any(start <= found.start() < end for start, end in codes):
            yield title.strip()[:LONGEST_TITLE], found.start()


def _title(found: re.Match[str]) -> str | None:
    """Of a line that looks like a heading; None where it is prose."""
    if title := found["marked"]:
        # In the pattern, this would backtrack at each blank: quadratic time.
        return title[0] + title[1:].rstrip(CLOSING)
    if title := found["underlined"]:
        # Else it is the last line of a paragraph, and what follows is a rule.
        return title if not _line_above(found).strip() and any(map(str.isalpha, title)) else None
    if found["numbered"] and _is_item(found):
        return None
    title = found["numbered"] or found["named"]
    is_prose = SENTENCE.search(title) or MONTH.match(title) or title.endswith((",", ";"))
    return None if is_prose else title


def _is_item(found: re.Match[str]) -> bool:
    """Whether a numbered line is one of a list: right before or behind it is another."""
    return any(NUMBER.match(line) for line in (_line_above(found), _line_below(found)))


def _line_above(found: re.Match[str]) -> str:
    return found.string[: found.start()].removesuffix("\n").rpartition("\n")[2]


def _line_below(found: re.Match[str]) -> str:
    return found.string[found.end() + 1 :].partition("\n")[0]


def _code(text: str) -> list[tuple[int, int]]:
    """Where fenced code begins and ends in a part of a document. Whether the part begins within code follows from its
    fences, as far as it does: one that names a language opens."""
    fences = list(FENCE.finditer(text))
    opens = next((number for number, fence in enumerate(fences) if fence["language"]), 0)
    places = [0] * (opens % 2) + [fence.start() for fence in fences]
    ends = places[1:] + [len(text)] * (len(places) % 2)
    return list(zip(places[::2], ends[::2], strict=True))


def before(sections: Sequence[Section], num_tokens: int) -> list[Section]:
    """The sections as they were known when the document had been read up to a cut after `tokens` tokens."""
    kept = [section for section in sections if section.start < num_tokens] or list(sections[:1])
    if kept and (kept[-1].named_at or 0) >= num_tokens:
        kept[-1] = Section(None, kept[-1].start)
    return kept


class SectionFinder:
    """Finds sections part by part; those of the parts so far are final."""

    def __init__(self, settings: SectionSettings, found: Sequence[Section] = ()) -> None:
        """To resume from a cut, give the sections that `before` returns for it."""
        self._settings = settings
        self.sections: list[Section] = list(found) or [Section(None, 0)]
        """The sections so far; the last one is still open."""
        self.begun: list[int] = []
        """Where in the last part sections begin, in characters."""

    def add(self, part: str, places: Sequence[int], tokens_before: int) -> None:
        """Add the next part of the text; `places` are the offsets of its tokens in characters."""
        known = len(self.sections)
        for title, place in headings(part, tokens_before <= 1) if self._settings.headings else ():
            self._heading(title, tokens_before + bisect_left(places, place))
        self._reach(tokens_before + len(places))
        self.begun = [places[section.start - tokens_before] for section in self.sections[known:]]

    def _heading(self, title: str, start: int) -> None:
        self._reach(start)
        last = self.sections[-1]
        if start - last.start >= self._settings.least_tokens:
            self.sections.append(Section(title, start, start))
        elif last.title is None:
            # The section before it is too short and is merged with this one.
            self.sections[-1] = Section(title, last.start, start)

    def _reach(self, num_tokens: int) -> None:
        """Split a section that has become too long."""
        while num_tokens - self.sections[-1].start > self._settings.most_tokens:
            self.sections.append(Section(None, self.sections[-1].start + self._settings.most_tokens))
