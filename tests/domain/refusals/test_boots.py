"""Instances whose workers never call stop a pool's launches after several in a row."""

from typing import Any

import pytest

from lambdas.domain.fleet.actions import Launch
from lambdas.domain.fleet.fleet import BootFailure
from tests.domain.build import ago, instance, job, pool
from tests.domain.plans import of, planned


def failures(*launched: float, console: str | None = "line one\nboot: no network\n") -> tuple[BootFailure, ...]:
    """Launched so many seconds ago, ended twenty minutes later."""
    return tuple(
        BootFailure(
            instance_id=f"i-{number}",
            instance_type="g4dn.metal",
            zone="us-west-2a",
            launched_at=ago(seconds),
            ended_at=ago(seconds - 1200),
            console=console,
        )
        for number, seconds in enumerate(launched)
    )


THREE = failures(3300, 2800, 1500)


def stopped(**world: Any) -> bool:
    return of(Launch, planned(**{"queue": (job(),), "boot_failures": THREE, **world})) == []


def test_three_in_a_row_stop_the_launches_and_their_console_is_shown() -> None:
    decided = planned(queue=(job(),), boot_failures=THREE)
    (reason,) = decided.reasons
    assert of(Launch, decided) == []
    assert (str(reason.reason_class), reason.code, reason.count) == ("configuration", "InstancesNeverReport", 3)
    assert "the console of i-2 ends: line one / boot: no network" in reason.message
    assert reason.next_attempt == ago(300 - 3600)


def test_a_console_that_nobody_has_is_said_to_be_missing() -> None:
    decided = planned(queue=(job(),), boot_failures=failures(3300, 2800, 1500, console=None))
    assert "none of them has written to its console" in decided.reasons[0].message


@pytest.mark.parametrize(
    "otherwise",
    [
        {"boot_failures": THREE[1:]},
        {"boot_failures": failures(9000, 8500, 7000)},
        {"boot_failures": failures(80_000, 40_000, 1500)},
        {"pool": pool(applied_at=ago(1000))},
        {"instances": (instance(launched_at=ago(1400), state="draining"),), "queue": (job(), job())},
    ],
    ids=["two", "an hour is over", "hours apart", "the pool was changed", "another one called since"],
)
def test_there_is_no_stop_where(otherwise: dict[str, Any]) -> None:
    assert not stopped(**otherwise)


def test_with_three_it_is_a_stop() -> None:
    assert stopped()


def test_before_that_the_console_is_told_while_the_next_instance_starts() -> None:
    (reason,) = planned(queue=(job(),), boot_failures=failures(1500)).reasons
    assert (str(reason.reason_class), reason.code) == ("starting", "InstancesLaunching")
    assert "the worker of the last instance never called within" in reason.message
    assert "the console of i-0 ends: line one / boot: no network" in reason.message
    assert "mend image_id" in reason.remedy
    (reason,) = planned(queue=(job(),), boot_failures=THREE[1:]).reasons
    assert "the last 2 instances never called" in reason.message


def test_a_boot_in_vain_is_told_no_more_once_a_worker_has_called() -> None:
    called = instance(launched_at=ago(1400), state="draining")
    (reason,) = planned(queue=(job(), job()), boot_failures=THREE[:1], instances=(called,)).reasons
    assert reason.message == "1 instance being asked for"
