"""The situations in which functions are killed: each is a world up to a point, and a short act from there on.

Every call of the act is a crash point, of whatever function. Acts are as short as they can be, and what is not the
matter is held off meanwhile.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from botocore.exceptions import ReadTimeoutError

from lambdas import names
from lambdas.adapters import job_items, keys
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_table import QUEUE_LOOK
from lambdas.domain.instants import to_text
from lambdas.domain.machine import Machine
from lambdas.domain.pools import OnDemandFallback, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.market import catalogue
from lowtide.market.model import Offering
from lowtide.market.unkindness import Unkindness
from lowtide.sim.calls import FailNext, Hook, KillAt, Request, Response, aws_error
from lowtide.sim.functions import BUCKET, JOB_ROLE, ON_DEMAND_TEMPLATE, TABLE, Crashed, Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.market.worlds import REGION, Steady
from worker.api import Unanswered

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NOW = timedelta(0)
UNKIND = replace(
    Unkindness.none(),
    describe_lag=40 * SECOND,
    pending=10 * SECOND,
    boot=20 * SECOND,
    shutting_down=20 * SECOND,
)
"""EC2's usual periods, shortened where nothing depends on them; trouble is each scenario's own."""
SETTINGS = Settings(poll_first=10 * SECOND)
CPU = "m7g.large"
OTHER = "c7g.large"


def facts(name: str, slots: int) -> TypeFacts:
    known = catalogue.facts(name)
    assert known is not None
    return TypeFacts(
        name=name,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(name),
        slots=slots,
    )


def cpu(**changes: Any) -> Pool:
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": Decimal("0.06"), "types": (facts(CPU, 2),), "max_instances": 2},
        **{"max_idle_agent_period": 2 * MINUTE, "max_agent_starting_period": 5 * MINUTE, **changes},
    }
    return Pool(name="cpu", **given)


OWN_TEMPLATE = cpu(machine=Machine(root_volume_size=300))
NEIGHBOUR = Pool(name="other", types=(facts(OTHER, 1),), max_instances=1, max_idle_agent_period=MINUTE)


def world(pool: Pool | None = None, *, conditions: Steady | None = None, **unkindness: Any) -> World:
    """A deployed stack with a pool and its neighbour, quiet."""
    made = World(conditions=conditions or Steady(), unkindness=replace(UNKIND, **unkindness), settings=SETTINGS)
    made.apply(pool or cpu())
    made.apply(NEIGHBOUR)
    assert made.settle(5 * MINUTE)
    return made


def send(to: World, count: int = 1, *, seconds: float = 45, exit_code: int = 0, **fields: Any) -> None:
    for _ in range(count):
        to.send({"pool": "cpu", "command": command(seconds, exit_code), **fields})


def taken_in(to: World) -> None:
    """What was sent is accepted; no pass has looked yet."""
    to.held.add(Function.RECONCILE)
    assert to.run(lambda: not to.sqs.queues[to.jobs_url].messages, NOW)


def passes(of: World) -> None:
    """The passes that are asked for now, those they ask for themselves included."""
    of.held.discard(Function.RECONCILE)
    of.run(lambda: not of.sqs.queues[of.reconcile_url].messages, NOW)


def jobs(of: World, state: str) -> int:
    return sum(item["sk"] == keys.JOB and item["state"] == state for item in of.stored())


def running(**changes: Any) -> World:
    """One job runs on one instance."""
    made = world(**changes)
    send(made, seconds=100)
    assert made.run(lambda: jobs(made, "running") == 1, 5 * MINUTE)
    return made


def instance_of(of: World) -> str:
    [instance] = of.alive("cpu")
    return instance.instance_id


def intentions(of: World) -> int:
    return sum(item["sk"].startswith(keys.INTENT_PREFIX) for item in of.stored())


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[], World]
    act: Callable[[World], object]
    faults: Callable[[], Hook] | None = None
    """Trouble during the act, beside the kill."""
    afterwards: Callable[[World], object] = lambda _: None
    """What the outside does once the act is over."""
    ends: bool = True
    """False: the stack is deleted, so jobs do not end."""


# --- intake -----------------------------------------------------------------------------------------------------------


def prepare_batch() -> World:
    made = world()
    run = {"pool": "cpu", "command": command(20)}
    for body in (
        {"id": "job", **run},
        "not JSON",
        {"id": "job", **run, "slots": 2},
        {"id": "job", **run},
        {"id": "nobody", **run, "pool": "nobody"},
        "x" * 300_000,
    ):
        made.send(body)
    return made


def prepare_batch_again() -> World:
    """The same batch a second time: the first time all was done, but the answer did not get through."""
    made = prepare_batch()
    again = [replace(message) for message in made.sqs.queues[made.jobs_url].messages]
    take_in(made)
    made.sqs.queues[made.jobs_url].messages.extend(again)
    made.held.add(Function.RECONCILE)
    return made


def take_in(of: World) -> None:
    of.held.add(Function.RECONCILE)
    of.run(lambda: not of.sqs.queues[of.jobs_url].messages, NOW)
    of.held.discard(Function.RECONCILE)


# --- launching --------------------------------------------------------------------------------------------------------


def prepare_launch(**changes: Any) -> World:
    made = world(**changes)
    send(made, 3)
    taken_in(made)
    return made


def prepare_refusal() -> World:
    made = prepare_launch()
    for zone, count in (("a", 1), ("b", 0), ("c", 0)):
        made.market.set_capacity(CPU, f"us-east-1{zone}", count, made.clock())
    return made


def prepare_launch_error() -> World:
    """EC2 has refused; the next pass gives the job up."""
    made = world(cpu(launch_error_timeout=30 * MINUTE))
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 0, made.clock())
    send(made, 2)
    taken_in(made)
    return made


def prepare_quota() -> World:
    """EC2 lets the account run one instance's vCPUs."""
    return prepare_launch(spot_quotas={"Standard": 2})


def raise_quota(of: World) -> None:
    of.market.unkindness = replace(of.market.unkindness, spot_quotas={"Standard": 64})


def give_up(of: World) -> None:
    of.run(lambda: jobs(of, "failed") == 2, 3 * MINUTE)


def prepare_throttled() -> World:
    made = world(bucket=1.0, bucket_refill_per_second=0.05)
    send(made, 3)
    taken_in(made)
    made.market.admit(made.clock())
    return made


def prepare_slip() -> World:
    made = prepare_launch()
    made.ec2.slips = 1
    return made


def prepare_unused_template() -> World:
    """The pool's new version needs the launch template of the old one no more."""
    made = running(pool=OWN_TEMPLATE)
    made.held |= {Function.RECONCILE, Function.TICK}
    current = made.config.pool("cpu")
    assert current is not None
    made.apply(replace(current, machine=Machine()))
    return made


def prepare_lost_answer() -> World:
    """A launch was carried out, but the pass never heard; the pass to come repeats the call."""
    made = prepare_launch()
    made.hook = FailNext(lost={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]})
    made.held.discard(Function.RECONCILE)
    assert made.run(lambda: intentions(made) == 1, NOW)
    made.hook = None
    return made


def prepare_adoption() -> World:
    """A launch whose pass died right after the call; nothing but time has passed since. Its workers are not heard."""
    made = prepare_lost_answer()
    made.held |= {Function.RECONCILE, Function.TICK, Function.WORKER_API, Function.NEWS}
    made.run_for(2 * MINUTE)
    return made


def adopt(of: World) -> None:
    of.held -= {Function.RECONCILE, Function.TICK, Function.NEWS}
    next_tick(of)


def adopt_alone(of: World) -> None:
    of.held -= {Function.TICK, Function.NEWS}
    only_tick(of)


def prepare_closing() -> World:
    """The instances are adopted; one more clean look and the intention is closed."""
    made = prepare_adoption()
    made.held.clear()
    assert made.run(lambda: _clean_observations(made) == 1, 4 * MINUTE)
    passes(made)
    return made


def _clean_observations(of: World) -> int:
    found = [item for item in of.stored() if item["sk"].startswith(keys.INTENT_PREFIX)]
    return max((item["clean_observations"] for item in found), default=0)


def prepare_warned_unknown() -> World:
    made = prepare_adoption()
    made.market.interrupt(made.alive("cpu")[0].instance_id, made.clock(), lead=5 * MINUTE)
    return made


# --- jobs and instances -----------------------------------------------------------------------------------------------


def prepare_claim() -> World:
    made = world()
    made.held.add(Function.WORKER_API)
    send(made, 2, seconds=60)
    assert made.run(lambda: bool(made.alive("cpu")), MINUTE)
    made.run_for(90 * SECOND)
    return made


def claim(of: World) -> None:
    of.held = {Function.TICK}
    of.run(lambda: jobs(of, "running") == 2, 40 * SECOND)


def prepare_finish() -> World:
    made = world()
    send(made, 1, seconds=40)
    send(made, 1, seconds=40, exit_code=1, max_attempts=2)
    assert made.run(lambda: jobs(made, "running") == 2, 5 * MINUTE)
    made.run_for(30 * SECOND)
    return made


def finish(of: World) -> None:
    of.run(lambda: jobs(of, "succeeded") == 1 and not jobs(of, "running"), 40 * SECOND)


def ask_for_credentials(of: World) -> None:
    """As the worker does before a save: until it has an answer."""
    while True:
        try:
            answer = of.call_api(instance_of(of), names.API_CREDENTIALS, {})
        except Unanswered:
            continue
        assert answer["token"]
        return


def prepare_job_role() -> World:
    made = running()
    pool = made.config.pool("cpu")
    assert pool is not None
    made.config.put_pool(replace(pool, job_role_arn=JOB_ROLE), pool.version, now=made.clock())
    return made


def ask_for_job_credentials(of: World) -> None:
    """As the worker does before an attempt and every three quarters of an hour in it: until it has an answer."""
    (lease,) = of.table.query(keys.pool("cpu"), prefix=keys.leases_of(instance_of(of)))
    while True:
        try:
            body = {"job_id": lease["job_id"], "fence": lease["fence"]}
            answer = of.call_api(instance_of(of), names.API_JOB_CREDENTIALS, body)
        except Unanswered:
            continue
        assert answer["token"]
        return


def interrupted(of: World) -> None:
    of.market.interrupt(instance_of(of), of.clock())
    of.run(lambda: len(of.alive("cpu")) == 2 and jobs(of, "queued") == 1, 20 * SECOND)


def cut_off(of: World) -> None:
    of.market.interrupt(instance_of(of), of.clock(), notice=False)
    of.run(lambda: jobs(of, "running") == 0, 20 * SECOND)


def rebalance(of: World) -> None:
    of.hosts[instance_of(of)].advise(of.clock())
    of.publish("EC2 Instance Rebalance Recommendation", {"instance-id": instance_of(of)}, of.clock())
    of.run_for(10 * SECOND)


def prepare_scale_in() -> World:
    made = world()
    send(made, seconds=10)
    assert made.run(lambda: jobs(made, "succeeded") == 1, 5 * MINUTE)
    made.run_for(110 * SECOND)
    return made


def scale_in(of: World) -> None:
    of.run(of.quiet, 5 * MINUTE)


def prepare_starved() -> World:
    """Narrow jobs, one after the other, pass over a wide one; the next pass keeps the only instance for that."""
    made = world(cpu(max_instances=1, starvation_after=MINUTE))
    send(made, seconds=200)
    assert made.run(lambda: jobs(made, "running") == 1, 5 * MINUTE)
    send(made, slots=2)
    send(made, 5, seconds=30)
    made.run_for(MINUTE)
    made.held.add(Function.RECONCILE)
    made.run_for(MINUTE)
    assert _kept(made) == []
    return made


def _kept(of: World) -> list[str]:
    return [item["kept_for"] for item in of.stored() if "kept_for" in item]


def prepare_learned() -> World:
    """A job with a deadline and no estimate, whose kind has run before."""
    made = world()
    timely = {"pool": "cpu", "command": command(20), "deadline": to_text(made.clock() + 24 * 60 * MINUTE)}
    made.send({"id": "first", **timely})
    assert made.run(lambda: jobs(made, "succeeded") == 1, 5 * MINUTE)
    made.send({"id": "second", **timely})
    return made


def prepare_deep_deadline() -> World:
    """A job with a deadline behind more jobs than a pass reads; those may run nowhere at these prices."""
    made = world(cpu(max_instances=1, on_demand_fallback=OnDemandFallback()))
    send(made, QUEUE_LOOK + 5, slots=2, spot_max_price="0.002")
    send(made, seconds=20, estimated_duration="20s", deadline=to_text(made.clock() + 15 * MINUTE))
    taken_in(made)
    return made


def cancel_the_rest(of: World) -> None:
    ledger = Ledger(of.table, jobs_kept=of.settings.jobs_kept)
    for item in of.stored():
        if item["sk"] == keys.JOB and item.get("spot_max_price") and item["state"] == "queued":
            ledger.cancel(job_items.job_from(item), of.clock())


def prepare_move() -> World:
    """A job with a deadline runs on on-demand, and the spot instance that it goes back to has just come."""
    owner = OnDemandFallback(return_after=MINUTE)
    made = world(cpu(types=(facts(CPU, 1),), on_demand_fallback=owner))
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 0, made.clock())
    timely = {"deadline": to_text(made.clock() + 52 * MINUTE), "estimated_duration": "30m"}
    made.send({"pool": "cpu", "command": command(1800, saves=True), **timely})
    assert made.run(lambda: jobs(made, "running") == 1, 20 * MINUTE)
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 5, made.clock())
    assert made.run(lambda: len(made.alive("cpu")) == 2, 10 * MINUTE)
    made.held.add(Function.RECONCILE)
    made.run_for(50 * SECOND)
    return made


def move(of: World) -> None:
    passes(of)
    of.held.add(Function.TICK)
    of.run(lambda: jobs(of, "running") == 0, 70 * SECOND)
    of.held.discard(Function.TICK)


def prepare_boot_failure() -> World:
    made = world(boot_failure=1.0)
    send(made)
    assert made.run(lambda: bool(made.alive("cpu")), MINUTE)
    made.market.unkindness = replace(made.market.unkindness, boot_failure=0.0)
    made.run_for(290 * SECOND)
    return made


def boot_failure(of: World) -> None:
    first = instance_of(of)
    of.run(lambda: all(i.instance_id != first for i in of.alive("cpu")), 2 * MINUTE)


def prepare_silent() -> World:
    made = running()
    made.hosts.pop(instance_of(made))
    made.run_for(4 * MINUTE)
    return made


def prepare_unnamed() -> World:
    """The worker has lost its lease from memory, and says so once."""
    made = running()
    made.run_for(40 * SECOND)
    instance_id = instance_of(made)
    made.hosts.pop(instance_id)
    made.call_api(instance_id, names.API_HEARTBEAT, {"leases": [], "notice": None})
    return made


def unnamed(of: World) -> None:
    """Its heartbeat until it has an answer; then it ends."""
    while True:
        try:
            of.call_api(instance_of(of), names.API_HEARTBEAT, {"leases": [], "notice": None})
        except Unanswered:
            continue
        break
    of.market.interrupt(instance_of(of), of.clock(), notice=False)


def prepare_restart() -> World:
    """A claim was answered, but the worker restarted before it began the job."""
    made = prepare_claim()
    made.held = {Function.TICK}
    instance_id = instance_of(made)
    assert made.run(lambda: "reported_at" in _stored(made, instance_id), 20 * SECOND)
    body = {"request_id": "lost", "free_slots": 1, "free_aux_slots": 0, "most": 1}
    if not jobs(made, "running"):
        made.call_api(instance_id, names.API_CLAIM, body)
    made.hosts[instance_id].attempts.clear()
    return made


def restart(of: World) -> None:
    of.hosts[instance_of(of)].restart()
    of.run_for(20 * SECOND)
    of.held.clear()


def _stored(of: World, instance_id: str) -> dict[str, Any]:
    return of.table.get(keys.pool("cpu"), keys.instance(instance_id)) or {}


# --- the stack --------------------------------------------------------------------------------------------------------


def prepare_orphan() -> World:
    """An instance of the stack whose pool nobody knows, and one that is somebody else's."""
    made = world()
    for stack in (made.stack, "Theirs"):
        tags = {names.TAG_STACK: stack, names.TAG_POOL: "nobody", names.TAG_DECISION: "d"}
        made.ec2.create_fleet(
            Type="instant",
            ClientToken=stack,
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateId": ON_DEMAND_TEMPLATE, "Version": "1"},
                    "Overrides": [{"InstanceType": CPU, "SubnetId": "subnet-a", "ImageId": "ami-al2023-arm64"}],
                }
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}],
        )
    return made


def prepare_pages() -> World:
    made = world()
    made.ec2.page = 1
    send(made, 3, seconds=20)
    assert made.run(lambda: jobs(made, "running") == 3, 3 * MINUTE)
    return made


def next_tick(of: World) -> None:
    """The next tick and the passes that it asks for; no worker is heard meanwhile."""
    only_tick(of)
    passes(of)


def only_tick(of: World) -> None:
    """The next tick alone; what it asks for waits."""
    of.held |= {Function.WORKER_API, Function.RECONCILE}
    before = of.ticks
    of.run(lambda: of.ticks > before, 61 * SECOND)


def prepare_resumed_look() -> World:
    """A look of several pages was killed after its first page was kept."""
    made = prepare_pages()
    hook = _KillAfter("dynamodb.put_item", Function.TICK, made)
    made.hook = hook
    assert made.run(lambda: hook.killed, 2 * MINUTE)
    made.hook = None
    return made


class _KillAfter(KillAt):
    """Kills a function after its first call of one operation."""

    def __init__(self, operation: str, function: Function, of: World) -> None:
        super().__init__(call=1, after_effect=True)
        self._wanted = (operation, function)
        self._world = of
        self.killed = False

    def before(self, operation: str, request: Request) -> None: ...

    def after(self, operation: str, request: Request, response: Response) -> None:
        if (operation, self._world.current) == self._wanted and not self.killed:
            self.killed = True
            self.seen = 1
            super().after(operation, request, response)


def rung_while_dirty(of: World) -> None:
    """Everybody rings for a pool that is dirty and due later, as a failed pass leaves one that was rung meanwhile."""
    instance_id = instance_of(of)
    of.held |= {Function.RECONCILE, Function.TICK}
    _dirty_and_due_later(of)
    of.publish("EC2 Instance Rebalance Recommendation", {"instance-id": instance_id}, of.clock())
    of.run_for(SECOND)
    _dirty_and_due_later(of)
    send(of)
    of.run_for(SECOND)
    _dirty_and_due_later(of)
    of.hosts[instance_id].advise(of.clock())
    of.run_for(6 * SECOND)
    of.held |= {Function.NEWS}
    of.held -= {Function.TICK}
    of.market.interrupt(instance_id, of.clock(), notice=False)
    _dirty_and_due_later(of)
    only_tick(of)


def _dirty_and_due_later(of: World) -> None:
    of.table.update(
        keys.pool("cpu"),
        keys.STATE,
        "SET dirty = :cause, gpk = :due, gsk = :later",
        values={":cause": "a ring", ":due": keys.DUE, ":later": to_text(of.clock() + 5 * MINUTE)},
    )


def prepare_many_jobs() -> World:
    """More than one call tells of."""
    made = world()
    send(made, 12, seconds=5)
    taken_in(made)
    made.held.clear()
    return made


def tell_changes(of: World) -> None:
    """As Lambda reads the table's stream: what was not told on comes again, also after a function's death."""
    records = job_changes(of)
    while records:
        try:
            answer = of.invoke(Function.JOB_EVENTS, {"Records": records})
        except Crashed:
            continue
        first = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        records = records[numbers.index(first[0]) :] if first else []
    told = [json.loads(entry["Detail"])["job_id"] for entry in of.events.told]
    assert set(told) == {item["job_id"] for item in of.stored() if item["sk"] == keys.JOB}


def prepare_shortage() -> World:
    """A pool lacks instances for longer than its owner tolerates, and no function told of it yet."""
    offerings = {Offering(CPU, zone): 0 for zone in catalogue.offered(REGION)[CPU]}
    made = world(cpu(unfulfilled_alarm_after=SECOND), conditions=Steady(capacities=offerings))
    send(made)
    made.run_for(3 * MINUTE)
    assert state_of(made)["alarmed"]["M"]["class"] == {"S": "capacity"}
    return made


def tell_shortage(of: World) -> None:
    """The bus and people are told, each by a function of its own, as Lambda reads the table's stream for each."""
    records = [change_of(of, state_of(of), "1")]
    for function in (Function.JOB_EVENTS, Function.NOTICES):
        failed = True
        while failed:
            try:
                failed = bool(of.invoke(function, {"Records": records})["batchItemFailures"])
            except Crashed:
                continue
    assert {entry["DetailType"] for entry in of.events.told} == {names.EVENT_POOL_SHORTAGE}
    assert 1 <= len(of.sns.published) <= 2, "once, and once more after a crash"


def state_of(of: World) -> dict[str, Any]:
    place = {"pk": {"S": keys.pool("cpu")}, "sk": {"S": keys.STATE}}
    [state] = [item for item in of.dynamodb.everything(TABLE) if place.items() <= item.items()]
    return state


def another_type(of: World) -> None:
    """The owner does what the reason says."""
    of.apply(cpu(types=(facts(OTHER, 1),)))


def job_changes(of: World) -> list[dict[str, Any]]:
    """A stream record for each job as it is now."""
    items = [item for item in of.dynamodb.everything(TABLE) if item["sk"]["S"] == keys.JOB]
    return [change_of(of, item, str(number)) for number, item in enumerate(items)]


def change_of(of: World, item: dict[str, Any], number: str) -> dict[str, Any]:
    """The stream record of an item that was not there before."""
    return {
        "eventName": "INSERT",
        "dynamodb": {
            "ApproximateCreationDateTime": of.clock().timestamp(),
            "SequenceNumber": number,
            "Keys": {name: item[name] for name in ("pk", "sk")},
            "NewImage": item,
        },
    }


def prepare_stale_facts() -> World:
    """The pool was applied when its type cost half of what it costs now."""
    today = facts(CPU, 2)
    assert today.on_demand_price is not None
    return world(cpu(types=(replace(today, on_demand_price=today.on_demand_price / 2, memory_mib=1),)))


def a_day_passes(of: World) -> None:
    """As EventBridge calls the function, twice more where it fails."""
    for _ in range(3):
        try:
            of.invoke(Function.CATALOGUE, {"source": "aws.events"})
        except Crashed:
            continue
        break
    stored = of.config.pool("cpu")
    assert stored is not None
    assert stored.types == (facts(CPU, 2),)


def prepare_deleted_pool() -> World:
    made = world()
    send(made, 2)
    taken_in(made)
    current = made.config.pool("cpu")
    assert current is not None
    made.apply(replace(current, deleted=True))
    return made


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


def create_stack(of: World) -> None:
    for _ in range(2):
        try:
            of.invoke(Function.TEARDOWN, {"RequestType": "Create"})
        except Crashed:
            continue
        return


def dry_run(of: World) -> None:
    """A killed one is asked again by whoever asked."""
    for _ in range(2):
        with contextlib.suppress(Crashed):
            answer = of.invoke(Function.RECONCILE, {"dry_run": "cpu"})
            assert [shape["works"] for shape in answer["shapes"]] == [True]
            return


def failing_pass() -> Hook:
    error = aws_error("Query", "ProvisionedThroughputExceededException", "slow down")
    return FailNext(errors={"dynamodb.transact_write_items": [error]})


SCENARIOS: dict[str, Scenario] = {
    "intake batch": Scenario(prepare_batch, take_in),
    "batch again": Scenario(prepare_batch_again, take_in),
    "launch": Scenario(prepare_launch, passes),
    "own template": Scenario(lambda: prepare_launch(pool=OWN_TEMPLATE), passes),
    "unused template": Scenario(prepare_unused_template, passes),
    "partial refusal": Scenario(prepare_refusal, passes, afterwards=lambda of: of.market.release(of.clock())),
    "launch error": Scenario(prepare_launch_error, lambda of: (passes(of), give_up(of))),
    "quota": Scenario(prepare_quota, passes, afterwards=raise_quota),
    "throttled": Scenario(prepare_throttled, passes),
    "wrong lifecycle": Scenario(prepare_slip, passes),
    "lost answer": Scenario(prepare_lost_answer, passes),
    "adoption": Scenario(prepare_adoption, adopt),
    "closing": Scenario(prepare_closing, next_tick),
    "warned before known": Scenario(prepare_warned_unknown, adopt_alone),
    "failing pass": Scenario(prepare_launch, passes, faults=failing_pass),
    "claim": Scenario(prepare_claim, claim),
    "finish": Scenario(prepare_finish, finish),
    "credentials": Scenario(running, ask_for_credentials),
    "job credentials": Scenario(prepare_job_role, ask_for_job_credentials),
    "interruption": Scenario(running, interrupted),
    "cut off": Scenario(running, cut_off),
    "rebalance": Scenario(running, rebalance),
    "scale-in": Scenario(prepare_scale_in, scale_in),
    "starved": Scenario(prepare_starved, passes),
    "learned estimate": Scenario(prepare_learned, take_in),
    "deep deadline": Scenario(prepare_deep_deadline, passes, afterwards=cancel_the_rest),
    "move to spot": Scenario(prepare_move, move),
    "boot failure": Scenario(prepare_boot_failure, boot_failure),
    "silent worker": Scenario(prepare_silent, lambda of: of.run(lambda: jobs(of, "running") == 0, 3 * MINUTE)),
    "unnamed lease": Scenario(prepare_unnamed, unnamed),
    "restarted worker": Scenario(prepare_restart, restart),
    "orphan": Scenario(prepare_orphan, only_tick),
    "pages": Scenario(prepare_pages, only_tick),
    "resumed look": Scenario(prepare_resumed_look, only_tick),
    "at rest with instances": Scenario(lambda: world(cpu(min_instances=1)), only_tick),
    "rung while dirty": Scenario(running, rung_while_dirty),
    "deleted pool": Scenario(prepare_deleted_pool, passes),
    "job events": Scenario(prepare_many_jobs, tell_changes),
    "lasting shortage": Scenario(prepare_shortage, tell_shortage, afterwards=another_type),
    "daily facts": Scenario(prepare_stale_facts, a_day_passes),
    "dry run": Scenario(lambda: world(OWN_TEMPLATE), dry_run),
    "create stack": Scenario(world, create_stack),
    "delete stack": Scenario(prepare_teardown, delete_stack, ends=False),
}
