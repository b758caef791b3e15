"""What follows from EC2's refusals: which offerings to leave alone for how long, and the reasons that people read.

A refusal is one entry of CreateFleet's `Errors[]`, or the error of the whole call:

    {"LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": "g4dn.metal", "AvailabilityZone": "us-west-2b"}},
     "Lifecycle": "spot", "ErrorCode": "SpotMaxPriceTooLow", "ErrorMessage": "Your Spot request price of 0.35 is lower
     than the minimum required Spot request fulfillment price of 0.41."}

The table itself is refusal_table.py. No clock and no chance here: whoever sleeps adds the jitter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas.domain.fleet.fleet import LaunchRequest, OfferingMark
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass, identity, in_order, rank
from lambdas.domain.refusals.refusal_table import RULES, UNKNOWN, Rule, Scope
from lambdas.domain.refusals.refusal_words import explain, prices_in
from lambdas.domain.settings import Settings

ANY = "*"
"""In a mark: every instance type, every zone."""

_LONGEST_MESSAGE = 1500
"""Characters of EC2's message that a mark keeps; an encoded authorization message may have thousands."""
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One of EC2's errors. `instance_type` and `zone` are None where it concerns the whole request."""

    code: str
    message: str
    capacity_type: CapacityType
    instance_type: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    marks: tuple[OfferingMark, ...]
    """To be stored over those of the same capacity type, instance type and zone."""
    reasons: tuple[Reason, ...]
    """Most actionable first, one per class, code and capacity type; to be merged with the plan's."""
    unknown_codes: tuple[str, ...]
    """Codes that fell on the default row, each once, for the alarm metric."""


def rule_for(code: str, message: str = "") -> Rule:
    """The code's rule, the message telling apart causes that share a code; `UNKNOWN` for a code nobody has met."""
    lowered = message.lower()
    return next((rule for rule in RULES.get(code, ()) if rule.contains in lowered), UNKNOWN)


def consequences(
    refusals: Sequence[Refusal],
    *,
    request: LaunchRequest,
    marks: Iterable[OfferingMark],
    now: datetime,
    settings: Settings,
    reasons: Iterable[Reason] = (),
) -> Consequences:
    """What follows from the refusals in one answer.

    `marks` and `reasons` are those stored before, from which strikes and counts go on. Two refusals that mark the same
    thing make one mark: the more actionable code's, with the longer rest. No order of the refusals changes the result.
    """
    before = {_place(mark): mark for mark in marks}
    made: dict[tuple[CapacityType, str, str], OfferingMark] = {}
    for refusal in sorted(refusals, key=_order):
        for mark in _marks_of(refusal, request, before, now, settings):
            known = made.get(_place(mark))
            made[_place(mark)] = mark if known is None else _graver(known, mark)
    new = _reasons_of(refusals, tuple(made.values()), request, tuple(reasons), now, settings)
    unknown = {refusal.code for refusal in refusals if rule_for(refusal.code, refusal.message).unknown}
    return Consequences(marks=tuple(made.values()), reasons=in_order(new), unknown_codes=tuple(sorted(unknown)))


def _order(refusal: Refusal) -> tuple[str, str, str, str, str]:
    return refusal.capacity_type, refusal.code, refusal.instance_type or "", refusal.zone or "", refusal.message


def _place(mark: OfferingMark) -> tuple[CapacityType, str, str]:
    return mark.capacity_type, mark.instance_type, mark.zone


def _graver(one: OfferingMark, other: OfferingMark) -> OfferingMark:
    grave = min(one, other, key=lambda mark: rank(rule_for(mark.code, mark.message).reason_class))
    return replace(grave, until=max(one.until, other.until))


def cooldown(rule: Rule, strikes: int, settings: Settings) -> timedelta:
    """first x 2^(strikes - 1), at most the rule's most. Without capacity it does not grow."""
    if rule.cooldown is None or rule.most is None:
        return settings.capacity_cooldown
    first, most = rule.cooldown * settings.cooldown_scale, rule.most * settings.cooldown_scale
    return min(first * 2 ** min(strikes - 1, _MOST_DOUBLINGS), most)


def _marks_of(
    refusal: Refusal,
    request: LaunchRequest,
    before: dict[tuple[CapacityType, str, str], OfferingMark],
    now: datetime,
    settings: Settings,
) -> list[OfferingMark]:
    rule = rule_for(refusal.code, refusal.message)
    found = prices_in(refusal.message)
    marks: list[OfferingMark] = []
    for instance_type, zone in _places(refusal, rule.scope, request):
        known = before.get((refusal.capacity_type, instance_type, zone))
        strikes = known.strikes + 1 if known and known.code == refusal.code and _in_a_row(known, now, settings) else 1
        marks.append(
            OfferingMark(
                capacity_type=refusal.capacity_type,
                instance_type=instance_type,
                zone=zone,
                until=now + cooldown(rule, strikes, settings),
                code=refusal.code,
                message=refusal.message[:_LONGEST_MESSAGE],
                marked_at=now,
                strikes=strikes,
                last_price=found and found.market,
            )
        )
    return marks


def _in_a_row(known: OfferingMark, now: datetime, settings: Settings) -> bool:
    """An offering asked for again after its rest continues its strikes; one left alone for as long again as that rest,
    and for three looks at least, begins anew. A second refusal at the same instant is the same answer read twice, not
    another strike."""
    rest = known.until - known.marked_at
    return known.marked_at < now <= known.until + max(rest, 3 * settings.look_again)


def _places(refusal: Refusal, scope: Scope, request: LaunchRequest) -> set[tuple[str, str]]:
    """(instance type, zone) of each mark; where EC2 names none, every offering of the request is meant."""
    offered = {(override.instance_type, override.zone) for override in request.overrides}
    meant = {
        (instance_type, zone)
        for instance_type, zone in offered | {(refusal.instance_type or "", refusal.zone or "")}
        if (refusal.instance_type or instance_type) == instance_type and (refusal.zone or zone) == zone
    }
    meant = {(instance_type, zone) for instance_type, zone in meant if instance_type and zone}
    match scope:
        case Scope.OFFERING:
            return meant
        case Scope.TYPE:
            return {(instance_type, ANY) for instance_type, _ in meant}
        case Scope.ZONE:
            return {(ANY, zone) for _, zone in meant}
        case Scope.CAPACITY_TYPE:
            return {(ANY, ANY)}
        case Scope.REQUEST:
            return set()


def _reasons_of(
    refusals: Sequence[Refusal],
    marks: Sequence[OfferingMark],
    request: LaunchRequest,
    stored: Sequence[Reason],
    now: datetime,
    settings: Settings,
) -> list[Reason]:
    limits = {override.max_price for override in request.overrides if override.max_price is not None}
    limit = max(limits) if limits else None
    groups: dict[tuple[ReasonClass, str, CapacityType], list[Refusal]] = {}
    for refusal in sorted(refusals, key=_order):
        rule = rule_for(refusal.code, refusal.message)
        groups.setdefault((rule.reason_class, refusal.code, refusal.capacity_type), []).append(refusal)
    return [
        _reason(group, limit, marks, {identity(reason): reason for reason in stored}, now, settings)
        for group in groups.values()
    ]


def _reason(
    group: list[Refusal],
    limit: Decimal | None,
    marks: Sequence[OfferingMark],
    stored: dict[tuple[ReasonClass, str, str | None], Reason],
    now: datetime,
    settings: Settings,
) -> Reason:
    """The reason that refusals of one code share. It names an instance type or zone only if all share that too."""
    first = group[0]
    rule = rule_for(first.code, first.message)
    known = stored.get((rule.reason_class, first.code, first.capacity_type))
    rests = [mark.until for mark in marks if mark.code == first.code and mark.capacity_type is first.capacity_type]
    message, remedy = explain(
        rule,
        first.code,
        first.capacity_type,
        [(refusal.instance_type, refusal.zone, refusal.message) for refusal in group],
        limit,
    )
    return Reason(
        reason_class=rule.reason_class,
        code=first.code,
        message=message,
        remedy=remedy,
        since=known.since if known else now,
        last_seen=now,
        count=known.count + (known.last_seen < now) if known else 1,
        capacity_type=first.capacity_type,
        instance_type=_shared(refusal.instance_type for refusal in group),
        availability_zone=_shared(refusal.zone for refusal in group),
        next_attempt=min(rests) if rests else now + cooldown(rule, known.count + 1 if known else 1, settings),
    )


def _shared(values: Iterable[str | None]) -> str | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def reasons_of_marks(marks: Sequence[OfferingMark], limit: Decimal | None) -> tuple[Reason, ...]:
    """What stored marks say, as the answers that made them said it: one reason per class, code and capacity type."""
    groups: dict[tuple[ReasonClass, str, CapacityType], list[OfferingMark]] = {}
    for mark in sorted(marks, key=lambda m: (m.code, *_place(m))):
        rule = rule_for(mark.code, mark.message)
        groups.setdefault((rule.reason_class, mark.code, mark.capacity_type), []).append(mark)
    return in_order(_reason_of_marks(group, limit) for group in groups.values())


def _reason_of_marks(group: list[OfferingMark], limit: Decimal | None) -> Reason:
    first = group[0]
    rule = rule_for(first.code, first.message)
    where = [(_named(mark.instance_type), _named(mark.zone), mark.message) for mark in group]
    message, remedy = explain(rule, first.code, first.capacity_type, where, limit)
    return Reason(
        reason_class=rule.reason_class,
        code=first.code,
        message=message,
        remedy=remedy,
        since=min(mark.marked_at for mark in group),
        last_seen=max(mark.marked_at for mark in group),
        count=max(mark.strikes for mark in group),
        capacity_type=first.capacity_type,
        instance_type=_shared(instance_type for instance_type, _, _ in where),
        availability_zone=_shared(zone for _, zone, _ in where),
        next_attempt=min(mark.until for mark in group),
    )


def _named(place: str) -> str | None:
    return None if place == ANY else place


def holds(reason: Reason, now: datetime) -> bool:
    """True while a refusal that marks no offering (throttling, faults) keeps the pool from asking again."""
    if reason.next_attempt is None or reason.next_attempt <= now or reason.code in set(OwnCode):
        return False
    return rule_for(reason.code, reason.message).scope is Scope.REQUEST
