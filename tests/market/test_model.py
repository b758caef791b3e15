"""Prices and capacity: the seeded model against its fitted figures, recorded traces, scripts, the catalogue."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market import catalogue
from lowtide.market.model import Held, Lifecycle, Offering, Recorded, Scripted, Seeded, Trace, price_history
from lowtide.market.script import parse
from tests.market.worlds import START, TYPE, A, B, Steady, seconds

HERE = Offering(TYPE, A)


def test_the_model_is_available_three_quarters_of_the_time():
    model = Seeded(seed=3, epoch=START)
    probes = [
        model.capacity(Offering(TYPE, f"zone-{z}"), Lifecycle.SPOT, START + timedelta(hours=h)) > 0
        for z in range(150)
        for h in range(0, 72, 4)
    ]
    assert 0.70 < sum(probes) / len(probes) < 0.80


def test_half_of_the_modelled_runs_last_longer_than_71_minutes():
    model, longer, runs = Seeded(seed=4, epoch=START), 0, 0
    for z in range(60):
        at, offering = START, Offering(TYPE, f"zone-{z}")
        before = model.capacity(offering, Lifecycle.SPOT, at)
        began = None
        while at < START + timedelta(days=6):
            at = model.next_change(offering, at)
            now = model.capacity(offering, Lifecycle.SPOT, at)
            if began and before and not now:
                runs, longer = runs + 1, longer + (at - began > timedelta(minutes=70.8))
            began = at if now and not before else began
            before = now
    assert 0.45 < longer / runs < 0.55


def test_modelled_prices_stay_between_a_quarter_and_all_of_the_on_demand_price():
    model = Seeded(seed=5, epoch=START)
    for z in range(100):
        for point in price_history(model, Offering(TYPE, str(z)), START, START + timedelta(days=3)):
            share = point.price / catalogue.on_demand_price(TYPE)
            assert Decimal("0.28") < share <= 1


def test_the_pace_shortens_the_model():
    slow, fast = Seeded(seed=6, epoch=START), Seeded(seed=6, epoch=START, pace=100)
    wait = slow.next_change(HERE, START) - START
    assert abs((fast.next_change(HERE, START) - START) * 100 - wait) < seconds(0.001)


@given(st.integers(0, 2**32), st.floats(0, 1e6))
def test_answers_do_not_depend_on_what_was_asked_before(seed, at):
    asked, fresh = Seeded(seed=seed, epoch=START), Seeded(seed=seed, epoch=START)
    asked.price(Offering(TYPE, B), START)
    asked.next_change(HERE, START + timedelta(days=14))
    when = START + seconds(at)
    assert asked.price(HERE, when) == fresh.price(HERE, when)
    assert asked.capacity(HERE, Lifecycle.SPOT, when) == fresh.capacity(HERE, Lifecycle.SPOT, when)


@given(st.integers(0, 2**32), st.floats(0, 1e6))
def test_nothing_changes_before_the_next_change(seed, at):
    model, when = Seeded(seed=seed, epoch=START, pace=60), START + seconds(at)
    change = model.next_change(HERE, when)
    before = change - timedelta(microseconds=1)
    assert change > when
    if before > when:
        assert model.price(HERE, before) == model.price(HERE, when)
        assert model.capacity(HERE, Lifecycle.SPOT, before) == model.capacity(HERE, Lifecycle.SPOT, when)


def test_a_recorded_trace_is_played_tick_by_tick_and_again_from_its_start():
    trace = Trace.from_document({"gap_seconds": 60, "spot_price": 1, "on_demand_price": 4, "avail": "110"})
    recorded = Recorded(traces={HERE: trace}, otherwise=Steady(), epoch=START, depth=2)
    ticks = [recorded.capacity(HERE, Lifecycle.SPOT, START + seconds(60 * n)) for n in range(6)]
    assert ticks == [2, 2, 0, 2, 2, 0]
    assert recorded.next_change(HERE, START + seconds(30)) == START + seconds(60)
    assert recorded.price(HERE, START) == (catalogue.on_demand_price(TYPE) / 4).quantize(Decimal("0.0001"))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({"avail": "1x"}, "avail"), ({"gap_seconds": 0}, "gap_seconds"), ({"spot_price": None}, "spot_price")],
)
def test_a_document_that_is_no_trace_is_refused_by_name(change, wrong):
    good = {"gap_seconds": 60, "spot_price": 1, "on_demand_price": 4, "avail": "110"}
    with pytest.raises(ValueError, match=wrong):
        Trace.from_document({**good, **change})


def test_a_held_price_begins_and_ends_on_the_second():
    market = Scripted(Steady())
    usual = market.price(HERE, START)
    market.add([Held(zone=A, start=START + seconds(40), end=START + seconds(80), price=Decimal(2))])
    at = [market.price(HERE, START + seconds(n)) for n in (39, 40, 79, 80)]
    assert at == [usual, Decimal(2), Decimal(2), usual]
    assert market.price(Offering(TYPE, B), START + seconds(50)) != Decimal(2)
    assert market.next_change(HERE, START + seconds(40)) == START + seconds(80)


def test_of_two_that_hold_the_same_the_later_added_is_in_force():
    market = Scripted(Steady())
    market.add([Held(start=START, capacity=0), Held(start=START, capacity=3)])
    assert market.capacity(HERE, Lifecycle.SPOT, START) == 3


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({"prise": 2}, r"script\[0\].prise is not known"),
        ({"price": "-1"}, r"script\[0\].price"),
        ({"price": "much"}, r"script\[0\].price"),
        ({"capacity": 1.5}, r"script\[0\].capacity"),
        ({"capacity": 0, "from": 9, "to": 9}, r"script\[0\].to is not after from"),
        ({"capacity": 0, "lifecycle": "both"}, r"script\[0\].lifecycle"),
        ({"interrupt": 1, "notice": "no"}, r"script\[0\].notice"),
        ({"from": 3}, r"script\[0\] does nothing"),
    ],
)
def test_a_wrong_script_names_its_entry_and_key(entry, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse([entry], START)


@pytest.mark.parametrize(
    ("name", "listed", "within"),
    [
        ("g4dn.metal", 7.824, 0.02),
        ("g5.xlarge", 1.006, 0.05),
        ("m7g.large", 0.0816, 0.20),
        ("m5.xlarge", 0.192, 0.20),
        ("c7i.4xlarge", 0.714, 0.15),
        ("t3.medium", 0.0416, 0.15),
        ("p5.48xlarge", 55.04, 0.05),
    ],
)
def test_the_modelled_price_is_near_the_public_one(name, listed, within):
    assert abs(float(catalogue.on_demand_price(name)) / listed - 1) < within


def test_the_catalogue_knows_the_facts_of_a_type():
    facts = catalogue.facts("g4dn.metal")
    assert (facts.vcpus, facts.memory_mib, facts.gpus, facts.gpu_kind) == (96, 393216, 8, "T4")
    assert (facts.bare_metal, facts.architectures, facts.quota_family) == (True, ("x86_64",), "G and VT")
    assert catalogue.facts("g4dn.huge") is None


def test_every_type_that_a_region_offers_has_a_price():
    assert all(catalogue.on_demand_price(name) > 0 for name in catalogue.offered("us-east-1"))
