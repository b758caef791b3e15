"""Waits, reserves and the limits of silence: arithmetic alone."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from worker.imds import instant
from worker.pace import Due, seconds_until_kill
from worker.power import Silence

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


@pytest.mark.parametrize(("left", "expected"), [(120, 100), (115, 95), (40, 30), (4, 3), (0, 0), (-60, 0)])
def test_a_job_is_killed_at_the_announced_end_less_the_reserve(left: float, expected: float) -> None:
    assert seconds_until_kill(NOW + timedelta(seconds=left), NOW) == expected


def test_waits_without_an_answer_grow_to_the_longest_and_never_beyond() -> None:
    due, waits = Due(random.Random(1)), []
    for _ in range(12):
        due.failed(100.0, 32.0)
        waits.append(due.at - 100.0)
    assert waits[0] <= 2.0
    assert all(16.0 <= wait <= 32.0 for wait in waits[4:])


def test_an_answer_ends_the_growing() -> None:
    due = Due(random.Random(1))
    for _ in range(12):
        due.failed(0.0, 32.0)
    due.after(0.0, 10.0)
    assert 9.0 <= due.at <= 10.0
    due.failed(0.0, 32.0)
    assert due.at <= 2.0


def test_workers_do_not_call_in_step() -> None:
    dues = [Due(random.Random(seed)) for seed in range(20)]
    for due in dues:
        due.after(0.0, 30.0)
    assert len({round(due.at, 3) for due in dues}) == 20


def test_silence_is_borne_longer_while_a_job_runs() -> None:
    silence = Silence(1800.0, 21600.0, now=0.0)
    assert not silence.exhausted(1799.0, running=False)
    assert silence.exhausted(1800.0, running=False)
    assert not silence.exhausted(21599.0, running=True)
    assert silence.exhausted(21600.0, running=True)


@pytest.mark.parametrize("text", ["2026-11-23T15:00:00Z", "2026-11-23T15:00:00.000000Z"])
def test_ec2s_instants_are_read_with_and_without_a_fraction(text: str) -> None:
    assert instant(text) == NOW
