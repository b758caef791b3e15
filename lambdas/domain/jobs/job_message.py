"""What the body of a message on the job queue may say (contract section 3), and why one that is no job is parked.

{"pool": "aws-spot-g4dn-metal", "command": ["python3", "train.py"], "slots": 8}
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lambdas.domain.jobs import job_values as values
from lambdas.domain.jobs.fit import fits_some_type
from lambdas.domain.jobs.job_values import BadValue, Reader, nearest, shown
from lambdas.domain.jobs.jobs import JobSpec, Rejection, Resources
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.pools.pools import Pool

LARGEST_BODY = 256 * 1024
"""Bytes. What SQS took for years; its queues take 1 MiB here so that a larger message is parked with a reason."""

READERS: Mapping[str, Reader] = {
    "id": values.job_id,
    "pool": lambda value: values.text(value, "it takes the name of a pool"),
    "command": values.command,
    "slots": values.whole(0, 1_000_000_000),
    "resources": values.optional(values.resources),
    "inputs": values.inputs,
    "image": values.optional(values.image),
    "env": values.env,
    "secrets": values.secrets,
    "timeout": values.optional(values.duration),
    "tags": values.tags,
    "priority": values.whole(-100, 100),
    "max_attempts": values.whole(1, 1_000),
    "max_interruptions": values.optional(values.whole(1, 1_000_000)),
    "deadline": values.optional(values.instant),
    "estimated_duration": values.optional(values.duration),
    "spot_max_price": values.optional(values.price),
    "on_demand": values.on_demand,
}
"""Every field of contract section 3."""


class _Refused(Exception):
    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def parse_message(body: str, *, message_id: str, pools: Mapping[str, Pool]) -> JobSpec | Rejection:
    """The job, defaults filled in, or why there is none: the first thing that is wrong, its value and the remedy.

    `pools` are all pools of the stack by name. Never raises for anything a submitter can send.
    """
    given: dict[str, Any] = {}
    try:
        given = _read_object(body)
        _refuse_unknown(given)
        return _spec(given, message_id, pools)
    except _Refused as refused:
        return Rejection(
            field=refused.field,
            reason=str(refused),
            job_id=_told(given, "id", message_id),
            pool=_told(given, "pool", None),
        )


def _told(given: dict[str, Any], field: str, default: str | None) -> str | None:
    """A field for the parked record of a message that is no job: its value where that one is right."""
    try:
        return READERS[field](given[field]) if field in given else default
    except BadValue:
        return default


def _read_object(body: str) -> dict[str, Any]:
    size = len(body.encode(errors="surrogatepass"))
    if size > LARGEST_BODY:
        raise _Refused(
            None, f"the body is {size:,} bytes, over the {LARGEST_BODY:,} a job may have; put the data into `inputs`"
        )
    try:
        read = json.loads(body, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except RecursionError as error:
        raise _Refused(None, "the body is nested too deeply; a job is an object of a few levels") from error
    except ValueError as error:
        raise _Refused(None, f"the body is not JSON: {error}; send one JSON object") from error
    if not isinstance(read, dict):
        raise _Refused(None, f'the body is {shown(read)}, not an object; send {{"pool": …, "command": …}}')
    return read


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(twice, f"{twice} is given twice; give it once")
    return read


def _refuse_unknown(given: dict[str, Any]) -> None:
    for field in given:
        if field not in READERS:
            reason = f"{shown(field)} is not a field of a job: did you mean {nearest(field, READERS)}?"
            raise _Refused(field, reason)


def _spec(given: dict[str, Any], message_id: str, pools: Mapping[str, Pool]) -> JobSpec:
    for field in ("pool", "command"):
        if field not in given:
            raise _Refused(field, f"{field} is missing; every job names its pool and its command")
    read = {field: _value(field, value) for field, value in given.items()}
    pool = _pool(read["pool"], pools)
    _refuse_unfit(read, given, pool)
    _refuse_lifecycle(read, pool)
    _refuse_secrets(read, pool)
    name = read.pop("id", message_id)
    return JobSpec(job_id=name, **read)


def _value(field: str, value: Any) -> Any:
    try:
        return READERS[field](value)
    except BadValue as error:
        raise _Refused(field, f"{field}{error.place} {error}") from error


def _pool(name: str, pools: Mapping[str, Pool]) -> Pool:
    pool = pools.get(name)
    if pool is None:
        raise _Refused("pool", f"pool {shown(name)} does not exist: {_other_pools(name, pools)}")
    if pool.deleted:
        raise _Refused("pool", f"pool {shown(name)} is being deleted: {_other_pools(name, pools)}")
    return pool


def _other_pools(name: str, pools: Mapping[str, Pool]) -> str:
    known = [each for each, pool in pools.items() if not pool.deleted]
    if (close := nearest(name, known)) is None:
        return "the stack has no pool; make one with `lowtide pools apply FILE`"
    return f"the nearest is {shown(close)}; `lowtide pools list` shows all {len(known)}"


def _refuse_unfit(read: dict[str, Any], given: dict[str, Any], pool: Pool) -> None:
    resources: Resources | None = read.get("resources")
    if resources is not None and "slots" in read:
        raise _Refused("resources", "resources and slots are both given; give one of them")
    slots: int = read.get("slots", 1)
    if fits_some_type(slots, resources, pool):
        return
    if resources is not None:
        held = ", ".join(f"{t.name} ({t.vcpus} vCPUs, {t.memory_mib} MiB, {t.gpus} GPUs)" for t in pool.types)
        raise _Refused(
            "resources",
            f"resources is {shown(given['resources'])}: no type of pool {pool.name} holds that; it has {held}",
        )
    raise _Refused("slots", f"slots is {slots}: {_why_slots_do_not_fit(slots, pool)}")


def _refuse_lifecycle(read: dict[str, Any], pool: Pool) -> None:
    """What the pool's owner allows bounds a job's own word."""
    word = read.get("on_demand", OnDemand.AUTO)
    if word is OnDemand.ALWAYS and not pool.allows_on_demand():
        remedy = "leave it out, or have the owner set on_demand_fallback or on_demand_base"
        raise _Refused("on_demand", f'on_demand is "always": pool {pool.name} allows no on-demand instances; {remedy}')
    if word is OnDemand.NEVER and not pool.spot:
        remedy = "leave it out, or send the job to a spot pool"
        raise _Refused("on_demand", f'on_demand is "never": pool {pool.name} has only on-demand instances; {remedy}')


def _refuse_secrets(read: dict[str, Any], pool: Pool) -> None:
    """They are read with the job's own role, and a variable has one value."""
    secrets = dict(read.get("secrets", ()))
    if secrets and pool.job_role_arn is None:
        remedy = "have the owner set job_role_arn to a role that may read them"
        raise _Refused("secrets", f"secrets cannot be read: jobs of pool {pool.name} have no role; {remedy}")
    if twice := sorted(secrets.keys() & dict(read.get("env", ())).keys()):
        raise _Refused("secrets", f"secrets[{shown(twice[0])}] is in env as well; give it once")


def _why_slots_do_not_fit(slots: int, pool: Pool) -> str:
    if slots == 0:
        return f"pool {pool.name} takes no auxiliary jobs (max_aux_containers_per_agent is 0); ask for 1 or more"
    largest = max(pool.types, key=lambda facts: facts.slots)
    if largest.slots == 0:
        return f"no instance of pool {pool.name} has slots; set cpu_slots_allowed or instance_slots in the pool"
    return (
        f"multi-instance jobs are not supported, and an instance of pool {pool.name} has at most {largest.slots} "
        f"({largest.name}); ask for {largest.slots} or fewer"
    )
