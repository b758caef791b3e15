from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.jobs.fit import (
    Part,
    Used,
    charged_share,
    devices,
    fits_some_type,
    least_share,
    load,
    part_of,
    slots_taken,
    used_by,
    whole,
)
from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.pools.pools import TypeFacts
from tests.domain.build import kind, pool
from tests.domain.properties import steadily

METAL = kind()
CPU = kind("c7g.large", 1, gpus=0, vcpus=2, memory_mib=4096)
ODD = kind("odd", 3, gpus=1, vcpus=7, memory_mib=10_001)
"""Nothing of it can be divided by its slots."""


def asks(vcpus: str = "1", memory_mib: int = 1, gpus: int = 0) -> Resources:
    return Resources(vcpus=Decimal(vcpus), memory_mib=memory_mib, gpus=gpus)


def held(used: Used, facts: TypeFacts = METAL) -> bool:
    return used.load(facts).within(whole(facts))


@pytest.mark.parametrize(
    ("resources", "taken"),
    [
        (asks("24", gpus=1), 2),
        (asks("12", gpus=1), 1),
        (asks("12.001", gpus=1), 2),
        (asks(memory_mib=49152 * 8), 8),
        (asks(memory_mib=49152 * 8 + 1), None),
        (asks(gpus=8), 8),
        (asks(gpus=9), None),
        (asks("0.001"), 1),
    ],
)
def test_whole_slots_cover_the_largest_share(resources: Resources, taken: int | None) -> None:
    assert slots_taken(1, resources, METAL) == taken


def test_a_gpu_job_never_fits_a_type_without_gpus() -> None:
    assert load(1, asks(gpus=1), CPU) is None


def test_slots_fit_up_to_what_the_type_has() -> None:
    assert [slots_taken(slots, None, METAL) for slots in (0, 1, 8, 9)] == [0, 1, 8, None]


@pytest.mark.parametrize(("slots", "resources"), [(1, None), (1, asks())])
def test_nothing_fits_a_type_without_slots_but_auxiliary_jobs(slots: int, resources: Resources | None) -> None:
    none = kind("c7g.large", 0, gpus=0)
    assert load(slots, resources, none) is None
    assert load(0, None, none) == (0, 0, 0)


def test_of_a_type_that_ec2_does_not_list_only_the_slots_are_known() -> None:
    own = kind("own.type", 4, gpus=0, vcpus=0, memory_mib=0)
    assert [slots_taken(slots, None, own) for slots in (1, 4, 5)] == [1, 4, None]
    assert load(1, asks(), own) is None


def test_an_auxiliary_job_fits_where_the_pool_takes_any() -> None:
    assert fits_some_type(0, None, pool())
    assert not fits_some_type(0, None, pool(max_aux_containers_per_agent=0))


@pytest.mark.parametrize("facts", [METAL, CPU, ODD], ids=lambda facts: facts.name)
def test_as_many_jobs_of_one_slot_as_there_are_slots_take_exactly_all_of_it(facts: TypeFacts) -> None:
    full = [Part(slots=1)] * facts.slots
    assert used_by(full).load(facts) == whole(facts)
    assert not held(used_by([*full, Part(slots=1, resources=asks("0.001"))]), facts)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (asks("48", 196_608, 4), True),
        (asks("48.001", 1, 0), False),
        (asks("1", 196_609, 0), False),
        (asks("1", 1, 5), False),
    ],
)
def test_what_fits_beside_half_the_slots_fits_in_each_of_the_three(asked: Resources, fits: bool) -> None:
    assert held(used_by([Part(slots=4), Part(slots=1, resources=asked)])) == fits


@pytest.mark.parametrize(
    ("slots", "asked", "gpus", "own"),
    [(2, None, 8, 2), (1, asks(gpus=3), 8, 3), (1, asks(), 8, 0), (0, None, 8, 0), (1, None, 16, 2), (3, None, 4, 1)],
)
def test_a_job_has_the_gpus_that_it_names_or_the_whole_ones_of_its_share(
    slots: int, asked: Resources | None, gpus: int, own: int
) -> None:
    assert devices(slots, asked, replace(METAL, gpus=gpus)) == own


def test_a_worker_that_knows_slots_alone_is_given_whole_slots() -> None:
    assert part_of(1, asks("24", gpus=1), METAL, in_slots=True) == Part(slots=2)


def test_a_job_of_resources_is_charged_the_mean_of_its_parts() -> None:
    assert charged_share(asks("24", 98_304, 4), METAL) == Decimal("0.333333333")
    assert charged_share(asks("1", 1024), CPU) == Decimal("0.375")


def test_the_least_share_is_that_of_the_type_that_suits_it_best() -> None:
    both = pool(types=(CPU, METAL))
    assert least_share(asks("1", 1024), both) == charged_share(asks("1", 1024), METAL)
    assert least_share(asks("1", gpus=9), both) is None


ASKED = st.builds(
    lambda milli, memory, gpus: asks(str(Decimal(milli) / 1000), memory, gpus),
    st.integers(1, 96_000),
    st.integers(1, 393_216),
    st.integers(0, 8),
)
PARTS_OF_METAL = st.builds(lambda slots: Part(slots=slots), st.integers(1, 8)) | ASKED.map(
    lambda asked: part_of(1, asked, METAL, in_slots=False)
)


@steadily()
@given(st.lists(ASKED, max_size=8))
def test_jobs_that_fit_in_the_slots_fit_in_every_resource_at_once(asked: list[Resources]) -> None:
    room, taken = METAL.slots, []
    for job in asked:
        needed = slots_taken(1, job, METAL)
        if needed is not None and needed <= room:
            room -= needed
            taken.append(Part(slots=1, resources=job))
    assert held(used_by(taken))


@steadily()
@given(st.lists(PARTS_OF_METAL, max_size=12))
def test_what_an_instance_holds_is_never_more_than_it_has_nor_charged_more_than_once(parts: list[Part]) -> None:
    there: list[Part] = []
    for each in parts:
        if held(used_by([*there, each])):
            there.append(each)
    asked = [each.resources for each in there if each.resources]
    slots = sum(each.slots for each in there if each.resources is None)
    eighth = Decimal(1) / 8
    assert sum((each.vcpus for each in asked), slots * eighth * METAL.vcpus) <= METAL.vcpus
    assert sum((each.memory_mib for each in asked), slots * eighth * METAL.memory_mib) <= METAL.memory_mib
    assert sum((each.gpus for each in asked), slots) <= METAL.gpus
    assert sum(devices(each.slots, each.resources, METAL) for each in there) <= METAL.gpus
    shares = [each.slots * eighth if each.share is None else each.share for each in there]
    assert sum(shares) <= 1
