"""vCPU quotas: the one that counts a type, and refusals told in its numbers."""

import pytest

from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.refusals.quotas import QUOTAS, Counted, in_numbers, named_in, quota_of, vcpus_of

SPOT, ON_DEMAND = CapacityType


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (SPOT, "m7g.large", "L-34B43A08"),
        (SPOT, "im4gn.large", "L-34B43A08"),
        (ON_DEMAND, "c7i.metal-48xl", "L-1216C47A"),
        (SPOT, "g4dn.metal", "L-3819A6DF"),
        (ON_DEMAND, "gr6.4xlarge", "L-DB2E81BA"),
        (SPOT, "p4d.24xlarge", "L-7212CCBC"),
        (SPOT, "p5.48xlarge", "L-C4BD4855"),
        (ON_DEMAND, "p5.48xlarge", "L-417A185B"),
        (SPOT, "inf2.xlarge", "L-B5D1601B"),
        (SPOT, "dl1.24xlarge", "L-85EED4F7"),
        (ON_DEMAND, "u-6tb1.metal", "L-43DA4232"),
    ],
)
def test_the_quota_that_counts_a_type(kind: CapacityType, name: str, code: str) -> None:
    found = quota_of(name, kind)
    assert found is not None
    assert found.code == code


def test_a_family_that_nobody_listed_has_none() -> None:
    assert quota_of("q9.large", SPOT) is None
    assert quota_of("hpc7g.4xlarge", SPOT) is None, "EC2 has no spot quota for it"


def test_no_type_is_counted_twice_and_no_code_stands_twice() -> None:
    assert len({quota.code for quota in QUOTAS}) == len(QUOTAS)
    for name in ("m7g.large", "p3.2xlarge", "p5en.48xlarge", "inf1.xlarge", "im4gn.large", "i4i.large", "dl1.24xlarge"):
        for kind in CapacityType:
            assert sum(quota.counts(kind, name) for quota in QUOTAS) == 1, (kind, name)


def test_only_what_the_quota_counts_is_counted() -> None:
    quota = quota_of("m7g.large", SPOT)
    assert quota is not None
    there = [(SPOT, "m7g.large"), (SPOT, "m7g.large"), (ON_DEMAND, "m7g.large"), (SPOT, "g5.xlarge"), (SPOT, "c9.new")]
    assert vcpus_of(quota, there, {"m7g.large": 2, "g5.xlarge": 4}) == 4


def test_numbers_name_the_quota_what_was_asked_what_is_held_and_what_is_free() -> None:
    quota = quota_of("g4dn.metal", SPOT)
    assert quota is not None
    told = in_numbers(quota, Counted(asked=8, held=92, most=96))
    assert told == (
        "8 vCPUs asked for; the quota All G and VT Spot Instance Requests (L-3819A6DF) is 96, of which this pool's "
        "instances take 92: at most 4 are free"
    )
    assert named_in(told) is quota


def test_nothing_is_free_where_more_is_held_than_the_quota_is_now() -> None:
    assert in_numbers(QUOTAS[0], Counted(asked=1, held=9, most=4)).endswith("at most 0 are free")


def test_a_quota_that_cannot_be_read_is_named_all_the_same() -> None:
    told = in_numbers(QUOTAS[0], Counted(asked=8, held=2, most=None))
    assert "cannot be read" in told
    assert named_in(told) is QUOTAS[0]
