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
    """Text of its heading; None before the first heading, and if it is the rest of a section that was split."""
    start: int
    """Number of the document's tokens before it."""
    named_at: int | None = None
    """Number of tokens before the heading that gave the title. It may be larger than `start`, since a short section is
    merged with the next."""


def headings(text: str) -> Iterator[tuple[str, int]]:
    """The title of each heading in a text, and the offset of its line in characters."""
    for found in HEADING.finditer(text):
        if title := found["marked"]:
            # In the pattern, this would backtrack at each blank: quadratic time.
            title = title[0] + title[1:].rstrip(CLOSING)
        else:
            title = found["numbered"] or found["named"]
        yield title.strip()[:LONGEST_TITLE], found.start()


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

    def add(self, part: str, places: Sequence[int], tokens_before: int) -> None:
        """Add the next part of the text; `places` are the offsets of its tokens in characters."""
        for title, place in headings(part) if self._settings.headings else ():
            self._heading(title, tokens_before + bisect_left(places, place))
        self._reach(tokens_before + len(places))

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
