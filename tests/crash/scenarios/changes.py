"""What people change: pools that are applied, tried or deleted, and the whole stack."""

import contextlib
from dataclasses import replace

from lambdas import names
from lambdas.domain.pools.machine import Machine
from lowtide.sim.functions import BUCKET, Crashed, Function
from lowtide.sim.world import World
from tests.crash.deployed import OWN_TEMPLATE, passes, running, send, taken_in, world
from tests.crash.scenarios.scenario import Scenario


def prepare_unused_template() -> World:
    """The pool's new version needs the launch template of the old one no more."""
    made = running(pool=OWN_TEMPLATE)
    made.held |= {Function.RECONCILE, Function.TICK}
    current = made.config.pool("cpu")
    assert current is not None
    made.apply(replace(current, machine=Machine()))
    return made


def prepare_deleted_pool() -> World:
    made = world()
    send(made, 2)
    taken_in(made)
    current = made.config.pool("cpu")
    assert current is not None
    made.apply(replace(current, deleted=True))
    return made


def dry_run(of: World) -> None:
    """A killed one is asked again by whoever asked."""
    for _ in range(2):
        with contextlib.suppress(Crashed):
            answer = of.invoke(Function.RECONCILE, {"dry_run": "cpu"})
            assert [shape["works"] for shape in answer["shapes"]] == [True]
            return


def create_stack(of: World) -> None:
    for _ in range(2):
        try:
            of.invoke(Function.TEARDOWN, {"RequestType": "Create"})
        except Crashed:
            continue
        return


def prepare_teardown() -> World:
    """An instance with a launch template of its pool's; the bucket goes with the stack."""
    made = running(pool=OWN_TEMPLATE)
    made.s3.buckets[BUCKET] = {"inputs/one", "checkpoints/cpu/job/1"}
    made.held = {Function.TICK, Function.RECONCILE, Function.WORKER_API, Function.NEWS}
    return made


def delete_stack(of: World) -> None:
    """Lambda makes an asynchronous invocation that failed again."""
    told = {names.PROPERTY_EMPTIED: BUCKET}
    for _ in range(2):
        try:
            result = of.invoke(Function.TEARDOWN, {"RequestType": "Delete", "ResourceProperties": told})
        except Crashed:
            continue
        assert result.succeeded, result.reason
        assert not of.ec2.pool_templates.made
        assert not of.s3.buckets[BUCKET]
        return


SCENARIOS: dict[str, Scenario] = {
    "unused template": Scenario(prepare_unused_template, passes),
    "deleted pool": Scenario(prepare_deleted_pool, passes),
    "dry run": Scenario(lambda: world(OWN_TEMPLATE), dry_run),
    "create stack": Scenario(world, create_stack),
    "delete stack": Scenario(prepare_teardown, delete_stack, ends=False),
}
