"""The look that Longhaul's pages share: their frame and style, and how text, amounts and days are written in them.

A page needs nothing from anywhere, and its own policy forbids any request. Text that came from documents is escaped by
the templates, and shown without control characters.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.reports.quantities import SYMBOLS, UNKNOWN, count, duration, money, size

TEMPLATES = Path(__file__).parent
MAX_DECIMALS = 9
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Controls, also those that turn text around; what joins letters of some scripts stays."""


def render(name: str, **values: Any) -> str:
    """The HTML of a template that extends `look.html`."""
    return environment().get_template(name).render(**values)


@cache
def environment() -> Environment:
    """Where the templates are, and their filters."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "amount": rounded,
        "clean": clean,
        "count": count,
        "day": day_of,
        "decimals": decimals,
        "duration": duration,
        "lines": lines,
        "money": money,
        "percent": percent,
        "size": size,
    }
    return made


def clean(text: Any) -> str:
    """A text on one line without what could turn it around or hide it."""
    return lines(" ".join(str(text).split()))


def lines(text: str) -> str:
    """The same on its lines."""
    return HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def decimals(amounts: Iterable[Decimal | None]) -> int:
    """How many show three digits of the largest, and whole cents at least: one number for a column."""
    most = max((abs(amount) for amount in amounts if amount is not None), default=Decimal(0))
    return 2 if most == 0 else min(MAX_DECIMALS, max(2, 2 - most.adjusted()))


def rounded(amount: Decimal | None, currency: str, digits: int) -> str:
    """`$1,234.50`, `<$0.01`: as `money`, with so many decimals."""
    if amount is None:
        return UNKNOWN
    least, sign = Decimal(1).scaleb(-digits), SYMBOLS.get(currency, f"{currency} ")
    shown, minus = abs(amount).quantize(least), "-" if amount < 0 else ""
    return f"{minus}{sign}{shown:,f}" if shown or not amount else f"{minus}<{sign}{least:f}"


def percent(share: float | Decimal | None) -> str:
    """`3.4%`, `<0.1%`, `-` where it is not known."""
    if share is None:
        return UNKNOWN
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def day_of(day: date | datetime) -> str:
    """`3 March 2026`."""
    return f"{day.day} {day:%B %Y}"
