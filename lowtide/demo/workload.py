"""The demo's jobs and the trouble that they meet. Both are fixed by a seed."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SPOT = "aws-spot-g4dn-metal"
ON_DEMAND = "aws-on-demand-g4dn-metal"
CPU = "cpu-spot"


@dataclass(frozen=True, slots=True)
class Wave:
    """Jobs of one pool that are pushed together."""

    at_seconds: float
    """After the demo's first push."""
    pool: str
    jobs: int
    slots: tuple[int, ...]
    """Widths to draw from."""
    batches: tuple[int, int]
    """Least and most work; a batch takes about a tenth of a second."""


WAVES = (
    Wave(0, CPU, 32, (1,), (30, 120)),
    Wave(0, SPOT, 14, (1, 2, 4, 8), (60, 160)),
    Wave(0, ON_DEMAND, 6, (4, 8), (30, 60)),
    Wave(25, CPU, 30, (1,), (30, 120)),
    Wave(35, SPOT, 14, (1, 2, 4, 8), (60, 160)),
    Wave(60, CPU, 16, (0, 1), (20, 60)),
)
"""112 jobs, so that every pool has work while its trouble lasts."""

TROUBLE: tuple[Mapping[str, Any], ...] = (
    # The market for g4dn.metal passes the pool's limit ($3.60) for a while: what runs is reclaimed, nothing new is had.
    {"price": "4.25", "instance_type": "g4dn.metal", "from": 38, "to": 62},
    # One zone runs dry; then, for a while, no zone has any of what the CPU pool may use.
    {"capacity": 0, "zone": "us-east-1b", "from": 15, "to": 70},
    {"capacity": 0, "instance_type": "c7i.large", "from": 28, "to": 50},
    {"capacity": 0, "instance_type": "m7i.large", "from": 28, "to": 50},
    {"capacity": 0, "instance_type": "m6i.large", "from": 28, "to": 50},
    # Instances are taken away in the middle of jobs, one of them without a word.
    {"interrupt": 1, "from": 16, "instance_type": "g4dn.metal", "notice": True},
    {"interrupt": 1, "from": 18, "notice": True},
    {"interrupt": 1, "from": 22, "notice": False},
    {"interrupt": 2, "from": 58, "notice": True},
)
"""Seconds from the first push. On top of the seeded market and its ordinary unkindness."""


def messages(seed: int, inputs: list[dict[str, str]]) -> Iterator[tuple[Wave, dict[str, Any]]]:
    """Every job as the body of its message, with the wave it belongs to."""
    for wave_number, wave in enumerate(WAVES):
        for number in range(wave.jobs):
            chance = random.Random(f"{seed}/{wave_number}/{number}")  # noqa: S311 - nothing secret
            batches = chance.randint(*wave.batches)
            yield (
                wave,
                {
                    "id": f"demo-{wave.pool}-{wave_number}-{number:02d}",
                    "pool": wave.pool,
                    "slots": chance.choice(wave.slots),
                    "command": ["python3", "estimate.py", str(chance.randrange(10_000)), str(batches)],
                    "inputs": inputs,
                    "tags": {"wave": str(wave_number)},
                },
            )


def bodies(seed: int, inputs: list[dict[str, str]]) -> Iterator[tuple[Wave, str]]:
    return ((wave, json.dumps(message)) for wave, message in messages(seed, inputs))
