"""From a pool entry to the pool that is stored: facts and prices filled in, what only AWS can know checked."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from lambdas.adapters.catalogue import TypeListing
from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import OnDemandFallback, Pool, Schedule, TypeFacts
from lambdas.domain.pools.schedules import conflict, utc
from lowtide.poolfile import schema as asked_for
from lowtide.poolfile.load import Problem
from lowtide.poolfile.schema import PoolEntry, Provider

PUBLIC_ROOT_DEVICE = "/dev/xvda"
"""Of the public images that pools use by default, and so of the stack's own launch template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    architecture: str
    root_device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What AWS said, asked once for all pools of a file."""

    region: str
    listings: Mapping[str, TypeListing]
    prices: Mapping[str, Decimal | None]
    zones_of_subnets: Mapping[str, str]
    """subnet id -> zone name; a subnet that does not exist is absent."""
    images: Mapping[str, ImageFacts] = field(default_factory=dict[str, ImageFacts])
    """Of the named images that exist."""
    missing: frozenset[tuple[str, str]] = frozenset()
    """(key of `provider`, value) of what is named and does not exist. What could not be looked up is not here."""
    job_roles: frozenset[str] | None = None
    """Roles that the stack may take for jobs; None: nobody asked, or the stack does not say."""


def types_of(entries: Sequence[PoolEntry]) -> list[str]:
    """Every instance type that the entries name, each once."""
    return sorted({name for entry in entries for name in entry.provider.types()})


def resolve(entry: PoolEntry, path: str, facts: Facts, now: datetime) -> tuple[Pool | None, list[Problem]]:
    """The pool of one entry (version 1: the store numbers it), or what is wrong with it in this account and Region."""
    provider = entry.provider
    problems = [
        *_region(provider, path, facts),
        *_unknown_types(provider, path, facts),
        *_subnets(provider, path, facts),
        *_named(provider, path, facts),
        *_image(provider, path, facts),
        *_unpriced(provider, path, facts),
        *_job_role(provider, path, facts),
    ]
    if problems:
        return None, problems
    types = tuple(_facts(provider, name, facts) for name in provider.types())
    if (
        not any(kind.slots for kind in types)
        and provider.cpu_slots_allowed is False
        and not entry.max_aux_containers_per_agent
    ):
        reason = "gives no slots: cpu_slots_allowed is false, its types have no GPU and it takes no auxiliary jobs"
        return None, [Problem(path=f"{path}.provider", message=f"{reason}; nothing could ever run there")]
    pool = _pool(entry, types, facts, now)
    wrong = _conflict(pool, path, now)
    return (None, wrong) if wrong else (pool, [])


def _region(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    if provider.region in (None, facts.region):
        return []
    remedy = f"remove the key, or deploy a stack in {provider.region}"
    return [
        Problem(
            path=f"{path}.provider.region", message=f'is "{provider.region}"; the stack is in {facts.region}: {remedy}'
        )
    ]


def _unknown_types(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    if provider.instance_slots is not None:
        return []
    key = "instance_types" if provider.instance_types else "instance_type"
    return [
        Problem(path=f"{path}.provider.{key}", message=_unknown_type(name, facts))
        for name in provider.types()
        if name not in facts.listings
    ]


def _unpriced(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    """Keys that are reckoned from on-demand prices, where the price list has none."""
    unknown = ", ".join(name for name in provider.types() if facts.prices.get(name) is None)
    if not unknown:
        return []
    prices = [("spot_max_price", provider.spot_max_price)]
    prices += [(f"schedules[{n}].spot_max_price", each.spot_max_price) for n, each in enumerate(provider.schedules)]
    remedy = "write the limit in dollars, or leave the type out"
    problems = [
        Problem(
            path=f"{path}.provider.{key}",
            message=f'is "{price}", but the price list has no on-demand price for {unknown}; {remedy}',
        )
        for key, price in prices
        if isinstance(price, str)
    ]
    if provider.max_hourly_cost is not None and (not provider.spot or provider.on_demand_base):
        message = f"cannot be kept: the price list has no on-demand price for {unknown}; leave the type or the key out"
        problems.append(Problem(path=f"{path}.provider.max_hourly_cost", message=message))
    return problems


def _unknown_type(name: str, facts: Facts) -> str:
    close = difflib.get_close_matches(name, sorted(facts.listings), n=1, cutoff=0.6)
    nearest = f"; did you mean {close[0]}?" if close else ""
    own = "(or set instance_slots for a type of your own)"
    return f'is "{name}", which EC2 does not list in {facts.region}{nearest} {own}'


def _job_role(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    arn = provider.job_role_arn
    if arn is None or facts.job_roles is None or arn in facts.job_roles:
        return []
    every = ",".join(sorted({*facts.job_roles, arn}))
    message = f'is "{arn}", which the stack may not take: deploy it with -c job_roles={every}'
    return [Problem(path=f"{path}.provider.job_role_arn", message=message)]


def named_subnets(provider: Provider) -> list[tuple[str, str]]:
    """(key, subnet id) of those that the pool names."""
    interface = provider.network_interface
    if interface is not None and interface.subnet_id is not None:
        return [("network_interface.subnet_id", interface.subnet_id)]
    return [(f"subnet_ids[{number}]", subnet) for number, subnet in enumerate(provider.subnet_ids or [])]


def _named(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    """Key pair, instance profile, security group: what EC2 would otherwise refuse with the first launch."""
    return [
        Problem(path=f"{path}.provider.{key}", message=f'is "{value}", which does not exist in {facts.region}')
        for key, value in names_of(provider)
        if (key, value) in facts.missing
    ]


def names_of(provider: Provider) -> list[tuple[str, str]]:
    """(key, value) of what the pool names and this account must have, images and subnets aside."""
    interface = provider.network_interface
    named = [
        ("ssh_key_name", provider.ssh_key_name),
        ("iam_instance_profile_arn", provider.iam_instance_profile_arn),
        ("network_interface.security_group_id", interface and interface.security_group_id),
    ]
    return [(key, value) for key, value in named if value]


def _image(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    """An image that does not exist, or does not fit a type's architecture."""
    image = provider.image_id
    place = f"{path}.provider.image_id"
    if image is None or (image not in facts.images and ("image_id", image) not in facts.missing):
        return []
    if image not in facts.images:
        return [Problem(path=place, message=f'is "{image}", which does not exist in {facts.region}')]
    built = facts.images[image].architecture
    unfit = [n for n in provider.types() if n in facts.listings and facts.listings[n].architecture != built]
    said = f'is "{image}", built for {built}; {", ".join(unfit)} cannot run it: name another image or other types'
    return [Problem(path=place, message=said)] if unfit else []


def _machine(provider: Provider, facts: Facts) -> Machine:
    interface, image = provider.network_interface, facts.images.get(provider.image_id or "")
    own_device = image is not None and image.root_device != PUBLIC_ROOT_DEVICE
    return Machine(
        tags=provider.tags(),
        instance_name=provider.instance_name,
        ssh_key_name=provider.ssh_key_name,
        iam_instance_profile_arn=provider.iam_instance_profile_arn,
        public_ip=interface and interface.public_ip,
        security_group_id=interface and interface.security_group_id,
        root_volume_size=provider.root_volume_size,
        root_device=image.root_device if image is not None and own_device else None,
        startup_script=provider.startup_script or None,
        container_startup_script=provider.container_startup_script or None,
    )


def _subnets(provider: Provider, path: str, facts: Facts) -> list[Problem]:
    problems: list[Problem] = []
    by_zone: dict[str, str] = {}
    for place, subnet in named_subnets(provider):
        place = f"{path}.provider.{place}"
        zone = facts.zones_of_subnets.get(subnet)
        if zone is None:
            problems.append(Problem(path=place, message=f'is "{subnet}", which does not exist in {facts.region}'))
        elif zone in by_zone:
            both = f"is in {zone}, as {by_zone[zone]} is; EC2 refuses two subnets of one zone in one request: keep one"
            problems.append(Problem(path=place, message=both))
        else:
            by_zone[zone] = subnet
    return problems


def _facts(provider: Provider, name: str, facts: Facts) -> TypeFacts:
    listing = facts.listings.get(name)
    slots = provider.instance_slots
    if listing is None:
        # A type that EC2 does not list is taken at the owner's word; EC2 itself refuses it at launch if it is wrong.
        return TypeFacts(
            name=name,
            vcpus=0,
            memory_mib=0,
            gpus=0,
            architecture="x86_64",
            on_demand_price=None,
            slots=slots or 0,
        )
    if slots is None:
        slots = listing.gpus or int(_cpu_slots_allowed(provider, facts))
    return TypeFacts(
        name=name,
        vcpus=listing.vcpus,
        memory_mib=listing.memory_mib,
        gpus=listing.gpus,
        architecture=listing.architecture,
        on_demand_price=facts.prices.get(name),
        slots=slots,
        bare_metal=listing.bare_metal,
    )


def _cpu_slots_allowed(provider: Provider, facts: Facts) -> bool:
    """The owner's word; else true where no type of the pool has a GPU, since no default job could ever run there."""
    if provider.cpu_slots_allowed is not None:
        return provider.cpu_slots_allowed
    return not any(facts.listings[name].gpus for name in provider.types() if name in facts.listings)


def _pool(entry: PoolEntry, types: tuple[TypeFacts, ...], facts: Facts, now: datetime) -> Pool:
    provider = entry.provider
    price = provider.spot_max_price if provider.spot else None
    return Pool(
        name=entry.pool_name,
        description=entry.description,
        spot=provider.spot,
        spot_max_price=price if isinstance(price, Decimal) else None,
        spot_max_percent=Decimal(price[:-1]) if isinstance(price, str) else None,
        types=types,
        subnets=tuple((facts.zones_of_subnets[subnet], subnet) for _, subnet in named_subnets(provider)),
        min_instances=provider.min_instances,
        max_instances=provider.max_instances,
        max_aux_containers_per_agent=entry.max_aux_containers_per_agent,
        warm_instances=provider.warm_instances,
        on_demand_base=provider.on_demand_base,
        on_demand_fallback=_fallback(provider),
        max_hourly_cost=provider.max_hourly_cost,
        schedules=tuple(map(_schedule, provider.schedules)),
        max_instance_lifetime=provider.max_instance_lifetime,
        starvation_after=provider.starvation_after,
        launch_error_timeout=provider.launch_error_timeout,
        launch_error_retries=provider.launch_error_retries,
        max_idle_agent_period=provider.max_idle_agent_period,
        max_agent_starting_period=provider.starting_period(),
        allocation_strategy=provider.allocation_strategy,
        image_id=provider.image_id,
        job_role_arn=provider.job_role_arn,
        unfulfilled_alarm_after=provider.unfulfilled_alarm_after,
        paused=provider.paused,
        applied_at=now,
        machine=_machine(provider, facts),
    )


def _conflict(pool: Pool, path: str, now: datetime) -> list[Problem]:
    found = conflict(pool, now)
    if found is None:
        return []
    names = " and ".join(found.names) or "no schedule"
    message = (
        f"contradict each other at {utc(found.at)} ({names}): min_instances {found.min_instances} is above "
        f"max_instances {found.max_instances}; change one of them, or the windows"
    )
    return [Problem(path=f"{path}.provider.schedules", message=message)]


def _schedule(asked: asked_for.Schedule) -> Schedule:
    price = asked.spot_max_price
    return Schedule(
        name=asked.name,
        start=asked.start,
        duration=asked.duration,
        timezone=asked.timezone,
        min_instances=asked.min_instances,
        max_instances=asked.max_instances,
        spot_max_price=price if isinstance(price, Decimal) else None,
        spot_max_percent=Decimal(price[:-1]) if isinstance(price, str) else None,
    )


def _fallback(provider: Provider) -> OnDemandFallback | None:
    if (asked := provider.on_demand_fallback) is None:
        return None
    times = asked.after_interruptions
    return OnDemandFallback(
        after=asked.after,
        after_interruptions=None if times == "never" else times,
        max_instances=asked.max_instances,
        return_after=asked.return_after,
    )


def most_per_hour(pool: Pool) -> Decimal | None:
    """USD per hour of as many instances as there may be of the dearest type, each at its price limit, or on-demand
    where that is allowed; never above `max_hourly_cost`. None where a price is unknown."""
    limits = [pool.price_limit(kind) for kind in pool.types] if pool.spot else []
    limits += [kind.on_demand_price for kind in pool.types] if pool.allows_on_demand() else []
    known = [limit for limit in limits if limit is not None]
    most = max([pool.max_instances, *(each.max_instances or 0 for each in pool.schedules)])
    dearest = max(known) * most if len(known) == len(limits) else None
    bounds = [bound for bound in (dearest, pool.max_hourly_cost) if bound is not None]
    return min(bounds, default=None)
