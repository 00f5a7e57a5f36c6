"""Money, counts, sizes and times formatted for people: two or three significant digits and a unit."""

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}
SMALLEST_MONEY = Decimal("1e-9")
THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_EVEN)
UNKNOWN = "-"
UNIT_PAIRS: tuple[tuple[str, int, str, int, float], ...] = (
    ("m", 60, "s", 1, 3600),
    ("h", 3600, "m", 60, 86_400),
    ("d", 86_400, "h", 3600, math.inf),
)
"""Unit and its seconds, the finer unit beside it and its seconds, and where the next pair takes over."""


def money(amount: Decimal | None, currency: str) -> str:
    """`$1,234.50`, `$0.0421`, `$0.00042`, `<$0.000000001`; currencies without a sign here as `CHF 1.20`."""
    if amount is None:
        return UNKNOWN
    sign = SYMBOLS.get(currency, f"{currency} ")
    minus = "-" if amount < 0 else ""
    amount = abs(amount)
    if amount == 0:
        return f"{sign}0"
    if amount < SMALLEST_MONEY:
        return f"{minus}<{sign}{SMALLEST_MONEY:f}"
    if amount < 1:
        amount = THREE_DIGITS.plus(amount).normalize()
    # Whole cents at least, so that 0.5 reads as 0.50.
    digits = max(2, -int(amount.as_tuple().exponent)) if amount < 1 else 2
    return f"{minus}{sign}{amount:,.{digits}f}"


def count(number: float | Decimal | None) -> str:
    """`840`, `9,999`, `12.3K`, `1.2M`: exact while that is short."""
    if number is None:
        return UNKNOWN
    if -10_000 < number < 10_000:
        return f"{number:,.0f}"
    return _scaled(float(number), 1000, ("", "K", "M", "B", "T"))


def size(num_bytes: float | None) -> str:
    """`840 B`, `1.2 KiB`, `3.4 GiB`."""
    return UNKNOWN if num_bytes is None else _scaled(float(num_bytes), 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def duration(seconds: float | Decimal | None) -> str:
    """`4ms`, `0.42s`, `12.3s`, `3m 12s`, `2h 5m`, `1d 3h`: two units at the most."""
    if seconds is None:
        return UNKNOWN
    seconds = float(seconds)
    if seconds < 59.95:
        return _short(seconds)
    # Rounded first: 3599.6 seconds are 1h, not 59m 60s.
    unit, length, small, step, _ = next(pair for pair in UNIT_PAIRS if round(seconds / pair[3]) * pair[3] < pair[4])
    number, rest = divmod(round(seconds / step) * step, length)
    return f"{number}{unit} {rest // step}{small}" if rest else f"{number}{unit}"


def rate(number: float | Decimal, seconds: float | Decimal | None) -> str:
    """`350/s`, `12.3K/s`, `0.25/s`; `-` where no time has passed."""
    if not seconds:
        return UNKNOWN
    per_second = float(number) / float(seconds)
    return f"{per_second:.3g}/s" if 0 < per_second < 10 else f"{count(per_second)}/s"


def share(part: Decimal, whole: Decimal) -> str:
    """`12.5%`; `-` of nothing."""
    return f"{part / whole:.1%}" if whole else UNKNOWN


def _short(seconds: float) -> str:
    if seconds == 0:
        return "0s"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f}ms" if seconds >= 0.0005 else "<1ms"
    return f"{seconds:.2f}s" if seconds < 9.995 else f"{seconds:.1f}s"


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    """Three digits and a unit; 999,960 with a step of 1000 is 1M, not 1000K."""
    power = 0
    while abs(number) >= step - 0.5 and power < len(units) - 1:
        number /= step
        power += 1
    digits = 1 if power and abs(number) < 99.95 else 0
    return f"{number:.{digits}f}".removesuffix(".0") + units[power]
