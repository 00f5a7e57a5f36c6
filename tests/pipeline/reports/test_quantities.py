"""Numbers as a person reads them."""

from decimal import Decimal

import pytest

from pipeline.reports import quantities


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0E-18", "$0"),
        ("1234567.891", "$1,234,567.89"),
        ("1234.5", "$1,234.50"),
        ("1", "$1.00"),
        ("0.9996", "$1.00"),
        ("0.500000000000000000", "$0.50"),
        ("0.0421", "$0.0421"),
        ("0.00042", "$0.00042"),
        ("0.000421234000000000", "$0.000421"),
        ("0.00000000123456", "$0.00000000123"),
        ("0.000000000000000001", "<$0.000000001"),
        ("-3.456", "-$3.46"),
    ],
)
def test_money_keeps_the_digits_that_matter(amount, shown):
    assert quantities.money(Decimal(amount), "USD") == shown


def test_money_names_its_currency():
    assert [quantities.money(Decimal("1.2"), code) for code in ("EUR", "GBP", "CHF")] == ["€1.20", "£1.20", "CHF 1.20"]
    assert quantities.money(None, "USD") == "-"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10K"),
        (12_345, "12.3K"),
        (99_960, "100K"),
        (999_400, "999K"),
        (999_600, "1M"),
        (1_234_567, "1.2M"),
        (5_000_000_000, "5B"),
        (None, "-"),
    ],
)
def test_counts_are_exact_while_short_and_scaled_beyond(number, shown):
    assert quantities.count(number) == shown


@pytest.mark.parametrize(
    ("num_bytes", "shown"), [(0, "0 B"), (840, "840 B"), (1536, "1.5 KiB"), (1_048_570, "1 MiB"), (None, "-")]
)
def test_sizes_are_binary(num_bytes, shown):
    assert quantities.size(num_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.0001, "<1ms"),
        (0.004, "4ms"),
        (0.42, "0.42s"),
        (Decimal("12.345678"), "12.3s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (192, "3m 12s"),
        (3599.4, "59m 59s"),
        (3599.6, "1h"),
        (7530, "2h 6m"),
        (86_371, "1d"),
        (100_000, "1d 4h"),
        (None, "-"),
    ],
)
def test_durations_have_two_units_at_the_most(seconds, shown):
    assert quantities.duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "seconds", "shown"),
    [(1, 4, "0.25/s"), (3500, 10, "350/s"), (123_456, 10, "12.3K/s"), (0, 4, "0/s"), (10, 0, "-"), (10, None, "-")],
)
def test_rates(number, seconds, shown):
    assert quantities.rate(number, seconds) == shown


def test_a_share_of_nothing_is_unknown():
    assert quantities.share(Decimal(1), Decimal(8)) == "12.5%"
    assert quantities.share(Decimal(0), Decimal(0)) == "-"
