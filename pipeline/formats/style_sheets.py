"""What style sheets and style attributes say about whether text is seen."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import tinycss2
from cssselect import HTMLTranslator, SelectorError
from cssselect import parse as parse_selectors
from lxml import etree
from tinycss2.ast import Declaration, DimensionToken, FunctionBlock, IdentToken, Node, NumberToken, PercentageToken

from pipeline.formats.selectors import Path
from pipeline.formats.selectors import path as path_of

Aspect = Literal["display", "opacity", "place", "visibility", "font"]
"""What hides text. The last two are inherited, and a descendant may show itself again."""
Effects = dict[Aspect, tuple[bool, bool]]
"""Whether each hides, and whether it is important."""
Rank = tuple[bool, bool, tuple[int, int, int], int]
"""Of declarations about the same aspect of an element: important, inline, specificity, order."""

TELLING = ("display", "visibility", "opacity", "font", "clip", "position", "indent", "\\", "/*")
"""In declarations that may have an effect."""
HIDING = re.compile(
    r"display\s*:\s*none|content-visibility|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*[0.+-]|clip"
    r"|font(?:-size)?\s*:\s*[0.+-]|:\s*-(?:\d{3}|[\d.]+r?e)|\\",
    re.IGNORECASE,
)
"""In declarations that may hide, unless there is a comment within."""
COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)
TOKEN = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\\.|[{};]""", re.DOTALL)
PLAIN_RULE = re.compile(r"""([^{}"'\\;@]*)\{([^{}"'\\]*)\}""")
"""Nearly all are, and found without a look at each declaration."""
COMBINATOR = re.compile(r"[\s>+~]+")
KEY = re.compile(r"#[\w-]+|\.[\w-]+")
IN_BRACKETS = re.compile(r"\([^()\[\]]*\)|\[[^\[\]]*\]")
ELSEWHERE = re.compile(r"::|:(?:before|after|hover|focus|active|visited|target|first-l)")
"""What is of no element, or of none before somebody acts."""
TAG = re.compile(r"[A-Za-z][\w-]*")
MOVES = ("animation", "transition")
MOVED = ("text-indent", "margin-left", "margin-top")
SIDES = ("left", "top", "right", "bottom")
FAR_AWAY = -999.0
"""Pixels to the left of or above the page, where nobody sees text."""
LONGEST_SELECTOR = 2000
SCREEN = {"min": 1280.0, "max": 1280.0}
CLASSES = etree.XPath("//@class", smart_strings=False)
IDS = etree.XPath("//@id", smart_strings=False)
MEDIA_FEATURE = re.compile(r"\(\s*(min|max)-width\s*:\s*([\d.]+)(px|em|rem)\s*\)")
EM = 16.0


def hide(declarations: str) -> bool:
    """Whether some declarations hide in some respect."""
    may_hide = HIDING.search(declarations) is not None or "/*" in declarations
    return may_hide and any(hides for hides, _ in effects(declarations).values())


@lru_cache(maxsize=4096)
def effects(declarations: str) -> Effects:
    """Of the text of some declarations. Do not change what is returned."""
    if not _may_tell(declarations):
        return {}
    found: Effects = {}
    parsed = [node for node in tinycss2.parse_blocks_contents(declarations) if isinstance(node, Declaration)]
    moves = any(moving in node.lower_name for node in parsed for moving in MOVES)
    away = any(node.lower_name == "position" and _word(node.value) in ("absolute", "fixed") for node in parsed)
    for node in parsed:
        for aspect, hides in _effect(node.lower_name, _without_blanks(node.value), away, moves):
            if aspect not in found or node.important >= found[aspect][1]:
                found[aspect] = hides, node.important
    return found


def _may_tell(declarations: str) -> bool:
    lowered = declarations.lower()
    return any([word in lowered for word in TELLING])


def _effect(name: str, value: list[Node], away: bool, moves: bool) -> Iterator[tuple[Aspect, bool]]:
    if name == "display":
        yield "display", _word(value) == "none"
    elif name == "visibility":
        yield "visibility", _word(value) in ("hidden", "collapse")
    elif name == "content-visibility":
        yield "place", _word(value) == "hidden"
    elif name == "opacity":
        # What fades in is meant to be read.
        yield "opacity", _number(value) == 0 and not moves
    elif name == "font-size" and value:
        yield "font", _number(value) == 0
    elif name == "font" and value:
        yield "font", _number(value[:1]) == 0
    elif name in MOVED or (name in SIDES and away):
        number = _number(value)
        yield "place", number is not None and number * _pixels(value[0]) <= FAR_AWAY
    elif name in ("clip", "clip-path") and away:
        yield "place", _clips_all(value)


def _without_blanks(value: list[Node]) -> list[Node]:
    return [token for token in value if token.type not in ("whitespace", "comment")]


def _word(value: list[Node]) -> str | None:
    words = _without_blanks(value)
    return words[0].lower_value if len(words) == 1 and isinstance(words[0], IdentToken) else None


def _number(value: list[Node]) -> float | None:
    numeric = (NumberToken, DimensionToken, PercentageToken)
    return float(value[0].value) if len(value) == 1 and isinstance(value[0], numeric) else None


def _pixels(length: Node) -> float:
    """Of one of its units, as far as that counts here."""
    return EM if isinstance(length, DimensionToken) and length.lower_unit in ("em", "rem") else 1


def _clips_all(value: list[Node]) -> bool:
    if len(value) != 1 or not isinstance(value[0], FunctionBlock):
        return False
    numbers = [_number([token]) for token in value[0].arguments if token.type not in ("whitespace", "literal")]
    if value[0].lower_name == "inset":
        return bool(numbers) and all(number is not None and number >= 50 for number in numbers)
    return value[0].lower_name == "rect" and bool(numbers) and all(number in (0, 1) for number in numbers)


@dataclass(frozen=True)
class Rule:
    """One selector with what its declarations do."""

    selector: str
    declarations: str
    order: int

    @cached_property
    def effects(self) -> Effects:
        """What they do. Most rules are never asked."""
        return effects(self.declarations)

    @property
    def hides(self) -> bool:
        """Whether they hide in some respect."""
        return hide(self.declarations)

    @cached_property
    def key(self) -> str:
        """An id, class or tag without which no element matches; `*` if there is none."""
        bare = _bare(self.selector)
        last = COMBINATOR.split(bare)[-1].partition(":")[0] if bare is not None else ""
        return min(KEY.findall(last), default=last.lower() if TAG.fullmatch(last) else "*")  # ids first

    @cached_property
    def specificity(self) -> tuple[int, int, int]:
        """As CSS counts it."""
        if self.path:
            return self.path.specificity
        parsed = self._parsed
        return parsed[0] if parsed else (0, 0, 0)

    @cached_property
    def path(self) -> Path | None:
        """The selector, if it is a simple one."""
        return path_of(self.selector)

    @cached_property
    def _parsed(self) -> tuple[tuple[int, int, int], str] | None:
        """Specificity and XPath; None for what matches nothing here, as `::before` and `:hover`."""
        try:
            (selector,) = parse_selectors(self.selector)
            if selector.pseudo_element or len(self.selector) > LONGEST_SELECTOR:
                return None
            return selector.specificity(), HTMLTranslator().selector_to_xpath(selector)
        except (SelectorError, ValueError, RecursionError):
            return None

    def matching(self, root: etree._Element) -> frozenset[etree._Element]:
        """The elements that match."""
        parsed = self._parsed
        return frozenset(root.xpath(parsed[1])) if parsed else frozenset()


class StyleSheets:
    """The embedded style sheets of a page."""

    def __init__(self, root: etree._Element, texts: Iterable[str]) -> None:
        self._root, self._texts = root, list(texts)
        self._rules: dict[str, list[Rule]] = {}
        self._hiding: dict[str, list[Rule]] = {}
        self._matching: dict[int, frozenset[etree._Element]] = {}
        self._parent: etree._Element | None = None
        self._names: set[str] = set()
        if any(map(HIDING.search, self._texts)):
            self._load()
        self.hides_some = bool(self._hiding)

    def _load(self) -> None:
        """All of them, since one may show what another hides."""
        used = _used(self._root) if self._texts else set()
        rules = (rule for text in self._texts for rule in _rules(text, used))
        for order, (selector, declarations) in enumerate(rules):
            rule = Rule(selector, declarations, order)
            self._rules.setdefault(rule.key, []).append(rule)
            if rule.hides:
                self._hiding.setdefault(rule.key, []).append(rule)
        self._texts = []

    def may_hide(self, element: etree._Element) -> bool:
        """Whether some rule hides an element, which others may show."""
        for key in _keys(element):
            if (rules := self._hiding.get(key)) and any(self._matches(rule, element) for rule in rules):
                return True
        return False

    def of(self, element: etree._Element) -> Iterator[tuple[Aspect, bool, Rank]]:
        """What the rules that match an element do to it, each with its rank."""
        if self._texts:
            self._load()
        for key in _keys(element):
            for rule in self._rules.get(key, ()):
                if self._matches(rule, element):
                    for aspect, (hides, important) in rule.effects.items():
                        yield aspect, hides, (important, False, rule.specificity, rule.order)

    def _matches(self, rule: Rule, element: etree._Element) -> bool:
        if rule.selector == rule.key != "*":
            return True
        if rule.path:
            is_there = not rule.path.asked or rule.path.asked <= self._names_around(element)
            return is_there and rule.path.leads_to(element)
        if rule.order not in self._matching:
            self._matching[rule.order] = rule.matching(self._root)
        return element in self._matching[rule.order]

    def _names_around(self, element: etree._Element) -> set[str]:
        """Tags, classes and ids of what holds an element: most rules ask for some that are not among them."""
        if (parent := element.getparent()) is not self._parent:
            self._parent = parent
            self._names = {name for holder in element.iterancestors() for name in _keys(holder)}
        return self._names


def _keys(element: etree._Element) -> list[str]:
    """Under which the rules for an element are kept."""
    keys = ["*", element.tag]
    if names := element.get("class"):
        keys += ["." + name for name in names.split()]
    return [*keys, "#" + name] if (name := element.get("id")) else keys


def _used(root: etree._Element) -> set[str]:
    """The classes and ids that a page uses, written as in selectors."""
    classes = {name for names in set(CLASSES(root)) for name in names.split()}
    return {"." + name for name in classes} | {"#" + name for name in IDS(root)}


def _rules(text: str, used: set[str]) -> Iterator[tuple[str, str]]:
    """Selector and declarations of rules that may matter on a screen, for classes and ids that are used."""
    for prelude, body in _blocks(COMMENT.sub(" ", text)):
        if _may_tell(body):
            yield from ((selector, body) for selector in _selectors(prelude) if _may_match(selector, used))


def _may_match(selector: str, used: set[str]) -> bool:
    bare = _bare(selector)
    return bare is None or (not ELSEWHERE.search(bare) and used.issuperset(KEY.findall(bare)))


def _bare(selector: str) -> str | None:
    """Without what stands in brackets; None if that is not so easily told."""
    if "\\" in selector:
        return None
    if "(" not in selector and "[" not in selector:
        return selector
    bare = IN_BRACKETS.sub("", selector)
    bare = IN_BRACKETS.sub("", bare) if "(" in bare else bare
    return None if "(" in bare or "[" in bare else bare


def _selectors(prelude: str) -> list[str]:
    """The members of a list of selectors."""
    parts = prelude.split(",")
    if not any(sign in prelude for sign in "([\"'\\"):
        return [stripped for part in parts if (stripped := part.strip())]
    joined: list[str] = []
    depth = 0
    for part in parts:
        if depth > 0:
            joined[-1] += "," + part
        else:
            joined.append(part)
        depth += sum(map(part.count, "([")) - sum(map(part.count, ")]"))
    return [part.strip() for part in joined if part.strip()]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Selectors and declarations of rules that apply to a screen. Rules within rules are passed over."""
    stack: list[tuple[str | None, bool, int]] = []  # prelude of a rule, whether it applies, and where its body begins
    start = place = 0
    while True:
        within = stack[-1] if stack else (None, True, 0)
        if place == start and (plain := PLAIN_RULE.match(text, place)):
            start = place = plain.end()
            if within[1] and within[0] is None and (prelude := plain[1].strip()):
                yield prelude, plain[2]
            continue
        if not (token := TOKEN.search(text, place)):
            return
        place = token.end()
        if token[0] == "{":
            prelude = text[start : token.start()].strip()
            if prelude.startswith("@"):
                stack.append((None, within[1] and _applies(prelude), place))
            else:
                stack.append((prelude, within[1] and within[0] is None, place))
        elif token[0] == "}" and stack:
            selectors, applies, begin = stack.pop()
            if selectors and applies:
                yield selectors, text[begin : token.start()]
        if token[0] in "{};":
            start = place


def _applies(prelude: str) -> bool:
    """Whether what an at-rule holds applies to a screen of a usual size."""
    name, _, condition = prelude.lower().partition(" ")
    name, parenthesis, rest = name.partition("(")
    if name in ("@supports", "@layer"):
        return True
    return name == "@media" and any(map(_is_screen, (parenthesis + rest + " " + condition).split(",")))


def _is_screen(query: str) -> bool:
    for bound, value, unit in MEDIA_FEATURE.findall(query):
        width = float(value.strip(".") or 0) * (1 if unit == "px" else EM) if value.count(".") < 2 else 0
        if (SCREEN["min"] < width) if bound == "min" else (SCREEN["max"] > width):
            return False
    words = MEDIA_FEATURE.sub(" ", query).replace("only", " ").split()
    words = [word for word in words if word != "and"]
    return words in ([], ["screen"], ["all"], ["not", "print"], ["not", "speech"])
