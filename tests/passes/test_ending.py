from datetime import datetime, timedelta

import pytest

from lambdas.adapters import items, keys
from lambdas.adapters.decisions import Decisions
from lambdas.adapters.launch_table import LaunchTable, Superseded
from lambdas.adapters.pool_table import PoolTable
from lambdas.domain.fleet.actions import ReturnJob, Terminate
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import to_text
from lambdas.domain.plan.plan import Plan, plan
from lowtide.sim.calls import FailNext, Recorder, aws_error
from tests.passes.world import World, changed, pool

IDLE = 21 * 60


def running(count: int, **changes: object) -> World:
    """A pool with so many idle instances and an empty queue."""
    world = World()
    world.apply(pool(max_instances=count, **changes))
    world.enqueue(count)
    world.run()
    world.clear_queue()
    for instance_id in world.instances():
        world.report(instance_id)
    return world


def keep_alive(world: World) -> None:
    """Workers that are idle call on."""
    for instance_id in world.instances():
        world.table.update(
            keys.pool("cpu"),
            keys.instance(instance_id),
            "SET heartbeat_at = :now",
            values={":now": to_text(world.clock())},
        )


def test_an_idle_instance_is_drained_and_then_terminated() -> None:
    world = running(2)
    world.run()
    assert len(world.ec2.running()) == 2, "not idle for long enough"
    world.advance(IDLE)
    keep_alive(world)
    world.run()
    assert world.ec2.running() == []
    assert {i.state for i in world.instances().values()} == {"draining"}


def test_an_idle_instance_that_takes_a_job_after_the_snapshot_is_kept() -> None:
    world = running(2)
    world.advance(IDLE)
    keep_alive(world)
    kept, _ = sorted(world.instances())

    def late_claim(snapshot: Snapshot, now: datetime) -> Plan:
        world.lease(kept)
        return plan(snapshot, now)

    world.run(decide=late_claim)
    assert [machine.instance_id for machine in world.ec2.running()] == [kept]
    assert world.instances()[kept].state == "running"


def test_a_stalled_pass_drains_nothing() -> None:
    world = running(1)
    pools, (instance_id,) = PoolTable(world.table), world.instances()
    stalled = pools.begin("cpu", world.clock())
    pools.begin("cpu", world.clock())
    with pytest.raises(Superseded):
        LaunchTable(world.table).drain("cpu", [instance_id], stalled.epoch, "idle", world.clock())
    assert world.instances()[instance_id].state == "running"


def test_an_instance_past_its_lifetime_takes_no_job_keeps_its_own_and_ends_with_the_last_of_them() -> None:
    world = running(1, min_instances=1, max_instance_lifetime=timedelta(minutes=10))
    (old,) = world.instances()
    world.apply(changed(world.config.pool("cpu") or pool(), max_instances=2))
    world.advance(601)
    keep_alive(world)
    given = {"claimed_at": world.clock(), "renewed_at": world.clock(), "request_id": "r"}
    held = items.lease_item(Lease(job_id="job", pool="cpu", instance_id=old, fence=1, slots=1, **given))
    world.table.put(held)
    world.lease(old)
    world.run()
    kept = Decisions(world.table).in_force("cpu", world.clock())
    assert kept is not None
    assert {"action": "drain", "why": "older than 10m", "result": "done", "detail": old} in kept.actions
    world.run()
    assert (world.instances()[old].state, world.instances()[old].drain_reason) == ("draining", "older than 10m")
    assert old in {machine.instance_id for machine in world.ec2.running()}
    world.table.delete(held["pk"], held["sk"])
    world.lease(old, leases=0)
    world.run()
    assert old not in {machine.instance_id for machine in world.ec2.running()}


def test_a_stalled_pass_stops_no_claims() -> None:
    world = running(1)
    pools, (instance_id,) = PoolTable(world.table), world.instances()
    stalled = pools.begin("cpu", world.clock())
    pools.begin("cpu", world.clock())
    with pytest.raises(Superseded):
        LaunchTable(world.table).stop_claims("cpu", [instance_id], stalled.epoch, "old", world.clock())
    assert world.instances()[instance_id].state == "running"


def test_one_unknown_id_does_not_keep_the_others_running() -> None:
    world = running(3)
    world.advance(IDLE)
    keep_alive(world)
    unknown = sorted(world.instances())[1]
    world.ec2.unknown = {unknown}
    world.run()
    assert [machine.instance_id for machine in world.ec2.running()] == [unknown]


def test_a_termination_that_ec2_forbids_is_told_and_tried_again() -> None:
    world = running(1)
    world.advance(IDLE)
    keep_alive(world)
    denied = aws_error("TerminateInstances", "UnauthorizedOperation", "You are not authorized", status=403)
    world.hook(FailNext(errors={"ec2.terminate_instances": [denied]}))
    world.run()
    assert ("permission", "UnauthorizedOperation") in world.reasons()
    assert world.state()["gsk"], "looked at again"
    world.hook(None)
    world.advance(60)
    world.run()
    assert world.ec2.running() == []


def test_an_instance_that_is_not_draining_is_drained_before_it_is_ended() -> None:
    world = running(1)
    (instance_id,) = world.instances()
    world.lease(instance_id)

    def orders(snapshot: Snapshot, now: datetime) -> Plan:
        decided = plan(snapshot, now)
        return Plan(
            actions=(Terminate(instance_ids=(instance_id,), why="test"),),
            numbers=decided.numbers,
            reasons=(),
            due=None,
        )

    world.run(decide=orders)
    assert len(world.ec2.running()) == 1, "it holds a lease"
    world.lease(instance_id, 0)
    world.run(decide=orders)
    assert world.ec2.running() == []


def test_an_instance_that_ec2_reports_gone_is_forgotten_and_the_pool_comes_to_rest() -> None:
    world = running(1)
    world.advance(IDLE)
    keep_alive(world)
    world.run()
    for _ in range(8):
        world.advance(60)
        world.observe()
        world.run()
    assert world.instances() == {}
    state = world.state()
    assert "gsk" not in state
    assert "gpk" not in state
    assert state["resting"] is True


def test_returning_a_job_goes_through_the_ledger() -> None:
    world = running(1)
    action = ReturnJob(job_id="j", instance_id="i", fence=3, why="gone")

    def returns(snapshot: Snapshot, now: datetime) -> Plan:
        decided = plan(snapshot, now)
        return Plan(actions=(action,), numbers=decided.numbers, reasons=(), due=None)

    world.run(decide=returns)
    assert world.ledger.returned == [action]


def never_called(count: int = 2) -> World:
    """Launched instances whose starting period is over."""
    world = World()
    world.apply(pool(max_instances=count))
    world.enqueue(count)
    world.run()
    world.clear_queue()
    world.advance(IDLE)
    return world


def test_an_instance_that_never_called_leaves_what_it_wrote_to_its_console() -> None:
    world = never_called()
    world.ec2.console = "x" * 5000 + "Traceback: no network\n"
    world.run()
    kept = PoolTable(world.table).records("cpu")
    assert kept is not None
    assert {failure.instance_id for failure in kept.boot_failures} == set(world.ec2.machines)
    (console,) = [failure.console for failure in kept.boot_failures if failure.console]
    assert console.endswith("Traceback: no network")
    assert len(console) == 2000


def test_a_console_that_cannot_be_read_holds_nothing_up() -> None:
    world = never_called(1)
    world.hook(FailNext(errors={"ec2.get_console_output": [aws_error("GetConsoleOutput", "InternalError", "no")]}))
    world.run()
    assert world.ec2.running() == []
    (failure,) = world.under(keys.BOOT_PREFIX)
    assert "console" not in failure


def test_an_older_instance_type_shows_what_ec2_has_of_its_console() -> None:
    world = never_called(1)
    error = aws_error("GetConsoleOutput", "UnsupportedOperation", "This instance type does not support it")
    world.hook(FailNext(errors={"ec2.get_console_output": [error]}))
    world.run()
    (failure,) = world.under(keys.BOOT_PREFIX)
    assert failure["console"] == "boot: no network"


def test_an_instance_that_called_and_ends_is_no_boot_failure() -> None:
    world = running(1)
    world.advance(IDLE)
    keep_alive(world)
    world.run()
    assert world.ec2.running() == []
    assert world.under(keys.BOOT_PREFIX) == []


def test_an_end_that_ec2_does_not_act_on_is_asked_for_once_every_two_looks() -> None:
    world = running(1)
    world.advance(IDLE)
    keep_alive(world)
    asked = Recorder()
    world.hook(asked)
    for _ in range(30):  # ten minutes, three passes a minute
        world.run()
        world.advance(20)
    ends = [each for each in asked.calls if each == "ec2.terminate_instances"]
    assert len(ends) == 5
