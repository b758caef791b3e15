"""Pools and settings read back as they were written."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from lambdas.domain.pools.pools import OnDemandFallback, Pool, Schedule
from lambdas.domain.settings import Settings
from tests.domain.build import NOW, kind, pool

FULL = pool(
    description="training",
    version=7,
    spot_max_percent=Decimal(60),
    warm_instances=1,
    on_demand_base=2,
    on_demand_fallback=OnDemandFallback(after=timedelta(minutes=5), after_interruptions=3, max_instances=4),
    max_hourly_cost=Decimal("12.5"),
    max_instance_lifetime=timedelta(days=1),
    starvation_after=timedelta(minutes=7),
    launch_error_timeout=timedelta(minutes=30),
    launch_error_retries=3,
    schedules=(
        Schedule(
            name="day",
            start="0 9 * * 1-5",
            duration=timedelta(hours=8),
            timezone="Europe/Berlin",
            min_instances=2,
            spot_max_percent=Decimal(50),
        ),
    ),
    types=(kind(), kind("c7g.large", 1, None, gpus=0, architecture="arm64", bare_metal=True)),
    subnets=(("us-west-2a", "subnet-1"),),
    images=(("g4dn.metal", "ami-1"),),
    min_instances=1,
    max_instances=9,
    unfulfilled_alarm_after=None,
    paused=True,
    applied_at=NOW,
)

NEWER_KEYS = (
    *("spot_max_percent", "warm_instances", "on_demand_base", "on_demand_fallback", "max_hourly_cost"),
    *("max_instance_lifetime", "schedules", "starvation_after", "launch_error_timeout", "launch_error_retries"),
)
"""What pools stored by the first version lack."""


def test_a_pool_reads_back_from_its_document_through_json() -> None:
    assert Pool.from_document(json.loads(json.dumps(FULL.to_document()))) == FULL


def test_a_period_of_nothing_reads_back_as_it_is_and_not_as_never() -> None:
    nothing = timedelta(0)
    given = pool(on_demand_fallback=OnDemandFallback(after=nothing), unfulfilled_alarm_after=nothing)
    assert Pool.from_document(json.loads(json.dumps(given.to_document()))) == given


def test_a_pool_reads_back_from_numbers_as_the_table_gives_them() -> None:
    document = json.loads(json.dumps(FULL.to_document()), parse_int=Decimal, parse_float=Decimal)
    read = Pool.from_document(document)
    assert read == FULL
    assert all(type(facts.slots) is int and type(facts.vcpus) is int for facts in read.types)


def test_a_pool_stored_before_a_key_existed_has_its_default() -> None:
    document = {key: value for key, value in FULL.to_document().items() if key not in NEWER_KEYS}
    plain = Pool(name="x")
    assert Pool.from_document(document) == replace(FULL, **{key: getattr(plain, key) for key in NEWER_KEYS})


def test_settings_read_back_from_what_differs() -> None:
    changed = Settings(lease=timedelta(seconds=30), cooldown_scale=0.1)
    assert json.loads(changed.to_json()) == {"cooldown_scale": 0.1, "lease": 30.0}
    assert Settings.from_json(changed.to_json()) == changed
    assert Settings.from_json(None) == Settings()


def test_pacing_shortens_every_wait_and_leaves_retention_and_rates() -> None:
    quick = Settings().paced(10)
    assert (quick.lease, quick.look_again, quick.cooldown_scale) == (timedelta(seconds=30), timedelta(seconds=6), 0.1)
    assert (quick.jobs_kept, quick.ec2_refill_per_second) == (Settings().jobs_kept, 2.0)


@pytest.mark.parametrize("text", ['{"leese": 3}', '{"lease": 0}', '{"lease": "5m"}', '{"lease": true}'])
def test_a_wrong_setting_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"settings\.le"):
        Settings.from_json(text)
