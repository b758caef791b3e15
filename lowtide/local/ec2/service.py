"""The local EC2: the market, played in the world's time, behind EC2's API. One lock keeps market and records together.

Requests are served on the gateway's loop; a clock of its own thread plays the market on, tells hosts and events, and
sleeps until something is due. With the lock held hosts are only read (`console`, `busy`), never told anything.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from lowtide.local.ec2 import permissions, records, wire
from lowtide.local.ec2.ground import Ground
from lowtide.local.ec2.hosts import Hosts, HostSpec
from lowtide.local.ec2.launch import Launch, Plan, Planner, facts_of
from lowtide.local.ec2.permissions import Caller
from lowtide.local.ec2.reading import Reading
from lowtide.local.ec2.records import Record
from lowtide.local.interface import WorldLike
from lowtide.market.fleet import Refusal, Refused, seeded_chance
from lowtide.market.instances import Instance, News, RebalanceAdvised, State, StateChanged, Warned
from lowtide.market.market import Answer, Market

logger = logging.getLogger(__name__)

DEFAULT_KEY = "alias/aws/ebs"
"""What volumes are encrypted with where nobody says otherwise: the account's AWS-managed key."""
LONGEST_SLEEP = timedelta(seconds=1)
"""The clock looks again at least this often, whatever the market says: a host may have started a job."""
Params = Mapping[str, Any]


class LocalEc2:
    def __init__(self, *, world: WorldLike, market: Market, hosts: Hosts, seed: int, stock: Any) -> None:
        """`stock` is ministack's own handler: whatever is not named in `_operations` goes to it."""
        self.market = market
        self._world = world
        self._hosts = hosts
        self._stock = stock
        self._seed = seed
        self._ground = Ground(account=world.account, region=world.region)
        self._planner = Planner(self._ground, world.region)
        self._records: dict[str, Record] = {}
        self._fleets: dict[str, dict[str, Any]] = {}
        """What CreateFleet answered, by fleet id."""
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._effects: deque[Callable[[], None]] = deque()
        self._closed = False
        self._clock = threading.Thread(target=self._play, name="spot-market", daemon=True)
        self._reading = Reading(
            market=market,
            ground=self._ground,
            hosts=hosts,
            records_=self._records,
            fleets=self._fleets,
            now=world.now,
            account=world.account,
            pace=world.pace,
        )
        self._operations: dict[str, Callable[[Params, Caller], Params]] = {
            "CreateFleet": self._create_fleet,
            "RunInstances": self._run_instances,
            "TerminateInstances": self._terminate_instances,
            "GetConsoleOutput": self._get_console_output,
            **{action: _unasked(answer) for action, answer in self._readings().items()},
        }
        self._volume_key = DEFAULT_KEY

    # --- EC2's API ----------------------------------------------------------------------------------------------------

    async def handle_request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | str, query_params: Mapping[str, Any]
    ) -> wire.Response:
        """ministack's signature. The caller is authenticated; reading calls are authorised as well."""
        fields = _fields(body, query_params)
        action = fields.get("Action", "")
        try:
            if action in self._operations:
                return self._served(action, fields, Caller(self._world, headers))
            if action in permissions.GUARDED:
                params = wire.parse(action, fields)
                self._guard(action, params, Caller(self._world, headers))
                if params.get("DryRun"):
                    raise wire.dry_run()
        except Refused as error:
            return wire.refusal(error)
        return await self._stock(method, path, headers, body, query_params)

    def _guard(self, action: str, params: Params, caller: Caller) -> None:
        given = {
            s["ResourceType"]: {t["Key"]: t["Value"] for t in s["Tags"]} for s in params.get("TagSpecifications") or ()
        }
        template_id = "*" if action == "CreateLaunchTemplate" else self._ground.template_id(params)
        permissions.require_template(caller, action, template_id, self._ground.tags(template_id), given)

    def _served(self, action: str, fields: Mapping[str, str], caller: Caller) -> wire.Response:
        with self._due:
            result = self._operations[action](wire.parse(action, fields), caller)
            self._due.notify()
        return wire.answer(action, result)

    def _readings(self) -> dict[str, Callable[[Params], Params]]:
        reading = self._reading
        return {
            "DescribeFleets": reading.describe_fleets,
            "DescribeImages": reading.describe_images,
            "DescribeInstanceStatus": reading.describe_instance_status,
            "DescribeInstanceTypeOfferings": reading.describe_instance_type_offerings,
            "DescribeInstanceTypes": reading.describe_instance_types,
            "DescribeInstances": reading.describe_instances,
            "DescribeSpotInstanceRequests": reading.describe_spot_instance_requests,
            "DescribeSpotPriceHistory": reading.describe_spot_price_history,
            "GetEbsDefaultKmsKeyId": lambda _: {"KmsKeyId": self._volume_key},
            "ModifyEbsDefaultKmsKeyId": self._modify_volume_key,
        }

    def _create_fleet(self, params: Params, caller: Caller) -> Params:
        self.market.admit(self._world.now())
        launch = self._planner.fleet(params, caller)
        if params.get("DryRun"):
            raise wire.dry_run()
        answer = self._launched(launch)
        self._ground.tag(answer.fleet_id, launch.fleet_tags)
        return self._fleets.setdefault(answer.fleet_id, _fleet_answer(answer, launch))

    def _run_instances(self, params: Params, caller: Caller) -> Params:
        self.market.admit(self._world.now())
        launch = self._planner.instances(params, caller)
        if params.get("DryRun"):
            raise self._rehearsed(launch)
        answer = self._launched(launch)
        if not answer.granted:
            raise Refused(answer.refusals[0].code, answer.refusals[0].message)
        instances = [instance for _, born in answer.granted for instance in born]
        described = [records.described(self._records[i.instance_id], self._ground) for i in instances]
        reservation_id = self._records[instances[0].instance_id].reservation_id
        return {"ReservationId": reservation_id, "OwnerId": self._world.account, "Instances": described}

    def _rehearsed(self, launch: Launch) -> Refused:
        """The answer to a dry run of one instance: what is wrong with it whatever the market has, else EC2's yes."""
        [override] = launch.request.overrides
        wrong = self.market.unfit(override, launch.request.lifecycle)
        return Refused(*wrong) if wrong else wire.dry_run()

    def _terminate_instances(self, params: Params, caller: Caller) -> Params:
        now, ids = self._world.now(), list(dict.fromkeys(params.get("InstanceIds") or ()))
        if not ids:
            raise Refused("MissingParameter", "The request must contain the parameter InstanceIds")
        for instance_id in ids:
            self.market.known(instance_id, now)
            permissions.require_termination(caller, instance_id, self._ground.tags(instance_id))
        if params.get("DryRun"):
            raise wire.dry_run()
        return {
            "TerminatingInstances": [
                {
                    "InstanceId": instance.instance_id,
                    "PreviousState": records.state(before),
                    "CurrentState": records.state(instance.state),
                }
                for instance, before in self.market.terminate(ids, now)
            ]
        }

    def _get_console_output(self, params: Params, caller: Caller) -> Params:
        instance_id = params["InstanceId"]
        permissions.require_console(caller, instance_id, self._ground.tags(instance_id))
        if params.get("DryRun"):
            raise wire.dry_run()
        return self._reading.get_console_output(params)

    def _modify_volume_key(self, params: Params) -> Params:
        self._volume_key = params["KmsKeyId"]
        return {"KmsKeyId": self._volume_key}

    def _launched(self, launch: Launch) -> Answer:
        answer = self.market.create_fleet(launch.request, self._world.now())
        born = [
            (instance, plan)
            for override, instances in answer.granted
            for plan in launch.plans
            if plan.override.offering == override.offering
            for instance in instances
            if instance.instance_id not in self._records
        ]
        reservation_id = f"r-0{seeded_chance(self._seed, answer.fleet_id, 'reservation').getrandbits(64):016x}"
        for index, (instance, plan) in enumerate(born):
            self._record(instance, plan, reservation_id, index)
        return answer

    def _record(self, instance: Instance, plan: Plan, reservation_id: str, index: int) -> None:
        chance = seeded_chance(self._seed, instance.instance_id, "addresses")
        record = records.made(instance, plan, reservation_id, index, chance)
        self._records[instance.instance_id] = record
        self._ground.tag(instance.instance_id, plan.tags.get("instance", {}))
        self._ground.tag(record.volume_id, plan.tags.get("volume", {}))
        if instance.spot_request_id:
            self._ground.tag(instance.spot_request_id, plan.tags.get("spot-instances-request", {}))
        zone, at = instance.offering.zone, instance.launched_at
        self._ground.add_volume(record.volume_id, instance.instance_id, zone, plan.root, at)
        self._effects.append(lambda: self._hosts.launch(_host(record)))

    # --- trouble ------------------------------------------------------------------------------------------------------

    def during(self, change: Callable[[Market, datetime], Any]) -> Any:
        """Do something to the market between two requests, and have its news told."""
        with self._due:
            result = change(self.market, self._world.now())
            self._due.notify()
        return result

    def shut_down(self, instance_id: str) -> None:
        """A guest powered itself off. Returns at once: a host that calls this may hold a lock that `busy` waits for."""
        power_off = partial(self.during, lambda market, now: market.shut_down(instance_id, now))
        threading.Thread(target=power_off, name=f"power-off-{instance_id}", daemon=True).start()

    # --- the clock ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._clock.start()

    def close(self) -> None:
        """Stop the clock and take the power from every instance that still has it."""
        with self._due:
            self._closed = True
            self._due.notify()
        self._clock.join(timeout=10)
        for instance_id, record in self._records.items():
            if record.instance.alive:
                self._hosts.terminate(instance_id)

    def _play(self) -> None:
        while True:
            with self._due:
                self._wait()
                if self._closed:
                    return
                effects = [*self._effects, *self._told(self.market.advance(self._world.now()))]
                self._effects.clear()
            for effect in effects:
                _carried_out(effect)

    def _wait(self) -> None:
        """Until something is due, somebody changes something, or the longest sleep is over."""
        now, due = self._world.now(), self.market.next_change()
        pending = bool(self._effects) or self.market.has_news()
        left = timedelta(0) if pending else min((due or now + LONGEST_SLEEP) - now, LONGEST_SLEEP)
        if left > timedelta(0) and not self._closed:
            self._due.wait(left.total_seconds())

    def _told(self, news: Sequence[News]) -> list[Callable[[], None]]:
        return [effect for item in news for effect in self._effects_of(item)]

    def _effects_of(self, item: News) -> list[Callable[[], None]]:
        match item:
            case StateChanged():
                return self._state_effects(item)
            case Warned():
                notice = [lambda: self._hosts.notice(item.instance_id, "terminate", item.ends_at)] if item.ours else []
                return [*notice, lambda: self._emit_warning(item)]
            case RebalanceAdvised():
                advice = [lambda: self._hosts.rebalance(item.instance_id, item.at)] if item.ours else []
                return [*advice, lambda: self._emit_rebalance(item)]

    def _state_effects(self, item: StateChanged) -> list[Callable[[], None]]:
        effects: list[Callable[[], None]] = []
        if item.state is State.SHUTTING_DOWN:
            effects.append(lambda: self._hosts.terminate(item.instance_id))
        if item.state is State.TERMINATED:
            effects.append(lambda: self._forget_volume(item.instance_id))
        return [*effects, lambda: self._emit_state(item)]

    def _forget_volume(self, instance_id: str) -> None:
        with self._ground.scope():
            self._ground.forget(self._records[instance_id].volume_id)

    def _emit_state(self, item: StateChanged) -> None:
        detail = {"instance-id": item.instance_id, "state": str(item.state)}
        self._world.emit("aws.ec2", "EC2 Instance State-change Notification", detail, [self._arn(item.instance_id)])

    def _emit_warning(self, item: Warned) -> None:
        """EC2 names the zone and no account in this one's resource."""
        detail = {"instance-id": item.instance_id, "instance-action": "terminate"}
        resource = f"arn:aws:ec2:{item.zone}:instance/{item.instance_id}"
        self._world.emit("aws.ec2", "EC2 Spot Instance Interruption Warning", detail, [resource])

    def _emit_rebalance(self, item: RebalanceAdvised) -> None:
        detail = {"instance-id": item.instance_id}
        self._world.emit("aws.ec2", "EC2 Instance Rebalance Recommendation", detail, [self._arn(item.instance_id)])

    def _arn(self, instance_id: str) -> str:
        return f"arn:aws:ec2:{self._world.region}:{self._world.account}:instance/{instance_id}"


def _carried_out(effect: Callable[[], None]) -> None:
    try:
        effect()
    except Exception:
        # A host or a bus that fails must not stop the market for everybody else.
        logger.exception("the spot market could not tell somebody what happened")


def _unasked(answer: Callable[[Params], Params]) -> Callable[[Params, Caller], Params]:
    """A reading call: ministack's gate has authorised it; DryRun reads nothing."""

    def operation(params: Params, _: Caller) -> Params:
        if params.get("DryRun"):
            raise wire.dry_run()
        return answer(params)

    return operation


def _fields(body: bytes | str, query_params: Mapping[str, Any]) -> dict[str, str]:
    """Form fields by name; of a field given twice the last one counts."""
    text = body if isinstance(body, str) else body.decode("utf-8", errors="replace")
    given = {name: values[-1] if isinstance(values, list) else values for name, values in query_params.items()}
    return {**given, **{name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}}


def _repeated(plan: Plan) -> dict[str, Any]:
    """Template and override as EC2 says them again beside each result."""
    override = {k: v for k, v in plan.as_given.items() if v is not None}
    zone = {"AvailabilityZone": plan.subnet.zone} if plan.subnet else {}
    return {"LaunchTemplateSpecification": plan.template, "Overrides": {**override, **zone}}


def _fleet_answer(answer: Answer, launch: Launch) -> dict[str, Any]:
    """No two overrides of a fleet share an offering, so an offering names its plan."""
    plans = {plan.override.offering: plan for plan in launch.plans}
    spelled = str(launch.request.lifecycle)
    return {
        "FleetId": answer.fleet_id,
        "Instances": [
            {
                "LaunchTemplateAndOverrides": _repeated(plans[override.offering]),
                "Lifecycle": spelled,
                "InstanceIds": [instance.instance_id for instance in instances],
                "InstanceType": override.offering.instance_type,
            }
            for override, instances in answer.granted
        ],
        "Errors": [_error(refusal, plans[refusal.override.offering], spelled) for refusal in answer.refusals],
    }


def _error(refusal: Refusal, plan: Plan, lifecycle: str) -> dict[str, Any]:
    return {
        "LaunchTemplateAndOverrides": _repeated(plan),
        "Lifecycle": lifecycle,
        "ErrorCode": refusal.code,
        "ErrorMessage": refusal.message,
    }


def _host(record: Record) -> HostSpec:
    instance, plan = record.instance, record.plan
    facts = facts_of(plan)
    return HostSpec(
        instance_id=instance.instance_id,
        instance_type=instance.offering.instance_type,
        zone=instance.offering.zone,
        image_id=plan.image_id,
        user_data=plan.user_data,
        profile_name=plan.profile.name if plan.profile else None,
        role_name=plan.profile.role_name if plan.profile else None,
        lifecycle=str(instance.lifecycle),
        tags=dict(plan.tags.get("instance", {})),
        boot_delay=instance.boot_delay.total_seconds(),
        boot_fails=instance.boot_fails,
        vcpus=facts.vcpus,
        memory_mib=facts.memory_mib,
        gpus=facts.gpus,
        private_ip=record.private_ip,
        launched_at=instance.launched_at,
        extra={"ami-launch-index": str(record.index), "reservation-id": record.reservation_id},
    )
