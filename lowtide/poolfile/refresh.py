"""A stored pool with the facts of today: what an old version is given before it comes back."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lambdas.adapters.catalogue import PRICING_REGION, Catalogue, TypeListing
from lambdas.domain.pools import Pool, TypeFacts
from lowtide.poolfile.facts import zones_of

if TYPE_CHECKING:
    from lowtide.cli.connection import Deployment


def refreshed(deployment: "Deployment", pool: Pool) -> tuple[Pool, list[str]]:
    """The pool with EC2's facts and the price list's prices as they are now, and what is no longer there, a sentence
    each. The slots of each type stay as its owner had them; images are looked up anew before the next launch."""
    ec2 = deployment.client("ec2")
    catalogue = Catalogue(ec2, deployment.client("pricing", region_name=PRICING_REGION), deployment.region)
    listings = catalogue.listings([facts.name for facts in pool.types])
    zones = zones_of(ec2, [subnet for _, subnet in pool.subnets])
    wrong = [
        f"EC2 no longer lists {facts.name} in {deployment.region}"
        for facts in pool.types
        if facts.name not in listings and not _at_its_owners_word(facts)
    ]
    wrong += [f"{subnet} no longer exists" for _, subnet in pool.subnets if subnet not in zones]
    types = tuple(_facts(facts, listings.get(facts.name), catalogue) for facts in pool.types)
    return replace(pool, types=types, images=()), wrong


def _at_its_owners_word(facts: TypeFacts) -> bool:
    """A type that EC2 did not list when the pool was applied either."""
    return facts.vcpus == 0


def _facts(old: TypeFacts, listing: TypeListing | None, catalogue: Catalogue) -> TypeFacts:
    """A price that cannot be read now stays as it was."""
    if listing is None:
        return old
    price = catalogue.on_demand_price(old.name)
    return replace(
        old,
        vcpus=listing.vcpus,
        memory_mib=listing.memory_mib,
        gpus=listing.gpus,
        architecture=listing.architecture,
        bare_metal=listing.bare_metal,
        on_demand_price=old.on_demand_price if price is None else price,
    )
