"""The market over time: interruptions, unkindness, scripts, determinism."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.fleet import Refused
from lowtide.market.instances import RebalanceAdvised, State, StateChanged, Warned
from lowtide.market.model import ALL, Offering, Recorded, Seeded, Trace
from lowtide.market.script import parse
from lowtide.market.unkindness import Unkindness
from tests.market.worlds import START, TYPE, A, B, Steady, launched, market, offer, on_demand, seconds, spot

CALM = replace(Unkindness.none(), shutting_down=seconds(20))


def warnings(news) -> list[Warned]:
    return [n for n in news if isinstance(n, Warned) and n.ours]


def test_a_price_above_the_limit_warns_and_ends_the_instance_two_minutes_later():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START))
    world.set_price(TYPE, A, Decimal("0.06"), START + seconds(10))
    [warning] = warnings(world.advance(START + seconds(10)))
    assert (warning.at, warning.ends_at) == (START + seconds(10), START + seconds(130))
    assert instance.state is State.RUNNING
    world.advance(START + seconds(130))
    assert instance.state is State.SHUTTING_DOWN
    assert instance.state_reason[0] == "Server.SpotInstanceTermination"


def test_a_price_at_the_limit_leaves_the_instance_alone():
    world = market(unkindness=CALM)
    launched(world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START))
    world.set_price(TYPE, A, Decimal("0.05"), START)
    assert warnings(world.advance(START + timedelta(hours=9))) == []


def test_a_price_that_falls_again_does_not_save_a_warned_instance():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START))
    world.script(parse([{"price": 2, "from": 10, "to": 20}], START), START)
    world.advance(START + seconds(130))
    assert not instance.alive


def test_a_zone_that_runs_dry_takes_back_the_lowest_limits_first():
    world = market(unkindness=CALM)
    [low] = launched(world.create_fleet(spot(offer(max_price=Decimal("0.04"))), START))
    [high] = launched(world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START))
    world.set_capacity(ALL, A, 1, START)
    assert [w.instance_id for w in warnings(world.advance(START))] == [low.instance_id]
    assert high.interruption is None


def test_on_demand_instances_are_never_taken_back():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(on_demand(), START))
    world.set_price(TYPE, A, Decimal(99), START)
    world.set_capacity(TYPE, A, 0, START, lifecycle=None)
    world.advance(START + timedelta(days=1))
    assert instance.state is State.RUNNING


def test_a_script_strikes_only_instances_that_run_a_job_and_waits_for_them():
    working: set[str] = set()
    world = market(unkindness=CALM, busy=lambda i: i in working)
    first, second = launched(world.create_fleet(spot(target=2), START))
    world.script(parse([{"interrupt": 1, "from": 10}], START), START)
    assert warnings(world.advance(START + seconds(30))) == []
    working.add(second.instance_id)
    assert [w.instance_id for w in warnings(world.advance(START + seconds(40)))] == [second.instance_id]
    assert first.interruption is None


def test_an_outage_of_the_model_warns_when_it_begins_however_late_anybody_looks():
    trace = Trace.from_document({"gap_seconds": 60, "spot_price": 1, "on_demand_price": 4, "avail": "1110"})
    recorded = Recorded(traces={Offering(TYPE, A): trace}, otherwise=Steady(), epoch=START)
    world = market(conditions=recorded, unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(), START))
    [warning] = warnings(world.advance(START + timedelta(hours=1)))
    assert warning.at == START + seconds(180)
    assert instance.ended_at == START + seconds(300)


def test_an_interruption_without_notice_says_nothing_and_ends_at_once():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(), START))
    world.interrupt(instance.instance_id, START + seconds(5), notice=False)
    assert warnings(world.advance(START + seconds(5))) == []
    assert instance.state is State.SHUTTING_DOWN


def test_an_interruption_asked_for_leaves_the_lead_asked_for():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(), START))
    world.interrupt(instance.instance_id, START, lead=seconds(7))
    [warning] = warnings(world.advance(START))
    assert warning.ends_at == START + seconds(7)


@pytest.mark.parametrize("make", [on_demand, None])
def test_what_is_no_spot_instance_cannot_be_interrupted(make):
    world = market()
    known = launched(world.create_fleet(make(), START))[0].instance_id if make else "i-0"
    with pytest.raises(Refused):
        world.interrupt(known, START)


def test_by_default_interruptions_come_warned_unwarned_late_and_twice():
    world = market(unkindness=replace(Unkindness(), other_quota=10**6, spot_quotas={}, strangers=timedelta.max))
    [*ours] = [i for _ in range(30) for i in launched(world.create_fleet(spot(target=10), START))][:100]
    world.advance(START + seconds(60))
    world.set_capacity(ALL, ALL, 0, START + seconds(60))
    news = world.advance(START + timedelta(hours=1))
    heard = Counter(w.instance_id for w in warnings(news))
    leads = {w.instance_id: w.ends_at - w.at for w in reversed(warnings(news))}
    assert 0 < sum(i.instance_id not in heard for i in ours) < 20
    assert 0 < sum(lead < seconds(100) for lead in leads.values()) < 30
    assert 0 < sum(count == 2 for count in heard.values()) < 40
    assert any(isinstance(n, RebalanceAdvised) for n in news)
    assert not any(i.alive for i in ours)


def test_by_default_strangers_are_warned_too():
    news = market(unkindness=Unkindness()).advance(START + timedelta(hours=5))
    assert [n for n in news if isinstance(n, Warned) and not n.ours]


def test_a_new_instance_is_unknown_to_describe_and_terminate_for_a_while():
    world = market(unkindness=replace(CALM, describe_lag=seconds(40)))
    [instance] = launched(world.create_fleet(spot(), START))
    assert world.listed(START + seconds(1)) == []
    with pytest.raises(Refused, match=f"The instance ID '{instance.instance_id}' does not exist") as refused:
        world.terminate([instance.instance_id], START + seconds(1))
    assert refused.value.code == "InvalidInstanceID.NotFound"
    assert world.listed(START + seconds(40)) == [instance]


def test_one_unknown_id_keeps_terminate_from_touching_the_others():
    world = market()
    [instance] = launched(world.create_fleet(spot(), START))
    with pytest.raises(Refused):
        world.terminate([instance.instance_id, "i-0123456789abcdef0"], START)
    assert instance.alive


def test_a_terminated_instance_stays_listed_for_an_hour():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(), START))
    world.terminate([instance.instance_id], START)
    assert [i.state for i in world.listed(START + seconds(19))] == [State.SHUTTING_DOWN]
    assert [i.state for i in world.listed(START + timedelta(minutes=59))] == [State.TERMINATED]
    assert world.listed(START + timedelta(minutes=61)) == []


def test_every_state_is_told_once_in_order():
    world = market(unkindness=replace(CALM, pending=seconds(12)))
    [instance] = launched(world.create_fleet(spot(), START))
    world.shut_down(instance.instance_id, START + seconds(50))
    world.shut_down(instance.instance_id, START + seconds(51))
    states = [n.state for n in world.advance(START + seconds(99)) if isinstance(n, StateChanged)]
    assert states == ["pending", "running", "shutting-down", "terminated"]
    assert instance.state_reason[0] == "Client.InstanceInitiatedShutdown"


def test_booting_takes_minutes_longer_on_metal_and_sometimes_fails():
    world = market(unkindness=replace(Unkindness(), other_quota=10**6, spot_quotas={}))
    small = launched(world.create_fleet(spot(target=100), START))
    metal = launched(world.create_fleet(spot(offer(A, "g4dn.metal"), target=100), START))
    assert timedelta(minutes=1) < median(i.boot_delay for i in small) < timedelta(minutes=2)
    assert timedelta(minutes=4) < median(i.boot_delay for i in metal) < timedelta(minutes=7)
    assert 0 < sum(i.boot_fails for i in small + metal) < 20


def median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def test_price_history_lags():
    world = market(unkindness=replace(CALM, history_lag=timedelta(minutes=5)))
    world.set_price(TYPE, A, Decimal("0.09"), START + seconds(60))
    offering = Offering(TYPE, A)

    def known(at):
        return [p.price for p in world.spot_prices(offering, START, at, at)]

    assert Decimal("0.09") not in known(START + seconds(60 + 299))
    assert known(START + seconds(60 + 301))[-1] == Decimal("0.09")


def test_the_pace_divides_every_period_and_no_share():
    usual, fast = Unkindness(), Unkindness().paced(60)
    assert fast.warning_lead == seconds(2)
    assert (fast.unwarned, fast.bucket, fast.bucket_refill_per_second) == (usual.unwarned, 5.0, 2.0)


def test_the_market_keeps_a_log_of_launches_refusals_and_interruptions():
    world = market(unkindness=CALM)
    [instance] = launched(world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START))
    world.set_price(TYPE, A, Decimal("0.06"), START)
    world.create_fleet(spot(offer(max_price=Decimal("0.05"))), START)
    lines = [(h.what, h.instance_id, h.code) for h in world.history]
    assert ("launched", instance.instance_id, "") in lines
    assert ("interrupted", instance.instance_id, "price") in lines
    assert ("refused", "", "SpotMaxPriceTooLow") in lines


def played(seed: int, instants: list[float]) -> list:
    conditions = Seeded(seed=seed, epoch=START, pace=600)
    world = market(conditions=conditions, unkindness=Unkindness().paced(600), seed=seed)
    news = []
    for at in sorted({*instants, 0.0, 60.0, 600.0}):
        if at in (0.0, 60.0):
            world.create_fleet(spot(offer(A), offer(B), target=3), START + seconds(at))
        news += world.advance(START + seconds(at))
    return news


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), instants=st.lists(st.floats(0, 600), max_size=30))
def test_how_often_the_clock_is_looked_at_changes_nothing(seed, instants):
    assert played(seed, instants) == played(seed, [])


def test_a_restless_clock_changes_nothing_either():
    assert played(11, [n / 2 for n in range(1200)]) == played(11, [])


def test_another_seed_is_another_market():
    assert played(1, []) != played(2, [])
