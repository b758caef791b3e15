"""What a pool's decisions fold into."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.plan.decision import Decision
from lambdas.domain.reasons import Reason, ReasonClass
from lowtide.report.history import POINTS_MOST, History, thinned
from lowtide.report.money import BUCKETS, HOW, Meter, reckoned
from tests.domain.build import NOW, ON_DEMAND, after, ago, instance, pool, price, snapshot
from tests.domain.properties import steadily

HOUR = timedelta(hours=1)


def reason(reason_class: ReasonClass = ReasonClass.PRICE, code: str = "SpotMaxPriceTooLow", **changes: Any) -> Reason:
    given_: dict[str, Any] = {"message": "dear", "remedy": "raise it", "since": ago(999), "last_seen": NOW}
    return Reason(reason_class=reason_class, code=code, **{**given_, **changes})


def decision(seconds: float = 0, *, reasons: tuple[Reason, ...] = (), **changes: Any) -> Decision:
    """So many seconds after NOW, of an empty pool."""
    summary = {"desired": 0, "running": 0, "launching": 0, "unfulfilled": 0, **changes.pop("summary", {})}
    values: dict[str, Any] = {"snapshot": snapshot(), "actions": (), "notes": (), **changes}
    return Decision(pool="gpu", epoch=1, at=after(seconds), pool_version=1, summary=summary, reasons=reasons, **values)


def told(*decisions: Decision, spot: bool = True) -> History:
    history = History(NOW, spot)
    for each in decisions:
        history.add(each)
    return history


def with_instances(seconds: float, *there: Any, **changes: Any) -> Decision:
    prices = changes.pop("prices", (price("2.40"),))
    return decision(seconds, snapshot=snapshot(instances=there, prices=prices), **changes)


# --- numbers over time ------------------------------------------------------------------------------------------------


def test_what_held_before_the_period_is_its_first_point() -> None:
    history = told(decision(-600, summary={"desired": 3}), decision(60))
    assert [(point["at"], point["desired"]) for point in history.points] == [(NOW, 3), (after(60), 0)]
    assert history.decisions == 1


def test_running_instances_are_told_apart_by_how_they_are_bought() -> None:
    there = (instance("i-1"), instance("i-2", capacity_type=ON_DEMAND), instance("i-3"))
    (point,) = told(with_instances(0, *there, summary={"running": 3})).points
    assert (point["running_spot"], point["running_on_demand"]) == (2, 1)


def test_without_a_snapshot_all_is_what_the_pool_asks_for() -> None:
    for spot in (True, False):
        history = told(decision(0, snapshot=None, summary={"running": 4}), spot=spot)
        (point,) = history.points
        assert (point["running_spot"], point["running_on_demand"]) == ((4, 0) if spot else (0, 4))
        assert history.without_snapshot == 1


def test_the_price_is_that_of_the_cheapest_offering_measured_by_its_limit() -> None:
    prices = (price("2.90", "us-west-2a"), price("2.40", "us-west-2b"))
    (point,) = told(with_instances(0, prices=prices)).points
    assert (point["spot_price_usd"], point["price_limit_usd"]) == (Decimal("2.40"), Decimal(3))
    assert point["offering"] == "g4dn.metal in us-west-2b"


def test_an_on_demand_pool_and_an_unread_market_have_no_price() -> None:
    (point,) = told(with_instances(0, prices=())).points
    assert (point["spot_price_usd"], point["offering"]) == (None, None)


def test_long_timelines_keep_their_worst_and_their_last() -> None:
    points = [{"at": after(n), "unfulfilled": 0, "desired": 1} for n in range(5000)]
    points[1234]["unfulfilled"] = 7
    kept = thinned(points)
    assert len(kept) <= POINTS_MOST
    assert points[1234] in kept
    assert kept[-1] == points[-1]
    assert kept == sorted(kept, key=lambda each: each["at"])
    assert thinned(points[:POINTS_MOST]) == points[:POINTS_MOST]


# --- shortages --------------------------------------------------------------------------------------------------------


def test_a_reason_lasts_from_the_first_decision_that_has_it_to_the_first_that_has_not() -> None:
    two, five = {"unfulfilled": 2}, {"unfulfilled": 5}
    history = told(
        decision(60, reasons=(reason(message="first"),), summary=two),
        decision(120, reasons=(reason(message="last"),), summary=five),
        decision(300),
    )
    (shortage,) = history.in_order()
    assert (shortage.since, shortage.until, shortage.most_missing) == (after(60), after(300), 5)
    assert shortage.reason.message == "last"


def test_a_reason_that_comes_again_is_another_shortage() -> None:
    again = told(decision(0, reasons=(reason(),)), decision(60), decision(120, reasons=(reason(),)))
    assert [(each.since, each.until) for each in again.in_order()] == [(NOW, after(60)), (after(120), None)]


def test_instances_on_their_way_are_no_shortage() -> None:
    assert not told(decision(0, reasons=(reason(ReasonClass.STARTING, "InstancesLaunching"),))).shortages


def test_a_shortage_from_before_the_period_begins_with_it() -> None:
    (shortage,) = told(decision(-600, reasons=(reason(),))).shortages
    assert shortage.since == NOW


def test_of_shortages_that_begin_together_the_most_actionable_is_first() -> None:
    both = (reason(ReasonClass.CAPACITY, "InsufficientInstanceCapacity"), reason(ReasonClass.QUOTA, "Vcpu"))
    classes = [each.reason.reason_class for each in told(decision(0, reasons=both)).in_order()]
    assert classes == [ReasonClass.QUOTA, ReasonClass.CAPACITY]


# --- instances --------------------------------------------------------------------------------------------------------


def test_an_instance_whose_end_ec2_announced_was_taken_with_notice() -> None:
    warned = instance(state=InstanceState.DRAINING, draining_since=after(30), ends_at=after(150))
    seen = told(with_instances(0, instance()), with_instances(60, warned), decision(180)).instances["i-1"]
    assert (seen.taken_at, seen.noticed, seen.ended_at) == (after(30), True, after(180))


def test_an_instance_that_ended_unasked_was_taken_without_notice() -> None:
    gone = instance(observed_state="terminated", observed_at=after(50))
    seen = told(with_instances(0, instance()), with_instances(60, gone)).instances["i-1"]
    assert (seen.taken_at, seen.noticed, seen.ended_at) == (after(50), False, after(50))


def test_an_unannounced_end_is_told_apart_by_ec2s_reason() -> None:
    lost = {
        **{"state": InstanceState.DRAINING, "drain_reason": "EC2 reports it terminated", "draining_since": after(50)},
        **{"observed_state": "terminated", "observed_at": after(50)},
    }
    for reason, taken_at in ((None, after(50)), ("Client.InstanceInitiatedShutdown", None)):
        seen = told(with_instances(60, instance(state_reason=reason, **lost))).instances["i-1"]
        assert seen.taken_at == taken_at


def test_what_lowtide_ended_was_not_taken() -> None:
    for ours in (
        instance(observed_state="terminated", termination_requested_at=after(40)),
        instance(state=InstanceState.DRAINING, observed_state="shutting-down", draining_since=after(20)),
        instance(observed_state="terminated", capacity_type=ON_DEMAND),
    ):
        assert told(with_instances(60, ours)).instances["i-1"].taken_at is None


def test_an_instance_that_is_no_longer_listed_has_ended() -> None:
    history = told(with_instances(0, instance()), decision(60))
    assert history.instances["i-1"].ended_at == after(60)


# --- money ------------------------------------------------------------------------------------------------------------


def test_an_instance_costs_its_hours_at_the_price_that_was_known() -> None:
    history = told(with_instances(0, instance()), with_instances(1800, instance()), decision(3600))
    bill = reckoned([history.meter], NOW, after(3600))
    assert bill
    assert bill.by_instance == {"i-1": Decimal("1.2")}, "the last half hour was never priced"
    assert bill.points[-1]["spent_usd"] == Decimal("1.2")
    assert round(bill.points[-1]["on_demand_usd"], 9) == Decimal("7.824") / 2
    assert bill.how == HOW


def test_an_on_demand_instance_costs_its_list_price_on_both_sides() -> None:
    bought = instance(capacity_type=ON_DEMAND)
    bill = reckoned([told(with_instances(3600, bought)).meter], NOW, after(3600))
    assert bill
    assert bill.points[-1]["spent_usd"] == bill.points[-1]["on_demand_usd"] == Decimal("7.824")


def test_what_was_launched_in_the_period_costs_from_then_and_what_was_there_from_its_begin() -> None:
    old, new = instance("i-1", launched_at=ago(9999)), instance("i-2", launched_at=after(1800))
    bill = reckoned([told(with_instances(3600, old, new)).meter], NOW, after(3600))
    assert bill
    assert bill.by_instance == {"i-1": Decimal("2.40"), "i-2": Decimal("1.20")}


def test_nothing_priced_is_no_bill() -> None:
    assert reckoned([told(with_instances(3600, instance(), prices=())).meter], NOW, after(3600)) is None


@steadily()
@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 7200)), min_size=1, max_size=20))
def test_the_points_rise_and_end_at_the_sum(spans: list[tuple[int, int]]) -> None:
    meter = Meter(NOW)
    for number, (begin, end) in enumerate(spans):
        one = instance(f"i-{number}", launched_at=after(min(begin, end)))
        meter.count(one, after(max(begin, end)), pool(), {("g4dn.metal", one.zone): Decimal("2.40")})
    bill = reckoned([meter], NOW, NOW + 2 * HOUR)
    if bill is None:
        assert all(begin == end for begin, end in spans)
        return
    sums = [point["spent_usd"] for point in bill.points]
    assert len(sums) == BUCKETS + 1
    assert sums == sorted(sums)
    assert sums[0] == 0
    hours = Decimal(sum(abs(end - begin) for begin, end in spans)) / 3600
    assert abs(sums[-1] - hours * Decimal("2.40")) < Decimal("0.000001")
