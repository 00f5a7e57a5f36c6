"""Time and money add up exactly, whatever the shares."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing.metering import OVERHEADS, EndedNs, Meter, Rate, Spent
from pipeline.billing.money import split


class FakeClock:
    """Nanoseconds that a test sets."""

    def __init__(self) -> None:
        self.now = 17

    def __call__(self) -> int:
        return self.now


@given(st.integers(0, 10**12), st.dictionaries(st.text(max_size=3), st.integers(1, 10**6), min_size=1, max_size=20))
def test_parts_sum_to_the_whole_and_are_fair_to_a_microsecond(amount, shares):
    parts = split(amount, shares)
    assert sum(parts.values()) == amount
    for key, part in parts.items():
        assert abs(part - amount * shares[key] / sum(shares.values())) <= 1


STEPS = st.lists(
    st.tuples(
        st.integers(0, 10**10),
        st.one_of(
            st.sampled_from([*OVERHEADS, "settle", "save"]),
            st.dictionaries(st.integers(0, 5), st.integers(1, 4096), min_size=1),
        ),
    ),
    max_size=50,
)


@given(STEPS)
def test_every_microsecond_is_on_one_account(steps):
    clock = FakeClock()
    meter = Meter(clock)
    settled = 0
    for nanoseconds, what in steps:
        clock.now += nanoseconds
        if what == "settle":
            settled += meter.settle(0).microseconds
        elif what == "save":
            then = meter.documents().get(1, Spent())
            meter.save(1, Spent(then.microseconds // 2, then.decoding // 2))
        elif isinstance(what, str):
            meter.spend(what)
        else:
            meter.spend_on(what, decoding=nanoseconds % 2 == 0)
    for spent in meter.documents().values():
        assert 0 <= spent.saved <= spent.microseconds and 0 <= spent.decoding_saved <= spent.decoding
        assert spent.decoding <= spent.microseconds
    open_documents = sum(meter.settle(document).microseconds for document in range(6))
    total, overheads = meter.totals()
    assert total == sum(overheads.values()) + settled + open_documents
    # Nothing is lost but what came after the last interval was closed, and a microsecond of rounding.
    closed = [index for index, (_, what) in enumerate(steps) if what not in ("settle", "save")]
    elapsed_ns = sum(nanoseconds for nanoseconds, _ in steps[: closed[-1] + 1]) if closed else 0
    assert total == elapsed_ns // 1000


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=30), st.integers(1, 96))
def test_costs_of_parts_sum_exactly_to_the_bill(parts, devices):
    rate = Rate("cpu", devices, Decimal("2.989999"), "USD")
    assert sum(rate.cost(part) for part in parts) == rate.cost(sum(parts))
    assert rate.cost(sum(parts)) == rate.seconds(sum(parts)) * rate.price_per_second


@pytest.mark.parametrize("price", ["0.04", "2.9", "0.000001", "999999.999999"])
def test_a_cost_fits_its_column_without_rounding(price):
    cost = Rate("gpu", 8, Decimal(price), "USD").cost(10**9)
    assert -int(cost.as_tuple().exponent) <= 18


def test_a_finished_document_is_charged_once():
    clock = FakeClock()
    meter = Meter(clock)
    clock.now += 3_000_000
    meter.spend_on({"a": 1, "b": 2})
    clock.now += 500_000
    meter.spend_on({"a": 1}, decoding=True)
    assert meter.settle("a") == Spent(1500, decoding=500)
    assert meter.settle("a") == Spent()
    assert meter.totals()[0] == 3500


def test_what_a_snapshot_holds_is_no_longer_at_stake():
    clock = FakeClock()
    meter = Meter(clock)
    clock.now += 3_000_000
    meter.spend_on({"a": 1, "b": 2})
    meter.save("b", Spent(1500, 300))
    clock.now += 1_000_000
    assert meter.spend("snapshot") == 1000
    # One that is stored late, and one of a document that has left, change nothing.
    meter.save("b", Spent(900))
    meter.save("gone", Spent(5))
    assert meter.documents() == {"a": Spent(1000), "b": Spent(2000, saved=1500, decoding_saved=300)}
    assert meter.settle("b").at_stake == 500


class FakeDevice(FakeClock):
    """Works on passes one after the other, while the host goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.free_at = 0

    def work(self, nanoseconds: int) -> EndedNs:
        self.free_at = end = max(self.now, self.free_at) + nanoseconds

        def ended_ns() -> int:
            self.now = max(self.now, end)
            return end

        return ended_ns


def test_a_pending_pass_is_charged_what_the_device_took_whenever_it_is_asked():
    device = FakeDevice()
    meter = Meter(device)
    meter.spend_on({"a": 1}, ended_ns=device.work(100_000_000))
    meter.spend_on({"b": 1}, ended_ns=device.work(3_000_000))
    # The second one is under way, and the host has waited for the first alone.
    assert (meter.documents(), device.now) == ({"a": Spent(100_000)}, 100_000_017)
    device.now += 50_000_000
    assert meter.spend("snapshot") == 47_000
    assert meter.documents() == {"a": Spent(100_000), "b": Spent(3000)}
    assert meter.prefill() == (103_000, 2)


def test_who_leaves_takes_its_pending_time_along_and_waits_for_no_other():
    device = FakeDevice()
    meter = Meter(device)
    meter.spend_on({"a": 1, "b": 3}, True, device.work(4_000_000))
    meter.spend_on({"b": 1}, True, device.work(8_000_000))
    assert meter.settle("a") == Spent(1000, 1000)
    assert device.now == 4_000_017
    assert meter.settle("b") == Spent(11_000, 11_000)
    assert meter.totals() == (12_000, dict.fromkeys(OVERHEADS, 0))


def test_the_time_of_a_pass_that_broke_the_device_is_of_what_comes_next():
    device = FakeDevice()
    meter = Meter(device)
    meter.spend_on({"a": 1}, ended_ns=lambda: None)
    device.now += 2_000_000
    assert meter.spend("drain") == 2000
    assert meter.documents() == {}


@given(STEPS, st.lists(st.integers(0, 10**9), min_size=50, max_size=50))
def test_every_microsecond_is_on_one_account_while_passes_are_pending(steps, host_ns):
    """Between steps the host goes on; passes take what STEPS say."""
    device = FakeDevice()
    meter = Meter(device)
    settled = charged = 0
    for (nanoseconds, what), waited in zip(steps, host_ns, strict=False):
        device.now += waited
        if what == "settle":
            settled += meter.settle(0).microseconds
        elif isinstance(what, str):
            if what in OVERHEADS:
                meter.spend(what)
                charged = device.now
        else:
            meter.spend_on(what, waited % 2 == 0, device.work(nanoseconds))
    meter.spend("idle")
    total, overheads = meter.totals()
    documents = sum(spent.microseconds for spent in meter.documents().values())
    assert total == sum(overheads.values()) + settled + documents == (device.now - 17) // 1000 >= charged // 1000 - 1
