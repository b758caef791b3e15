"""What a pass leaves behind: the numbers after its answers, the reasons, the next look. Values; nothing is written."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from lambdas.adapters.items import reason_document, verdicts_document
from lambdas.adapters.pool_table import Begun, Conclusion
from lambdas.control.outcomes import Outcome, Result, soonest
from lambdas.domain.buying.spending import cost_of, on_demand_cost_of, price_of_limit
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.fleet.fleet_view import view
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import to_text
from lambdas.domain.plan.plan import Numbers, Plan
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import Reason, ReasonClass, merge_reasons
from lambdas.domain.refusals.shortages import alarm_at, alarmed, remembered

_NOT_ABOUT_LAUNCHES = {ReasonClass.LIMIT, ReasonClass.STARTING, ReasonClass.NEVER_FITS, ReasonClass.PAUSED}
"""Reasons that still hold when everything asked for came."""

INCOMPLETE = "LaunchIncomplete"
BLOCKING = {ReasonClass.PERMISSION, ReasonClass.CONFIGURATION, ReasonClass.QUOTA}
DEADLINES_TOLD = 50
"""Jobs of whose deadline STATE says what was thought: some 12 KB."""
SETTLES = 3
"""Passes (periods of `look_again`) for which another first reason has to last before it is told as a change."""


def concluded(
    begun: Begun,
    snapshot: Snapshot,
    plan: Plan,
    outcomes: Sequence[Outcome],
    now: datetime,
    refused: Sequence[Reason] = (),
) -> Conclusion:
    """`refused`: what could not even be read for the plan (gather.Gathered)."""
    numbers = numbers_after(plan.numbers, outcomes)
    since = (snapshot.unfulfilled_since or now) if numbers.unfulfilled else None
    reasons = _reasons(snapshot, plan, outcomes, numbers, now, refused)
    at = alarm_at(since, snapshot.pool.unfulfilled_alarm_after, reasons)
    return Conclusion(
        summary={**_summary(snapshot, numbers, reasons, since, at, now), **_deadlines(plan)},
        reasons=reasons,
        unfulfilled_since=since,
        due=_due(snapshot, plan, outcomes, now),
        launch_times=plan.launch_times,
        availability=plan.availability,
        alarmed=alarmed(
            begun.alarmed,
            since=since,
            at=at,
            first=next(iter(reasons), None),
            now=now,
            settles=snapshot.settings.look_again * SETTLES,
        ),
        past_shortages=remembered(
            begun.past_shortages,
            since=snapshot.unfulfilled_since,
            first=next(iter(snapshot.reasons), None),
            now=now,
            over=not numbers.unfulfilled and any(outcome.launched for outcome in outcomes),
        ),
    )


def numbers_after(numbers: Numbers, outcomes: Sequence[Outcome]) -> Numbers:
    """The plan's numbers with what its launches brought. What a repeated call brings was in flight before."""
    came = sum(len(o.launched) + o.in_flight for o in outcomes if o.action == "launch")
    launching = numbers.launching + came
    return replace(numbers, launching=launching, unfulfilled=max(0, numbers.desired - numbers.running - launching))


def _reasons(
    snapshot: Snapshot,
    plan: Plan,
    outcomes: Sequence[Outcome],
    numbers: Numbers,
    now: datetime,
    refused: Sequence[Reason],
) -> tuple[Reason, ...]:
    """The plan's and the answers'. When everything wanted came in the end, refusals on the way are no reasons; when
    nothing came, nothing is starting."""
    missing = numbers.unfulfilled > 0
    over = set() if numbers.launching else {ReasonClass.STARTING}
    planned = [r for r in plan.reasons if missing or r.reason_class in _NOT_ABOUT_LAUNCHES]
    planned = [r for r in planned if r.reason_class not in over]
    answered = [r for o in outcomes if missing or o.action in ("retire", "terminate") for r in o.reasons]
    if missing and not planned and not answered:
        answered = [_incomplete(outcomes, now)]
    return merge_reasons(snapshot.reasons, [*planned, *answered, *(refused if missing else ())], now)


def _incomplete(outcomes: Sequence[Outcome], now: datetime) -> Reason:
    """Nothing unfulfilled is ever without a reason: for launches that failed or were put off on our side."""
    why = [f"{o.result}: {o.detail}" for o in outcomes if o.result is not Result.DONE and o.detail]
    return Reason(
        reason_class=ReasonClass.TRANSIENT,
        code=INCOMPLETE,
        message="Fewer instances were launched than wanted, " + ("; ".join(why) or "and EC2 gave no reason") + ".",
        remedy="Nothing to do: Lowtide asks again by itself within a minute.",
        since=now,
        last_seen=now,
    )


def _due(snapshot: Snapshot, plan: Plan, outcomes: Sequence[Outcome], now: datetime) -> datetime | None:
    """Never in the past: what is overdue is due now."""
    unfinished = any(o.result in (Result.FAILED, Result.POSTPONED) for o in outcomes)
    soon = now + snapshot.settings.look_again / 4 if unfinished else None
    due = soonest([plan.due, soon, *(o.due for o in outcomes)])
    return None if due is None else max(due, now)


def _summary(
    snapshot: Snapshot,
    numbers: Numbers,
    reasons: Sequence[Reason],
    since: datetime | None,
    at: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    """What the tick, `status` and the metrics show of the pool without reading anything else. `at`: of its alarm."""
    headline = reasons[0] if reasons else None
    present = view(snapshot, now).present
    spending = {kind: _hourly_cost(present, kind, snapshot) for kind in CapacityType}
    price = price_of_limit(snapshot)
    told: dict[str, Any] = {
        **{f.name: getattr(numbers, f.name) for f in fields(numbers)},
        "oldest_queued_at": numbers.oldest_queued_at and to_text(numbers.oldest_queued_at),
        "queue_complete": snapshot.queue_complete,
        "unfulfilled_since": since and to_text(since),
        "unfulfilled_alarm_at": at and to_text(at),
        "reason": headline and _told(headline),
        "blocked": any(reason.reason_class in BLOCKING for reason in reasons),
        "hourly_cost_usd": str(sum(spending.values(), Decimal(0))),
        "on_demand_hourly_cost_usd": str(spending[CapacityType.ON_DEMAND]),
        "on_demand_equivalent_hourly_usd": str(on_demand_cost_of(present, snapshot)),
        "price_of_limit": price and str(round(price, 3)),
    }
    return {name: value for name, value in told.items() if value is not None}


def _deadlines(plan: Plan) -> dict[str, Any]:
    """What was thought of the most urgent jobs, by id, for `jobs show` and `why`; nothing where none has a deadline."""
    told = verdicts_document(plan.verdicts[:DEADLINES_TOLD])
    return {"deadlines": told} if told else {}


def _told(reason: Reason) -> dict[str, Any]:
    return {name: value for name, value in reason_document(reason).items() if value is not None}


def _hourly_cost(present: Sequence[Instance], kind: CapacityType, snapshot: Snapshot) -> Decimal:
    """As `max_hourly_cost` counts what is there (spending.py): volumes and addresses too."""
    return cost_of((each for each in present if each.capacity_type is kind), snapshot)
