"""Bad luck in a storm: clocks, functions, services and workers."""

from datetime import timedelta

from lowtide.sim.functions import Function
from lowtide.sim.hosts import Host
from lowtide.sim.storm.stage import MINUTE, Stage
from lowtide.sim.storm.story import Incident


def clocks(stage: Stage, told: Incident) -> None:
    """One function's clock, or every worker's, goes wrong."""
    skew = timedelta(seconds=(-90, -20, 20, 90)[told.number - 1])
    if told.second % 2:
        function = (Function.TICK, Function.RECONCILE, Function.WORKER_API, Function.NEWS)[told.second // 2 % 4]
        stage.world.skews[function] = skew
    else:
        for host in stage.world.hosts.values():
            host.ahead = skew


def out(stage: Stage, told: Incident) -> None:
    world = stage.world
    function = (Function.WORKER_API, Function.TICK, Function.RECONCILE, Function.NEWS)[told.number - 1]
    lasts = timedelta(minutes=told.number + 1) if told.second % 2 else timedelta(minutes=9)
    world.held.add(function)
    world.at(world.clock() + lasts, lambda: world.held.discard(function))


def all_out(stage: Stage, told: Incident) -> None:  # noqa: ARG001 - as every incident's
    """Nothing reaches the control plane, for longer than an idle worker waits for an answer in some stories."""
    world = stage.world
    world.held.update(Function)
    world.at(world.clock() + 7 * MINUTE, world.held.clear)


def service_out(stage: Stage, told: Incident) -> None:
    service = ("dynamodb", "sqs", "ec2", "dynamodb")[told.number - 1]
    stage.strikes.out[service] = stage.world.clock() + timedelta(seconds=20 * told.number)


def _booted(stage: Stage, name: str) -> list[Host]:
    now, hosts = stage.world.clock(), stage.world.hosts
    ids = sorted(each.instance_id for each in stage.world.alive(name) if each.instance_id in hosts)
    return [hosts[each] for each in ids if (at := hosts[each].boots_at) is not None and at <= now]


def worker_dies(stage: Stage, told: Incident) -> None:
    for host in _booted(stage, told.pool)[: told.number]:
        host.restart()


def worker_hangs(stage: Stage, told: Incident) -> None:
    """Some come back, long after their leases are over; others lie dead with them."""
    for host in _booted(stage, told.pool)[: (told.number + 1) // 2]:
        host.hang()
        if told.number % 2:
            stage.world.at(stage.world.clock() + 4 * told.number * MINUTE, host.come_back)


def ended_by_hand(stage: Stage, told: Incident) -> None:
    world = stage.world
    for instance in sorted(world.alive(told.pool), key=lambda each: each.instance_id)[: told.number // 2]:
        world.market.shut_down(instance.instance_id, world.clock())
