"""What `lowtide why` says: the one sentence first, then reasons in order with their numbers and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.fleet import OfferingMark
from lambdas.domain.plan.decision import Decision
from lambdas.domain.pools.pools import Pool
from lambdas.domain.pools.schedules import in_force
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.refusals import ANY
from lambdas.domain.refusals.shortages import Wait, wait
from lambdas.domain.words import dollars, several
from lowtide.cli.output import ago, clock_time, span
from lowtide.cli.pool_numbers import Seen, missing_for
from lowtide.cli.remedies import Remedy, for_stack, remedy
from lowtide.cli.status import headline

_OFFERINGS_TOLD = 12


def sentence(each: Seen, now: datetime) -> str:
    """Why the pool has not what it wants; or that it has."""
    name, counts = each.pool.name, each.counts
    if told := headline(each, now):
        return f"{name}: {told}"
    if not each.looked_at:
        return f"{name}: not looked at yet: the next tick does within a minute"
    have = several(counts["running"], "instance")
    return f"{name}: nothing is missing: {have} with {several(counts['running_jobs'], 'job')}, " + (
        f"{several(counts['queued_jobs'], 'job')} queued" if counts["queued_jobs"] else "none queued"
    )


def estimate(each: Seen, now: datetime) -> Wait | None:
    """How much longer the pool's shortage may take; None: nothing is missing, or earlier ones are no ground."""
    if not each.reasons or each.unfulfilled_since is None:
        return None
    return wait(each.past_shortages, each.reasons[0], missing_for(each, now))


def estimate_lines(found: Wait | None) -> Iterator[str]:
    if found is None:
        return
    spread = "" if found.early == found.late else f", half of them between {span(found.early)} and {span(found.late)}"
    yield (
        f"Likely over in {span(found.likely)}{spread}: judged by {several(found.ground, 'earlier shortage')} of this "
        f"kind here that lasted at least as long; {found.sure}"
    )


def reason_lines(
    reasons: Sequence[Reason], now: datetime, stack: str, each: Seen | None = None, pools: Sequence[Pool] = ()
) -> Iterator[str]:
    """`each`: the pool as it is now, for what is to be typed; None: of the past, or of no pool. `pools`: every one,
    where they share what is missing."""
    for number, reason in enumerate(reasons, 1):
        yield ""
        yield f"{number}. {reason.reason_class.value}, {reason.code}{_about(reason)}"
        yield f"   {reason.message}"
        yield f"   {_seen(reason, now)}"
        yield f"   To do: {for_stack(reason.remedy, stack)}"
        if each is not None:
            yield from _typed(remedy(reason, each, now, pools), stack)


def job_reason_lines(reason: Reason, todo: Remedy, now: datetime, stack: str) -> Iterator[str]:
    """Of a job that has failed."""
    yield from reason_lines([reason], now, stack)
    yield from _typed(todo, stack)


def _typed(found: Remedy, stack: str) -> Iterator[str]:
    if found.edit:
        yield f"   In the pool file: {found.edit}"
    if found.command:
        yield f"   $ {for_stack(found.command, stack)}"


def tried_lines(marks: Sequence[OfferingMark], now: datetime) -> Iterator[str]:
    """What was asked for and refused, the latest first, and when it is asked for again."""
    if not marks:
        return
    yield ""
    yield "Tried, the latest first:"
    for mark in marks[:_OFFERINGS_TOLD]:
        again = f"not before {clock_time(mark.until, now)}" if mark.until > now else "free to be tried again"
        row = "" if mark.strikes == 1 else f", {mark.strikes} times in a row"
        yield f"   {_place(mark)}: {mark.code} {ago(mark.marked_at, now)} ago{row}; {again}"
    if len(marks) > _OFFERINGS_TOLD:
        yield f"   and {len(marks) - _OFFERINGS_TOLD} more: lowtide why POOL --json"


def _place(mark: OfferingMark) -> str:
    kind = "every type" if mark.instance_type == ANY else mark.instance_type
    return f"{mark.capacity_type} {kind} in {'every zone' if mark.zone == ANY else mark.zone}"


def _about(reason: Reason) -> str:
    of = [part for part in (reason.capacity_type, reason.instance_type, reason.availability_zone) if part]
    return f" ({', '.join(of)})" if of else ""


def _seen(reason: Reason, now: datetime) -> str:
    told = f"for {ago(reason.since, now)}, seen {several(reason.count, 'time')}, last {ago(reason.last_seen, now)} ago"
    if reason.next_attempt is None:
        return told
    if reason.next_attempt <= now:
        return f"{told}; tried again with the next pass"
    return f"{told}; next try at {clock_time(reason.next_attempt, now)}, in {span(reason.next_attempt - now)}"


def offering_lines(each: Seen, now: datetime) -> Iterator[str]:
    """Limit against market, the nearest first."""
    priced = [row for row in each.market if row["spot_price"] is not None]
    if not each.pool.spot or not priced:
        return
    yield ""
    yield "Market against limit, the cheapest first:"
    told = sorted(priced, key=lambda row: row["spot_price"])
    for row in told[:_OFFERINGS_TOLD]:
        yield f"   {_offering(each, row, now)}"
    if len(told) > _OFFERINGS_TOLD:
        yield f"   and {len(told) - _OFFERINGS_TOLD} more: lowtide status --json"


def limit_of(each: Seen, instance_type: str, now: datetime) -> Decimal | None:
    """USD per hour, as it holds now, by the pool's schedules too; None: none is known, or the pool is on-demand."""
    pool = in_force(each.pool, now)
    facts = pool.facts(instance_type)
    return pool.price_limit(facts) if facts and pool.spot else None


def _offering(each: Seen, row: Mapping[str, Any], now: datetime) -> str:
    limit = limit_of(each, row["instance_type"], now)
    price: Decimal = row["spot_price"]
    verdict = "" if limit is None else f", limit {dollars(limit)}: " + ("above it" if price > limit else "within it")
    on_demand = row["on_demand_price"]
    plain = "" if on_demand is None else f" (on-demand {dollars(on_demand)})"
    return f"{row['instance_type']} in {row['availability_zone']} {dollars(price)}{verdict}{plain}"


def decision_lines(decision: Decision, now: datetime, stack: str) -> Iterator[str]:
    """A kept decision as it was."""
    summary = decision.summary
    numbers = ", ".join(
        f"{summary.get(name, 0)} {name.replace('_', ' ')}"
        for name in (
            "desired",
            "running",
            "launching",
            "draining",
            "idle",
            "unfulfilled",
            "queued_jobs",
            "running_jobs",
        )
    )
    yield (
        f"{decision.pool}: decided at {decision.at:%Y-%m-%d %H:%M:%S} UTC ({ago(decision.at, now)} ago), "
        f"version {decision.pool_version}, pass {decision.epoch}"
    )
    yield numbers
    for action in decision.actions:
        yield ""
        yield _action(action)
    if not decision.actions:
        yield "Nothing was done."
    yield from reason_lines(decision.reasons, decision.at, stack)
    for note in decision.notes:
        yield f"note: {note}"


def _action(action: Mapping[str, Any]) -> str:
    about = "; ".join(
        filter(None, [action.get("detail"), ", ".join(action.get("codes", ())), ", ".join(action.get("launched", ()))])
    )
    tag = f" [{action['decision']}]" if action.get("decision") else ""
    return f"{action['action']} {action.get('why', '')}: {action.get('result', '')}" + (
        f" ({about}){tag}" if about else tag
    )
