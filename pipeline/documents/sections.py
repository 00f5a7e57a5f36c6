"""Where the sections of a document end: at its headings, or after so many tokens without one."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.settings import SectionSettings

HEADING = re.compile(
    r"""^(?: \#{1,6} [ \t]+ (?P<marked> \S [^\n]* )                            # Markdown, as HTML's are written too
      | (?P<numbered> \d{1,3} (?:\.\d{1,3})* \.? [ \t]+ [A-Z] [^\n]{0,78} [^\s.,;:] )
      | (?P<named> (?i:chapter|part|section|article|appendix) [ \t]+ (?:\d+|[IVXLC]+|[A-Z])\b [^\n]{0,80} ) )$""",
    re.MULTILINE | re.VERBOSE,
)
LONGEST_TITLE = 300
CLOSING = " \t#"
"""What may close a heading of Markdown."""


@dataclass(frozen=True)
class Section:
    """Where a section of a document begins, and what it is called."""

    title: str | None
    """Of its heading; None where there was none before it, and where a long section was cut."""
    start: int
    """Tokens of the document before it."""
    named_at: int | None = None
    """Tokens of the document before the heading that gave the title, which a short beginning may have preceded."""


def headings(text: str) -> Iterator[tuple[str, int]]:
    """The title of each heading in a text, and where its line begins, in characters."""
    for found in HEADING.finditer(text):
        if title := found["marked"]:
            # Not left to the pattern, which would try each blank as the first of those that close the line.
            title = title[0] + title[1:].rstrip(CLOSING)
        else:
            title = found["numbered"] or found["named"]
        yield title.strip()[:LONGEST_TITLE], found.start()


def before(sections: Sequence[Section], num_tokens: int) -> list[Section]:
    """As they were known when the document had been gone through up to a cut with so many tokens before it."""
    kept = [section for section in sections if section.start < num_tokens] or list(sections[:1])
    if kept and (kept[-1].named_at or 0) >= num_tokens:
        kept[-1] = Section(None, kept[-1].start)
    return kept


class SectionFinder:
    """Follows a document part by part; what it found of the parts so far is final."""

    def __init__(self, settings: SectionSettings, found: Sequence[Section] = ()) -> None:
        """To go on from a cut, give what `before` says of those found up to there."""
        self._settings = settings
        self.sections: list[Section] = list(found) or [Section(None, 0)]
        """Of the tokens so far; the last one goes on."""

    def add(self, part: str, places: Sequence[int], tokens_before: int) -> None:
        """One more part of the text: `places` says where each of its tokens begins, in characters."""
        for title, place in headings(part) if self._settings.headings else ():
            self._heading(title, tokens_before + bisect_left(places, place))
        self._reach(tokens_before + len(places))

    def _heading(self, title: str, start: int) -> None:
        self._reach(start)
        last = self.sections[-1]
        if start - last.start >= self._settings.least_tokens:
            self.sections.append(Section(title, start, start))
        elif last.title is None:
            # Too little was before it to be a section by itself.
            self.sections[-1] = Section(title, last.start, start)

    def _reach(self, num_tokens: int) -> None:
        """Cut what has become too long."""
        while num_tokens - self.sections[-1].start > self._settings.most_tokens:
            self.sections.append(Section(None, self.sections[-1].start + self._settings.most_tokens))
