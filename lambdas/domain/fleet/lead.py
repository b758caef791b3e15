"""How long the pool's instances took lately from launch to their worker's first call, and so how early to ask."""

from datetime import timedelta

from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.pools import Pool

KEPT = 10
"""Launches that are remembered: enough for a slow one to be among them, few enough to follow a new image."""
UNKNOWN = timedelta(minutes=5)
"""Counted where no launch is remembered: a GPU type with its image takes three to five minutes (bare metal more)."""

LaunchTimes = tuple[tuple[str, int], ...]
"""(instance id, whole seconds), the latest last."""


def launch_times(snapshot: Snapshot) -> LaunchTimes:
    """Those remembered and those of the pool's instances, the latest ten."""
    known = dict(snapshot.launch_times)
    reported = sorted(
        (each for each in snapshot.instances if each.reported_at is not None and each.instance_id not in known),
        key=lambda each: (each.reported_at or each.launched_at, each.instance_id),
    )
    new = [(each.instance_id, _seconds((each.reported_at or each.launched_at) - each.launched_at)) for each in reported]
    return (*snapshot.launch_times, *new)[-KEPT:]


def _seconds(period: timedelta) -> int:
    return max(0, round(period.total_seconds()))


def lead(snapshot: Snapshot) -> timedelta:
    """The slowest remembered launch, never more than the starting period, and one look of the tick."""
    return slowest(launch_times(snapshot), snapshot.pool) + snapshot.settings.look_again


def slowest(known: LaunchTimes, pool: Pool) -> timedelta:
    times = [timedelta(seconds=seconds) for _, seconds in known]
    return min(max(times, default=UNKNOWN), pool.max_agent_starting_period)
