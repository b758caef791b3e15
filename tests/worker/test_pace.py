"""Waits, reserves and the limits of silence: arithmetic alone."""

import itertools
import random
from datetime import UTC, datetime

import pytest

from worker.imds import instant
from worker.pace import Due, Reserve, seconds_until_kill
from worker.power import Silence

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


EC2 = Reserve(10.0, 30.0)


@pytest.mark.parametrize(
    ("left", "wanted", "expected"),
    [
        *[(120, 0, 110), (120, 20, 100), (120, 99, 90)],
        *[(115, 0, 105), (115, 99, 90), (100, 99, 90)],
        *[(40, 99, 20), (40, 0, 30), (20, 0, 10), (20, 99, 10)],
        *[(10, 0, 0), (5, 0, 0), (0, 0, 0)],
    ],
)
def test_a_job_is_killed_at_the_announced_end_less_the_reserve(left: float, wanted: float, expected: float) -> None:
    assert seconds_until_kill(left, wanted, EC2) == expected


def test_the_reserve_is_ten_to_thirty_seconds_and_a_full_notice_leaves_ninety() -> None:
    for left, wanted in itertools.product(range(60, 121), range(0, 100, 7)):
        until = seconds_until_kill(left, wanted, EC2)
        assert 10.0 <= left - until <= 30.0
        assert until >= 90.0 or left < 100


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
