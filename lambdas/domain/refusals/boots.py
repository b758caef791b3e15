"""Instances whose workers never call: after several in a row the pool stops launching and shows one's console."""

from datetime import datetime, timedelta

from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.fleet import BootFailure
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass

IN_A_ROW = 3
"""One may be bad luck (EC2's hosts fail too), two a coincidence."""
REST = timedelta(hours=1)
"""Until the next try, unless the pool is applied again; each further failure begins it anew."""
_SHOWN_LINES = 3
_SHOWN_MOST = 300


def boots_in_vain(snapshot: Snapshot, now: datetime) -> Reason | None:
    """Why nothing is launched although EC2 would: the last instances all booted in vain. None: they did not.

    In a row are those that were launched within IN_A_ROW starting periods of each other, since the owner last changed
    the pool, and since the launch of any instance there is whose worker has called."""
    failures = _in_a_row(snapshot)
    if len(failures) < IN_A_ROW:
        return None
    last = failures[-1]
    next_attempt = last.ended_at + REST
    if now >= next_attempt:
        return None
    period = format_duration(snapshot.pool.max_agent_starting_period)
    return Reason(
        reason_class=ReasonClass.CONFIGURATION,
        code=OwnCode.NEVER_REPORTED,
        message=f"the workers of the last {len(failures)} instances never called within {period}{_console(failures)}",
        remedy=(
            "Mend image_id, startup_script or the network's way to the stack's endpoints in the pool file, then run "
            "`lowtide pools apply FILE`: the next try is made at once."
        ),
        since=failures[IN_A_ROW - 1].ended_at,
        last_seen=last.ended_at,
        count=len(failures),
        next_attempt=next_attempt,
    )


def last_boot_in_vain(snapshot: Snapshot) -> str:
    """Of the latest boot where nothing has come of it, while that is no reason to stop yet; else empty."""
    failures = _in_a_row(snapshot)
    if not 0 < len(failures) < IN_A_ROW:
        return ""
    period = format_duration(snapshot.pool.max_agent_starting_period)
    whose = "the last instance" if len(failures) == 1 else f"the last {len(failures)} instances"
    return f"the worker of {whose} never called within {period}{_console(failures)}"


def _in_a_row(snapshot: Snapshot) -> list[BootFailure]:
    """Oldest first."""
    called = [each.launched_at for each in snapshot.instances if each.reported_at is not None]
    begin = max([at for at in (*called, snapshot.pool.applied_at) if at is not None], default=None)
    found = [each for each in snapshot.boot_failures if begin is None or each.launched_at > begin]
    if not found:
        return []
    window = snapshot.pool.max_agent_starting_period * IN_A_ROW
    return [each for each in found if found[-1].launched_at - each.launched_at <= window]


def _console(failures: list[BootFailure]) -> str:
    """The end of the latest console that there is."""
    known = [each for each in failures if each.console and each.console.strip()]
    if not known:
        return "; none of them has written to its console"
    lines = (known[-1].console or "").strip().splitlines()[-_SHOWN_LINES:]
    said = " / ".join(line.strip() for line in lines)[-_SHOWN_MOST:]
    return f"; the console of {known[-1].instance_id} ends: {said}"
