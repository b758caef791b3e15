"""What to do about a reason, as a person types it: a change of the pool file where one is needed, and a command."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

from lambdas import names
from lambdas.domain.commands import with_stack
from lambdas.domain.pools.pools import Pool, Schedule
from lambdas.domain.pools.schedules import in_force, is_active
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lambdas.domain.refusals.quotas import named_in, value_in
from lowtide.cli.connection import ENV_STACK
from lowtide.cli.pool_numbers import Seen
from lowtide.doctor.quotas import need_of

_QUOTED = re.compile(r"`((?:aws|cdk|lowtide) [^`]+)`")
_APPLY = "lowtide pools apply FILE"
_VCPUS = "VCPUS"
"""In a quota's command: how many to ask for, which is reckoned here, where every pool is known."""
_QUOTA_CODE = re.compile(r"--quota-code (\S+)")
_ROOM = Decimal("1.1")
"""A limit is proposed so many times the market's price: what is a cent above it is out of reach again soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    edit: str | None = None
    """Of the pool file, before the command: `spot_max_price: 0.45`."""
    command: str | None = None
    """To copy; FILE is the pool file. None: nothing is to be done but waiting."""


def remedy(reason: Reason, each: Seen, now: datetime, pools: Sequence[Pool] = ()) -> Remedy:
    """`pools`: every pool of the deployment, each of which takes its part of a quota."""
    pool = each.pool
    if quoted := _QUOTED.search(reason.remedy):
        return Remedy(command=_with_vcpus(quoted[1], reason, each, pools))
    if reason.code == OwnCode.JOB_PRICE_LIMIT:
        return Remedy()
    match reason.reason_class:
        case ReasonClass.PRICE:
            return Remedy(edit=_dearer(each, now), command=_APPLY)
        case ReasonClass.CAPACITY:
            return Remedy(edit=_wider(reason, pool), command=_APPLY)
        case ReasonClass.CONFIGURATION:
            return Remedy(command=_APPLY)
        case ReasonClass.BUDGET:
            return Remedy(edit="a higher max_hourly_cost", command=_APPLY)
        case ReasonClass.LIMIT:
            return Remedy(edit=_more(reason, pool, now), command=_APPLY)
        case ReasonClass.PERMISSION:
            return Remedy(command="lowtide doctor")
        case _:
            return Remedy()


def for_stack(text: str, stack: str) -> str:
    """A remedy's commands as they are typed for this stack: with its name, unless they find it without."""
    return with_stack(text, stack, os.environ.get(ENV_STACK) or names.STACK)


def _with_vcpus(command: str, reason: Reason, each: Seen, pools: Sequence[Pool]) -> str:
    """With what the quota has to be: what all pools take of it at their maxima, as `lowtide doctor` reckons it. AWS
    takes only more than there is: where the pools would have room in that, others use it, and what is missing is added.
    """
    if not (code := _QUOTA_CODE.search(command)):
        return command
    quota = named_in(f"({code[1]})")
    known = {each.pool.name: each.pool, **{pool.name: pool for pool in pools if not pool.deleted}}
    needs = [need for pool in known.values() if quota and (need := need_of(pool, quota))]
    total = sum(need.most * need.most_vcpus for need in needs)
    value = value_in(reason.message) or 0
    largest = max((facts.vcpus for facts in each.pool.types), default=1)
    wanted = total if total > value else value + largest * max(1, each.counts["unfulfilled"])
    return command.replace(_VCPUS, str(wanted))


def _dearer(each: Seen, now: datetime) -> str:
    """A limit that the cheapest offering is below, with some room, in whole cents above a dime and in tenths below."""
    prices = [row["spot_price"] for row in each.market if row["spot_price"] is not None]
    if not prices:
        return "a higher spot_max_price, or more instance_types"
    wanted = min(prices) * _ROOM
    step = Decimal("0.01") if wanted >= Decimal("0.1") else Decimal("0.001")
    active = [schedule for schedule in each.pool.schedules if is_active(schedule, now)]
    lower = [s for s in active if s.spot_max_price is not None or s.spot_max_percent is not None]
    return f"spot_max_price: {(wanted / step).to_integral_value(ROUND_CEILING) * step}{_also_in(lower)}"


def _wider(reason: Reason, pool: Pool) -> str:
    if "Subnet" in reason.code:
        return "subnet_ids with free addresses"
    names = ", ".join(facts.name for facts in pool.types)
    return f"instance_types: [{names}, …] with more types, or more zones in subnet_ids"


def _more(reason: Reason, pool: Pool, now: datetime) -> str:
    if reason.code == OwnCode.ON_DEMAND_FULL:
        return "a higher on_demand_fallback.max_instances or on_demand_base"
    bounded = [each for each in pool.schedules if is_active(each, now) and each.max_instances is not None]
    if bounded:
        return f"max_instances above {in_force(pool, now).max_instances} in {_schedules(bounded)}"
    return f"max_instances above {pool.max_instances}"


def _also_in(lower: Sequence[Schedule]) -> str:
    """A schedule's price can only lower the pool's, so both have to rise."""
    return f", for the pool and in {_schedules(lower)}" if lower else ""


def _schedules(schedules: Sequence[Schedule]) -> str:
    return " and ".join(f"its schedule {each.name!r}" for each in schedules)
