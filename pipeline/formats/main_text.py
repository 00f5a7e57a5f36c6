"""Where the main text of a web page is: an extractor finds its words, and what holds them is read as any page is."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import trafilatura
from lxml import etree

Shingle = tuple[str, ...]
SHINGLE = 4
"""Consecutive words that tell whether a text is a part of another."""
MOST = 0.95
"""Share of the words found that what is read must hold."""
FEWEST_WORDS = 25
ASIDES = {"aside", "div", "dl", "fieldset", "footer", "form", "header", "ol", "section", "ul", "center", "figure", "p"}
DATA = ("table", "pre", "math", "code", "textarea", "script")
"""Extractors lose some of these, so that they stay whatever was found of them."""
LINKED = 0.3
"""Share of linked words from which on a part is one of links."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
UNREAD = {"script", "style", "noscript", "template", "title"}


@dataclass
class _Count:
    """Of the words in an element."""

    found: int = 0
    all: int = 0
    linked: int = 0

    def add(self, other: "_Count") -> None:
        self.found += other.found
        self.all += other.all
        self.linked += other.linked


def find(root: etree._Element) -> tuple[etree._Element, set[etree._Element]] | None:
    """The smallest element that holds the main text, and elements within that are none of it; None if none is
    found."""
    shingles = set(_shingles(_extracted(root)))
    if len(shingles) < FEWEST_WORDS:
        return None
    counts = _counted(root, shingles)
    least = MOST * counts[root].found if root in counts else 0
    if not least:
        return None
    best = root
    while (inner := next((each for each in best if each in counts and counts[each].found >= least), None)) is not None:
        best = inner
    return best, set(_asides(best, counts))


def _extracted(root: etree._Element) -> str:
    """The main text, without its marks."""
    # It tells of each page in which it finds nothing.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    page = etree.tostring(root, encoding="unicode", method="html")
    try:
        found = trafilatura.bare_extraction(page, include_comments=False, with_metadata=False)
    except MemoryError:
        raise
    except Exception:  # its rules of thumb trip over odd pages in nearly any way; it has found nothing then
        return ""
    return (found.text if found is not None and not isinstance(found, dict) else None) or ""


def _shingles(text: str) -> Iterator[Shingle]:
    words = WORD.findall(text)
    if 0 < len(words) < SHINGLE:
        yield tuple(words)
    for start in range(len(words) - SHINGLE + 1):
        yield tuple(words[start : start + SHINGLE])


def _counted(root: etree._Element, shingles: set[Shingle]) -> dict[etree._Element, _Count]:
    """The words of each element that has any, and how many of them were found."""
    counts: dict[etree._Element, _Count] = {}
    held = [_Count()]
    links = 0
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        links += (event == "start") - (event == "end") if element.tag == "a" else 0
        if event == "start":
            held.append(_Count())
            if element.tag in UNREAD:
                walk.skip_subtree()
            elif element.text:
                held[-1].add(_count(element.text, shingles, links > 0))
        else:
            count = held.pop()
            if count.all:
                counts[element] = count
                held[-1].add(count)
            if element.tail:
                held[-1].add(_count(element.tail, shingles, links > 0))
    return counts


def _count(text: str, shingles: set[Shingle], is_linked: bool) -> _Count:
    num_words = len(WORD.findall(text))
    found = sum(shingle in shingles for shingle in _shingles(text))
    return _Count(min(num_words, found and found + SHINGLE - 1), num_words, num_words if is_linked else 0)


def _asides(best: etree._Element, counts: dict[etree._Element, _Count]) -> Iterator[etree._Element]:
    walk = etree.iterwalk(best, events=("start",))
    for _, element in walk:
        count = counts.get(element)
        if count is None or count.found or element.tag not in ASIDES or count.linked < LINKED * count.all:
            continue
        if next(element.iter(*DATA), None) is None:
            yield element
            walk.skip_subtree()
