"""A kept decision made again with another configuration: the same snapshot, the same `plan()`, two answers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from lambdas.domain.fleet.actions import Action, Launch, Repeat, name_of
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.decision import Decision
from lambdas.domain.plan.plan import Plan, plan
from lambdas.domain.pools.pools import Pool, TypeFacts
from lambdas.domain.words import several
from lowtide.cli.pool_numbers import reason_object

_ANY_IMAGE = "ami-00000000000000000"
"""Stands for the image that the control plane would look up for a type that the pool does not name yet."""

NUMBERS = ("desired", "running", "launching", "draining", "idle", "unfulfilled")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    at: datetime
    was: Plan
    """As decided, before EC2's answers."""
    would_be: Plan
    notes: tuple[str, ...]
    """What the answer rests on that the snapshot does not say."""


def what_if(decision: Decision, snapshot: Snapshot, changed: Pool) -> WhatIf:
    other, notes = _with(snapshot, changed, decision.at)
    return WhatIf(at=decision.at, was=plan(snapshot, decision.at), would_be=plan(other, decision.at), notes=notes)


def _with(snapshot: Snapshot, changed: Pool, at: datetime) -> tuple[Snapshot, tuple[str, ...]]:
    """The snapshot as it would have been had the pool been applied just before."""
    new = [facts for facts in changed.types if snapshot.pool.facts(facts.name) is None]
    pool = replace(changed, version=snapshot.pool.version + 1, applied_at=at, deleted=False)
    subnets = changed.subnets or (snapshot.subnets if not snapshot.pool.subnets else ())
    notes = [_without_price(facts) for facts in new if pool.spot]
    if not subnets:
        subnets = snapshot.subnets
        notes.append("the stack's own subnets were not recorded: those that the pool named are used")
    images = (*snapshot.images, *_images(snapshot, pool))
    return replace(snapshot, pool=pool, images=images, subnets=subnets), tuple(notes)


def _images(snapshot: Snapshot, pool: Pool) -> list[tuple[str, str]]:
    known = dict(snapshot.images)
    return [(facts.name, pool.image_id or _ANY_IMAGE) for facts in pool.types if facts.name not in known]


def _without_price(facts: TypeFacts) -> str:
    return f"no spot price of {facts.name} was recorded: it counts at its on-demand price"


def document(found: WhatIf) -> dict[str, Any]:
    return {
        **{"at": found.at, "notes": list(found.notes)},
        **{"was": _plan_document(found.was), "would_be": _plan_document(found.would_be)},
    }


def _plan_document(decided: Plan) -> dict[str, Any]:
    return {
        "numbers": {f.name: getattr(decided.numbers, f.name) for f in fields(decided.numbers)},
        "actions": [{"action": name_of(a), "what": what(a), "why": a.why} for a in decided.actions],
        "reasons": [reason_object(reason) for reason in decided.reasons],
    }


def lines(found: WhatIf) -> list[str]:
    """The difference, for people: `-` what was decided, `+` what would have been."""
    was, would_be = _told(found.was), _told(found.would_be)
    if was == would_be:
        return ["The same would have been decided."]
    numbers = [
        f"{name}: {before} -> {after}"
        for name in NUMBERS
        if (before := getattr(found.was.numbers, name)) != (after := getattr(found.would_be.numbers, name))
    ]
    return [*numbers, *_difference(was, would_be)]


def _difference(was: Sequence[str], would_be: Sequence[str]) -> list[str]:
    gone = [f"- {line}" for line in was if line not in would_be]
    return [*gone, *(f"+ {line}" for line in would_be if line not in was)]


def _told(decided: Plan) -> list[str]:
    actions = [f"{what(action)}, {action.why}" for action in decided.actions]
    return [*actions, *(f"{reason.reason_class.value}: {reason.message}" for reason in decided.reasons)]


def what(action: Action) -> str:
    """`launch 3 spot instances of c7i.large, c7i.xlarge at most $0.05`."""
    name = name_of(action)
    if isinstance(action, Launch):
        request = action.request
        types = ", ".join(dict.fromkeys(o.instance_type for o in request.overrides))
        limits = sorted({o.max_price for o in request.overrides if o.max_price is not None})
        limit = f" at most ${limits[-1]}" if limits else ""
        return f"launch {several(request.count, f'{request.capacity_type} instance')} of {types}{limit}"
    if isinstance(action, Repeat):
        return f"repeat a launch of {several(action.intention.request.count, 'instance')}"
    if (ids := getattr(action, "instance_ids", None)) is not None:
        return f"{name} {', '.join(ids)}"
    return " ".join([name, *filter(None, [getattr(action, "job_id", None) or getattr(action, "instance_id", None)])])
