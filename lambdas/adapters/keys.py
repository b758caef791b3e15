"""The table's layout: every key is made here. See docs/architecture.md, "The table".

| item | pk | sk | index (gpk, gsk) |
| --- | --- | --- | --- |
| pool, its state, its fleet | `POOL#<pool>` | `CONFIG`, `STATE`, `IMAGES`, `INSTANCE#<id>`, `LEASE#<instance>#<job>`, `INTENT#<id>`, `MARK#<ct>#<type>#<zone>` | STATE: `DUE`, instant while not at rest; INSTANCE: `FLEET`, instance id; INTENT: `INTENT`, instant |
| pool list | `POOLS` | `<pool>` | |
| pool history | `HISTORY#<pool>` | `VERSION#<8 digits>` | |
| decisions | `DECISIONS#<pool>` | `<instant>#<id>` | |
| queue | `QUEUE#<pool>#<shard>` | `<999-rank>#<submitted_at>#<job>` | |
| job and its attempts | `JOB#<id>` | `JOB`, `ATTEMPT#<4 digits>` | JOB: `JOBS#<pool>`, `<updated_at>#<id>` |
| parked message | `PARKED` | `<instant>#<id>` | |
| strangers' news | `NEWS#<instance>` | `WARNING` | `NEWS`, `<announced end>#<instance>` |
| the stack | `STACK` | `CONTROL`, `TICK`, `OBSERVATION`, `BUCKET` | |
| pages of an observation under way | `PAGES#<its start>` | `<4 digits>` | |
| prices | `MARKET` | `<type>#<zone>` | |
"""

import zlib
from datetime import datetime

from lambdas.domain.instants import to_text

QUEUE_SHARDS = 4
"""Key shards of a pool's queue: DynamoDB takes 1,000 writes a second on one key, a queue entry is written twice."""

CONFIG = "CONFIG"
STATE = "STATE"
JOB = "JOB"
POOLS = "POOLS"
PARKED = "PARKED"
STACK = "STACK"
CONTROL = "CONTROL"
TICK = "TICK"
OBSERVATION = "OBSERVATION"
BUCKET = "BUCKET"
IMAGES = "IMAGES"
WARNING = "WARNING"
MARKET = "MARKET"
INSTANCE_PREFIX = "INSTANCE#"
LEASE_PREFIX = "LEASE#"
INTENT_PREFIX = "INTENT#"
MARK_PREFIX = "MARK#"
ATTEMPT_PREFIX = "ATTEMPT#"

# lists in the sparse index
DUE = "DUE"
FLEET = "FLEET"
INTENT = "INTENT"
NEWS = "NEWS"


def pool(name: str) -> str:
    return f"POOL#{name}"


def history(name: str) -> str:
    return f"HISTORY#{name}"


def version(number: int) -> str:
    return f"VERSION#{number:08d}"


def decisions(name: str) -> str:
    return f"DECISIONS#{name}"


def instance(instance_id: str) -> str:
    return f"{INSTANCE_PREFIX}{instance_id}"


def lease(instance_id: str, job_id: str) -> str:
    return f"{LEASE_PREFIX}{instance_id}#{job_id}"


def intent(intention_id: str) -> str:
    return f"{INTENT_PREFIX}{intention_id}"


def mark(capacity_type: str, instance_type: str, zone: str) -> str:
    return f"{MARK_PREFIX}{capacity_type}#{instance_type}#{zone}"


def shard(job_id: str) -> int:
    """Always the same shard for a job, whatever process asks."""
    return zlib.crc32(job_id.encode()) % QUEUE_SHARDS


def queue(name: str, number: int) -> str:
    return f"QUEUE#{name}#{number}"


def queue_entry(priority: int, submitted_at: datetime, job_id: str) -> str:
    """Text order is rank order: higher priority first, then first in, first out; ties by job id."""
    return f"{999 - (priority + 100):03d}#{to_text(submitted_at)}#{job_id}"


def job(job_id: str) -> str:
    return f"JOB#{job_id}"


def jobs_of(name: str) -> str:
    return f"JOBS#{name}"


def attempt(number: int) -> str:
    return f"{ATTEMPT_PREFIX}{number:04d}"


def news(instance_id: str) -> str:
    return f"NEWS#{instance_id}"


def pages(started_at: datetime) -> str:
    return f"PAGES#{to_text(started_at)}"


def page(number: int) -> str:
    return f"{number:04d}"


def market(instance_type: str, zone: str) -> str:
    return f"{instance_type}#{zone}"
