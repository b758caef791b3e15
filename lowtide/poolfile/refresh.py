"""A stored pool with the facts of today: what an old version is given before it comes back."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lambdas.adapters.catalogue import Catalogue
from lambdas.domain.pools.pools import Pool, TypeFacts
from lambdas.names import PRICING_REGION
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
    types = tuple(
        listing.renew(facts, catalogue.on_demand_price(facts.name)) if (listing := listings.get(facts.name)) else facts
        for facts in pool.types
    )
    return replace(pool, types=types, images=()), wrong


def _at_its_owners_word(facts: TypeFacts) -> bool:
    """A type that EC2 did not list when the pool was applied either."""
    return facts.vcpus == 0
