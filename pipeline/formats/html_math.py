"""Formulas of web pages as text: TeX where the page has it, else MathML written in a line."""

import re

from lxml import etree

HELD = "//*[contains(@class, 'katex') or contains(@class, 'MathJax') or contains(@class, 'mwe-math-element')]"
FOUND = ("math", "mjx-container", "script", "img")
PREFIXED = "//*[substring-after(name(), ':') = 'math']"
HELD_BY = (b"katex", b"MathJax", b"mwe-math-element")
"""Where a formula may be; the page's source tells whether it is worth to look at all classes."""
WRAPPERS = {"katex", "mwe-math-element", "MathJax", "MathJax_CHTML", "MathJax_SVG", "MathJax_Display"}
WRAPPERS |= {"MathJax_Preview", "MathJax_SVG_Display", "MathJaxp", "mjx-chtml"}
"""Classes of elements that hold a formula in several forms."""
TEX_ENCODINGS = ("application/x-tex", "tex", "latex", "application/x-latex")
STYLE = re.compile(r"\{\s*\\(?:displaystyle|textstyle)\s(.*)\}", re.DOTALL)
LEAVES = {"mi", "mn", "mo", "mtext"}
ATOM = re.compile(r"[-−]?(?:\d[\d.,]*|[^\W\d_]?)")
INVISIBLE = dict.fromkeys(map(ord, "\u2061\u2062\u2063\u2064"))
SPACED = set("=<>≤≥≠≈≡∼~+-−±×·⋅∗→⇒⇔∈⊂⊆∪∩∧∨|")
BINARY = {
    "mfrac": "{0}/{1}",
    "msup": "{0}^{1}",
    "mover": "{0}^{1}",
    "msub": "{0}_{1}",
    "munder": "{0}_{1}",
    "msubsup": "{0}_{1}^{2}",
    "munderover": "{0}_{1}^{2}",
}
IGNORED = {"annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "none", "mprescripts"}


def formulas(root: etree._Element, source: bytes) -> dict[etree._Element, str]:
    """The text of each element that is a formula; empty for one that is there a second time."""
    found = [element for element in root.iter(*FOUND) if element.tag != "img" or _is_picture_of_one(element)]
    found += root.xpath(HELD) if any(word in source for word in HELD_BY) else ()
    found += root.xpath(PREFIXED) if b":math" in source else ()
    return {element: text for element in found if (text := _formula(element)) is not None}


def _is_picture_of_one(image: etree._Element) -> bool:
    if image.get("alt") is None:
        return False
    classes, source = image.get("class", ""), image.get("src", "")
    return any(word in classes for word in ("math", "tex", "equation")) or "math" in source or "latex" in source


def _formula(element: etree._Element) -> str | None:
    if _name(element) == "math":
        return _math(element)
    if element.tag == "script":
        return _clean(element.text or "") if element.get("type", "").startswith("math/tex") else None
    if element.tag == "img":
        return _clean(element.get("alt", ""))
    if element.tag != "mjx-container" and WRAPPERS.isdisjoint((element.get("class") or "").split()):
        return None
    return "" if _is_said_after(element) else _held(element)


def _is_said_after(element: etree._Element) -> bool:
    """Whether the source stands beside the picture of a formula."""
    if "MathJax" not in (element.get("class") or ""):
        return False
    for sibling in element.itersiblings():
        if sibling.tag == "script" and sibling.get("type", "").startswith("math/tex"):
            return True
        if "MathJax" not in (sibling.get("class") or ""):
            return False
    return False


def _held(element: etree._Element) -> str | None:
    """Of what an element holds: MathML, a script, or an image's text."""
    for inner in element.iter("math", "script", "img"):
        if text := _formula(inner) if inner.tag != "img" else _clean(inner.get("alt") or ""):
            return text
    return None


def _math(element: etree._Element) -> str:
    if alternative := _clean(element.get("alttext") or ""):
        return alternative
    for annotation in element.iter("annotation"):
        if annotation.get("encoding", "").lower() in TEX_ENCODINGS and (text := _clean(annotation.text or "")):
            return text
    return " ".join(_in_a_line(element).split())


def _name(element: etree._Element) -> str:
    """Without the prefix that XHTML may give it."""
    return element.tag.rpartition(":")[2]


def _clean(tex: str) -> str:
    text = " ".join(tex.split())
    styled = STYLE.fullmatch(text)
    return (styled[1] if styled else text).strip()


def _in_a_line(math: etree._Element) -> str:
    """MathML as text. Without recursion: pages nest as deeply as they like."""
    held: list[list[tuple[str, str]]] = [[]]
    ignored: etree._Element | None = None
    for event, element in etree.iterwalk(math, events=("start", "end")):
        if ignored is None and event == "start":
            ignored = element if _name(element) in IGNORED else None
            held.append([])
        elif event == "end" and (ignored is None or ignored is element):
            children = held.pop()
            held[-1].append((_name(element), "" if ignored is element else _written(element, children)))
            ignored = None
    return held[0][0][1]


def _written(element: etree._Element, children: list[tuple[str, str]]) -> str:
    name, texts = _name(element), [text for _, text in children]
    if not children:
        return "\N{SPACE}" if name == "mspace" else " ".join((element.text or "").translate(INVISIBLE).split(" "))
    if name in BINARY and len(texts) == BINARY[name].count("{"):
        return BINARY[name].format(*(text.strip() if tag in LEAVES else _grouped(text) for tag, text in children))
    if name == "msqrt":
        return f"sqrt({_joined(children)})"
    if name == "mroot" and len(texts) == 2:
        return f"root({texts[0]}, {texts[1]})"
    if name == "mfenced":
        return element.get("open", "(") + ", ".join(texts) + element.get("close", ")")
    if name == "mtable":
        return "[" + "; ".join(texts) + "]"
    if name in ("mtr", "mlabeledtr"):
        return ", ".join(texts)
    return _joined(children)


def _grouped(text: str) -> str:
    text = text.strip()
    return text if ATOM.fullmatch(text) else f"({text})"


def _joined(children: list[tuple[str, str]]) -> str:
    joined, is_scripted = "", False
    for place, (tag, text) in enumerate(children):
        if tag == "mo" and text.strip() in SPACED and place:
            text = f" {text.strip()} "
        elif tag == "mtext" or (is_scripted and text[:1].isalnum()) or _runs_together(joined, text):
            joined += " "
        joined += text
        is_scripted = tag in BINARY and tag != "mfrac"
    return joined


def _runs_together(before: str, after: str) -> bool:
    """Whether two names would become one: `sin` and `x`; `2` and `x` are no names."""
    left, right = before[-2:], after[:2]
    return (
        left[-1:].isalpha()
        and right[:1].isalnum()
        and ((left.isalpha() and len(left) == 2) or (right.isalpha() and len(right) == 2))
    )
