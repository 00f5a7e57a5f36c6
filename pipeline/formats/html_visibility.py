"""Which elements of a page a browser does not show."""

from collections.abc import Iterator
from enum import Enum, auto

from lxml import etree

from pipeline.formats.style_sheets import Aspect, Rank, StyleSheets, effects, hide

INHERITED: tuple[Aspect, ...] = ("visibility", "font")
NEVER_HIDDEN = ("html", "body")
"""Pages that hide themselves are shown by their scripts."""
PAGE_PARTS = ("main", "article", "h1")
"""A page is hidden from screen readers while a dialog lies over it, or until it fades in; it is one all the same."""
CHROME_ROLES = ("navigation", "menu", "menubar")
PRINT = ("print", "speech")


class Look(Enum):
    """How an element is seen."""

    AS_ITS_PARENT = auto()
    GONE = auto()
    """Not at all, with all that it holds."""
    CHROME = auto()
    """It is navigation, no part of the text."""
    UNSEEN = auto()
    """Not, but for descendants that are `SEEN`."""
    SEEN = auto()


class Visibility:
    """Judges the elements of a page, in the order in which they begin."""

    def __init__(self, root: etree._Element, source: bytes) -> None:
        """The source tells what need not be looked for."""
        source = source.lower()
        self._marks_hidden, self._has_roles, has_styles = (word in source for word in (b"hidden", b"role", b"style"))
        self._sheets = StyleSheets(root, map(_text, filter(_is_for_screens, root.iter("style"))))
        self.hides_some = self._marks_hidden or self._has_roles or has_styles
        """Whether there may be elements that are not seen as their parents are."""
        self._styles: dict[str, bool] = {}
        self._seen_again: set[etree._Element] = set()
        self._searched: set[etree._Element] = set()

    def of(self, element: etree._Element) -> Look:
        """How an element is seen."""
        if self._marks_hidden:
            aria_hidden = element.get("aria-hidden")
            if element.get("hidden") is not None or (aria_hidden and _is_hidden_from_all(element, aria_hidden)):
                return Look.GONE
        if self._has_roles and (role := element.get("role")) and role.strip().lower() in CHROME_ROLES:
            return Look.CHROME
        if (style := element.get("style")) is not None and self._hides(style):
            return self._styled(element)
        if self._sheets.hides_some and self._sheets.may_hide(element):
            return self._styled(element)
        if self._seen_again and element in self._seen_again:
            return Look.SEEN
        return Look.AS_ITS_PARENT

    def _hides(self, style: str) -> bool:
        hides = self._styles.get(style)
        if hides is None:
            hides = self._styles[style] = hide(style)
        return hides

    def _styled(self, element: etree._Element) -> Look:
        if element.tag in NEVER_HIDDEN:
            return Look.AS_ITS_PARENT
        look = self._look(element)
        if look.get("opacity") and _holds_page(element):
            # Whole pages fade in.
            look["opacity"] = False
        if any(hides for aspect, hides in look.items() if aspect not in INHERITED):
            return Look.GONE
        if not any(look.values()):
            return Look.SEEN if element in self._seen_again else Look.AS_ITS_PARENT
        self._search(element)
        return Look.UNSEEN

    def _search(self, unseen: etree._Element) -> None:
        """Find the descendants of an unseen element that are seen again."""
        if unseen not in self._searched:
            for element in unseen.iterdescendants(etree.Element):
                self._searched.add(element)
                look = self._look(element)
                if any(not look.get(aspect, True) for aspect in INHERITED):
                    self._seen_again.add(element)

    def _look(self, element: etree._Element) -> dict[Aspect, bool]:
        """Whether it is hidden in each respect that some style speaks of."""
        best: dict[Aspect, tuple[Rank, bool]] = {}
        for aspect, hides, rank in self._declared(element):
            if aspect not in best or rank >= best[aspect][0]:
                best[aspect] = rank, hides
        return {aspect: hides for aspect, (_, hides) in best.items()}

    def _declared(self, element: etree._Element) -> Iterator[tuple[Aspect, bool, Rank]]:
        yield from self._sheets.of(element)
        for aspect, (hides, important) in effects(element.get("style") or "").items():
            yield aspect, hides, (important, True, (0, 0, 0), 0)


def _text(sheet: etree._Element) -> str:
    return "".join(sheet.itertext())


def _is_for_screens(sheet: etree._Element) -> bool:
    return not any(medium in sheet.get("media", "").lower() for medium in PRINT)


def _is_hidden_from_all(element: etree._Element, aria_hidden: str) -> bool:
    if aria_hidden.strip().lower() != "true" or element.tag in NEVER_HIDDEN:
        return False
    return not _holds_page(element)


def _holds_page(element: etree._Element) -> bool:
    return next(element.iter(*PAGE_PARTS), None) is not None
