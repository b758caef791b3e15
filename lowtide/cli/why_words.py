"""What `lowtide why` says: the one sentence first, then reasons in order with their numbers and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from lambdas.domain.decision import Decision
from lambdas.domain.reasons import Reason
from lambdas.domain.words import dollars, several
from lowtide.cli.output import ago, span
from lowtide.cli.pool_numbers import Seen
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


def reason_lines(reasons: Sequence[Reason], now: datetime) -> Iterator[str]:
    for number, reason in enumerate(reasons, 1):
        yield ""
        yield f"{number}. {reason.reason_class.value}, {reason.code}{_about(reason)}"
        yield f"   {reason.message}"
        yield f"   {_seen(reason, now)}"
        yield f"   To do: {reason.remedy}"


def _about(reason: Reason) -> str:
    of = [part for part in (reason.capacity_type, reason.instance_type, reason.availability_zone) if part]
    return f" ({', '.join(of)})" if of else ""


def _seen(reason: Reason, now: datetime) -> str:
    told = f"for {ago(reason.since, now)}, seen {several(reason.count, 'time')}, last {ago(reason.last_seen, now)} ago"
    if reason.next_attempt is None:
        return told
    if reason.next_attempt <= now:
        return f"{told}; tried again with the next pass"
    return f"{told}; next try at {reason.next_attempt:%H:%M:%S} UTC, in {span(reason.next_attempt - now)}"


def offering_lines(each: Seen) -> Iterator[str]:
    """Limit against market, the nearest first."""
    priced = [row for row in each.market if row["spot_price"] is not None]
    if not each.pool.spot or not priced:
        return
    yield ""
    yield "Market against limit, the cheapest first:"
    told = sorted(priced, key=lambda row: row["spot_price"])
    for row in told[:_OFFERINGS_TOLD]:
        yield f"   {_offering(each, row)}"
    if len(told) > _OFFERINGS_TOLD:
        yield f"   and {len(told) - _OFFERINGS_TOLD} more: lowtide status --json"


def _offering(each: Seen, row: Mapping[str, Any]) -> str:
    facts = each.pool.facts(row["instance_type"])
    limit = each.pool.price_limit(facts) if facts else None
    price: Decimal = row["spot_price"]
    verdict = "" if limit is None else f", limit {dollars(limit)}: " + ("above it" if price > limit else "within it")
    on_demand = row["on_demand_price"]
    plain = "" if on_demand is None else f" (on-demand {dollars(on_demand)})"
    return f"{row['instance_type']} in {row['availability_zone']} {dollars(price)}{verdict}{plain}"


def decision_lines(decision: Decision, now: datetime) -> Iterator[str]:
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
    yield from reason_lines(decision.reasons, decision.at)
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
