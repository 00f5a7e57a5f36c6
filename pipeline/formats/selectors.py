"""Selectors such as most rules have: tags, classes and ids of an element and of those that hold it."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from lxml import etree

COMPOUND = re.compile(r"(\*|[A-Za-z][\w-]*)?((?:\.-?[^\W\d][\w-]*|#[\w-]+)*)")
NAME = re.compile(r"[.#][\w-]+")


class Compound(NamedTuple):
    """What a selector asks of one element."""

    tag: str | None
    id: str | None
    classes: frozenset[str]

    @property
    def names(self) -> list[str]:
        """All that is asked, written as in selectors."""
        classes = ["." + name for name in self.classes]
        return classes + [name for name in (self.tag, self.id and "#" + self.id) if name]

    def fits(self, element: etree._Element) -> bool:
        """Whether an element is as it asks."""
        if self.tag is not None and element.tag != self.tag:
            return False
        if self.id is not None and element.get("id") != self.id:
            return False
        return not self.classes or self.classes.issubset(element.get("class", "").split())


@dataclass(frozen=True)
class Path:
    """A selector of elements within each other."""

    last: Compound
    holders: tuple[tuple[bool, Compound], ...]
    """Of what must hold the element, from within outwards; each with whether it must be the very parent."""
    asked: frozenset[str]
    """Names of tags, classes and ids that those must have."""
    specificity: tuple[int, int, int]

    def leads_to(self, element: etree._Element) -> bool:
        """Whether it selects an element."""
        if not self.last.fits(element):
            return False
        reached = [element]  # all that the selector so far may stand for, from within outwards
        for is_parent, compound in self.holders:
            above = map(etree._Element.getparent, reached) if is_parent else reached[0].iterancestors()
            reached = [holder for holder in above if holder is not None and compound.fits(holder)]
            if not reached:
                return False
        return True


def path(selector: str) -> Path | None:
    """A selector as a path, if it is one."""
    holders: list[tuple[bool, Compound]] = []
    last, is_parent, names, tags = None, False, "", 0
    for word in selector.replace(">", " > ").split():
        if word == ">":
            if is_parent or last is None:
                return None
            is_parent = True
            continue
        if (found := COMPOUND.fullmatch(word)) is None or found[2].count("#") > 1:
            return None
        if last is not None:
            holders.append((is_parent, last))
        last, is_parent = _compound(found), False
        names, tags = names + found[2], tags + (last.tag is not None)
    if last is None or is_parent:
        return None
    asked = frozenset(name for _, compound in holders for name in compound.names)
    return Path(last, tuple(reversed(holders)), asked, (names.count("#"), names.count("."), tags))


def _compound(found: re.Match[str]) -> Compound:
    names: list[str] = NAME.findall(found[2])
    tag = found[1].lower() if found[1] not in (None, "*") else None
    id_ = next((name[1:] for name in names if name[0] == "#"), None)
    return Compound(tag, id_, frozenset(name[1:] for name in names if name[0] == "."))
