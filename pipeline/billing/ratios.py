"""What a cost or a share comes to, where there is anything to divide by."""

from decimal import Decimal

MILLION = 1_000_000
RATIO_STEP = Decimal("1e-12")


def per(amount: Decimal, number: int | Decimal | None, unit: int = 1) -> Decimal | None:
    """The amount for each `unit` of the number, to 12 decimals; None for none."""
    return (amount * unit / number).quantize(RATIO_STEP) if number else None


def part(some: Decimal, whole: Decimal) -> float | None:
    """Between 0 and 1, to 6 decimals; None of nothing."""
    return min(1.0, round(float(some / whole), 6)) if whole else None
