"""The table's layout: every key is made here. See docs/architecture.md, "The table".

| item | pk | sk |
| --- | --- | --- |
| pool | `POOL#<pool>` | `CONFIG` |
| its state | `POOL#<pool>` | `STATE`, `IMAGES` |
| its fleet | `POOL#<pool>` | `INSTANCE#<id>`, `LEASE#<instance>#<job>`, `INTENT#<id>`, `MARK#<ct>#<type>#<zone>` |
| its templates | `POOL#<pool>` | `TEMPLATE#<name>` |
| instances that never called | `POOL#<pool>` | `BOOT#<id>` |
| pool list | `POOLS` | `<pool>` |
| pool history | `HISTORY#<pool>` | `VERSION#<8 digits>` |
| decisions | `DECISIONS#<pool>` | `<instant>#<id>` |
| queue | `QUEUE#<pool>#<shard>` | `<999-rank>#<submitted_at>#<job>` |
| job | `JOB#<id>` | `JOB`: what changes; `SPEC`: what was asked, up to 256 KiB; `ATTEMPT#<4 digits>` |
| how long a recurring job took | `RUNS#<pool>#<what recurs>` | `<end>#<job>` |
| bills of ended instances | `BILLS` | `<end>#<instance>` |
| parked message | `PARKED` | `<instant>#<message id>` |
| its body | `PARKED#<instant>#<message id>` | `BODY` |
| strangers' news | `NEWS#<instance>` | `WARNING` |
| the stack | `STACK` | `CONTROL`, `TICK`, `OBSERVATION`, `BUCKET`, `API` |
| pages of an observation under way | `PAGES#<its start>` | `<4 digits>` |
| prices | `MARKET` | `<type>#<zone>` |

Lists in the index (gpk, gsk):

| list | what is in it | order |
| --- | --- | --- |
| `DUE` | STATE of every pool not at rest | when to look at it |
| `FLEET` | every INSTANCE | instance id |
| `INTENT` | every open INTENT | `not_after` |
| `NEWS` | every kept warning about an unknown instance | the announced end |
| `JOBS#<pool>` | every JOB of a pool | last change |
| `DEADLINES#<pool>` | every queue entry with a deadline | the deadline |
"""

import zlib
from datetime import datetime

from lambdas import names
from lambdas.domain.instants import to_text

QUEUE_SHARDS = 4
"""Key shards of a pool's queue: DynamoDB takes 1,000 writes a second on one key, a queue entry is written twice."""

CONFIG = "CONFIG"
STATE = names.ITEM_POOL_STATE
JOB = names.ITEM_JOB
SPEC = "SPEC"
POOLS = "POOLS"
BILLS = "BILLS"
PARKED = "PARKED"
STACK = "STACK"
CONTROL = "CONTROL"
TICK = "TICK"
OBSERVATION = "OBSERVATION"
BUCKET = "BUCKET"
API = "API"
BODY = "BODY"
IMAGES = "IMAGES"
WARNING = "WARNING"
MARKET = "MARKET"
INSTANCE_PREFIX = "INSTANCE#"
LEASE_PREFIX = "LEASE#"
INTENT_PREFIX = "INTENT#"
MARK_PREFIX = "MARK#"
ATTEMPT_PREFIX = "ATTEMPT#"
RELEASE_PREFIX = "RELEASE#"
TEMPLATE_PREFIX = "TEMPLATE#"
BOOT_PREFIX = "BOOT#"

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


def leases_of(instance_id: str) -> str:
    """Prefix of an instance's leases."""
    return f"{LEASE_PREFIX}{instance_id}#"


def lease(instance_id: str, job_id: str) -> str:
    return f"{LEASE_PREFIX}{instance_id}#{job_id}"


def intent(intention_id: str) -> str:
    return f"{INTENT_PREFIX}{intention_id}"


def mark(capacity_type: str, instance_type: str, zone: str) -> str:
    return f"{MARK_PREFIX}{capacity_type}#{instance_type}#{zone}"


def boot(instance_id: str) -> str:
    return f"{BOOT_PREFIX}{instance_id}"


def template(name: str) -> str:
    return f"{TEMPLATE_PREFIX}{name}"


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


def deadlines_of(name: str) -> str:
    return f"DEADLINES#{name}"


def deadline(at: datetime, job_id: str) -> str:
    return f"{to_text(at)}#{job_id}"


def runs_of(name: str, recurs_as: str) -> str:
    return f"RUNS#{name}#{recurs_as}"


def run(ended_at: datetime, job_id: str) -> str:
    return f"{to_text(ended_at)}#{job_id}"


def job_change(changed_at: datetime, job_id: str) -> str:
    """A job's place in its pool's list: last change first when read backwards."""
    return f"{to_text(changed_at)}#{job_id}"


def attempt(number: int) -> str:
    return f"{ATTEMPT_PREFIX}{number:04d}"


def release(number: int) -> str:
    """Beside the attempt of that number, which a lease given back never was."""
    return f"{RELEASE_PREFIX}{number:04d}"


def bill(ended_at: datetime, instance_id: str) -> str:
    """A bill's place among those of all pools, of which some may be deleted since: by the instance's end."""
    return f"{to_text(ended_at)}#{instance_id}"


def parked_body(parked_id: str) -> str:
    return f"PARKED#{parked_id}"


def news(instance_id: str) -> str:
    return f"NEWS#{instance_id}"


def pages(started_at: datetime) -> str:
    return f"PAGES#{to_text(started_at)}"


def page(number: int) -> str:
    return f"{number:04d}"


def market(instance_type: str, zone: str) -> str:
    return f"{instance_type}#{zone}"
