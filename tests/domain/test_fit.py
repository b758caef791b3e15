from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.fit import fits_some_type, slots_taken
from lambdas.domain.jobs import Resources
from tests.domain.build import kind, pool
from tests.domain.properties import steadily

METAL = kind()
CPU = kind("c7g.large", 1, gpus=0, vcpus=2, memory_mib=4096)


def asks(vcpus: str = "1", memory_mib: int = 1, gpus: int = 0) -> Resources:
    return Resources(vcpus=Decimal(vcpus), memory_mib=memory_mib, gpus=gpus)


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
def test_resources_take_the_slots_that_cover_the_largest_share(resources: Resources, taken: int | None) -> None:
    assert slots_taken(1, resources, METAL) == taken


def test_a_gpu_job_never_fits_a_type_without_gpus() -> None:
    assert slots_taken(1, asks(gpus=1), CPU) is None


def test_slots_fit_up_to_what_the_type_has() -> None:
    assert [slots_taken(slots, None, METAL) for slots in (0, 1, 8, 9)] == [0, 1, 8, None]


def test_an_auxiliary_job_fits_where_the_pool_takes_any() -> None:
    assert fits_some_type(0, None, pool())
    assert not fits_some_type(0, None, pool(max_aux_containers_per_agent=0))


@steadily()
@given(st.lists(st.tuples(st.integers(1, 96_000), st.integers(1, 393_216), st.integers(0, 8)), max_size=8))
def test_jobs_that_fit_in_the_slots_fit_in_every_resource_at_once(asked: list[tuple[int, int, int]]) -> None:
    jobs = [asks(str(Decimal(milli) / 1000), memory, gpus) for milli, memory, gpus in asked]
    room, taken = METAL.slots, []
    for job in jobs:
        needed = slots_taken(1, job, METAL)
        if needed is not None and needed <= room:
            room -= needed
            taken.append(job)
    assert sum(job.vcpus for job in taken) <= METAL.vcpus
    assert sum(job.memory_mib for job in taken) <= METAL.memory_mib
    assert sum(job.gpus for job in taken) <= METAL.gpus
