"""Selectors of tags, classes and ids select what cssselect and XPath select."""

import random

import pytest
from cssselect import HTMLTranslator
from cssselect import parse as parse_selectors
from lxml import etree

from pipeline.formats import selectors

PAGE = etree.HTML(
    "<div id='a' class='x y'><ul class='y'><li class='x'><a>1</a><ul><li><a class='x'>2</a></li></ul></li></ul></div>"
    "<div class='x'><p><a class='y x'>3</a></p><div class='y'><div id='b'><p class='x'>4</p></div></div></div>"
)


@pytest.mark.parametrize(
    "selector",
    [
        "a",
        "*",
        ".x",
        "#b",
        "li>a",
        "ul ul a",
        "div > .y  p",
        "#a.x li > a.x",
        "DIV .y",
        ".x .x .x",
        "body > div p",
        "*.y > *",
    ],
)
def test_paths_select_what_xpath_selects(selector):
    _compare(selector)


def test_so_do_any_others():
    draw = random.Random(0)
    for _ in range(300):
        words = draw.choices(
            ["div", "ul", "li", "a", "p", ".x", ".y", "div.x", "#a", "a.x.y", "*"], k=draw.randint(1, 4)
        )
        _compare("".join(word + draw.choice([" ", " > ", ">"]) for word in words[:-1]) + words[-1])


@pytest.mark.parametrize(
    "selector", ["", ">", "> a", "a >", "a > > b", "a + b", "a ~ b", "a:hover", "[x]", ".1", "a,b", "#a#b"]
)
def test_what_is_no_path(selector):
    assert selectors.path(selector) is None


def _compare(selector: str) -> None:
    path = selectors.path(selector)
    assert path is not None
    (parsed,) = parse_selectors(selector)
    selected = [element for element in PAGE.iter() if path.leads_to(element)]
    assert set(selected) == set(PAGE.xpath(HTMLTranslator().selector_to_xpath(parsed)))
    assert path.specificity == parsed.specificity()
