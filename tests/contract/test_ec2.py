"""The in-memory EC2 and the local AWS's EC2 over HTTP answer the adapter alike: one set of claims, held by both."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas import names
from lambdas.adapters.dry_runs import DryRuns
from lambdas.adapters.ec2 import Answer, Ec2, LaunchTemplate, Page
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.domain.fleet.fleet import LaunchRequest, Override
from lambdas.domain.pools.pools import CapacityType
from lowtide.local import ec2
from lowtide.local.ec2.images import public_images
from lowtide.local.world import World
from lowtide.market import catalogue
from lowtide.market.market import Market
from lowtide.market.model import Lifecycle
from lowtide.sim.clock import VirtualClock
from lowtide.sim.ec2 import FakeEC2
from tests.market.conftest import PLAIN, RecordingHosts
from tests.market.worlds import REGION, TYPE, A, B, Steady

DECISIONS = (f"decision-{n}" for n in count())
HALF = Decimal("0.5")


@dataclass
class Cloud:
    """One of the two, and what differs in asking it: time that passes, names of things, trouble."""

    client: Any
    now: Callable[[], datetime]
    subnets: dict[str, str]
    image: str
    templates: dict[CapacityType, LaunchTemplate]
    wait: Callable[[Callable[[], Any]], Any]
    """Lets time pass until something is true; its value."""
    set_capacity: Callable[[str, str, int], Any]
    release: Callable[[], Any]

    def ec2(self) -> Ec2:
        return Ec2(self.client, names.STACK, self.templates)

    def request(
        self, *zones: str, target: int = 1, kind: CapacityType = CapacityType.SPOT, price: Decimal | None = HALF
    ) -> LaunchRequest:
        overrides = tuple(
            Override(
                instance_type=TYPE,
                zone=zone,
                subnet_id=self.subnets[zone],
                image_id=self.image,
                max_price=price if kind is CapacityType.SPOT else None,
            )
            for zone in zones or (A,)
        )
        return LaunchRequest(capacity_type=kind, overrides=overrides, count=target, allocation_strategy="lowest-price")

    def ask(self, request: LaunchRequest, decision: str | None = None) -> Answer:
        answer = self.ec2().create_fleet(request, pool="cpu", decision=decision or next(DECISIONS))
        assert isinstance(answer, Answer), answer
        return answer

    def described(self) -> dict[str, Any]:
        return {each.instance_id: each for page in self.ec2().pages() for each in page.instances}

    def seen(self, answer: Answer) -> list[Any]:
        """What was launched, once Describe shows it."""
        ids = [launched.instance_id for launched in answer.launched]
        found = self.wait(lambda: (all_ := self.described()).keys() >= set(ids) and all_)
        return [found[instance_id] for instance_id in ids]


def in_memory() -> Cloud:
    clock, conditions = VirtualClock(), Steady()
    market = Market(seed=1, region=REGION, conditions=conditions, unkindness=PLAIN, now=clock())
    subnets = {zone: f"subnet-{zone[-1]}" for zone in (A, B)}
    client = FakeEC2(
        market,
        clock,
        subnets={subnet: zone for zone, subnet in subnets.items()},
        templates={"lt-spot": Lifecycle.SPOT, "lt-on-demand": Lifecycle.ON_DEMAND},
    )

    def wait(condition: Callable[[], Any]) -> Any:
        for _ in range(300):
            if value := condition():
                return value
            clock.advance(timedelta(seconds=1))
        raise AssertionError("it never came")

    return Cloud(
        client=client,
        now=clock,
        subnets=subnets,
        image="ami-al2023-arm64",
        templates={
            CapacityType.SPOT: LaunchTemplate(template_id="lt-spot", version="1"),
            CapacityType.ON_DEMAND: LaunchTemplate(template_id="lt-on-demand", version="1"),
        },
        wait=wait,
        set_capacity=lambda kind, zone, n: market.set_capacity(kind, zone, n, clock()),
        release=lambda: market.release(clock()),
    )


@pytest.fixture(scope="module")
def local() -> Iterator[Cloud]:
    made: list[ec2.Control] = []

    def part(world: Any) -> None:
        made.append(ec2.install(world, RecordingHosts(), unkindness=PLAIN, conditions=Steady()))

    with World(pace=60.0, random=Random(5), on_demand_price=catalogue.on_demand_price, parts=[part]) as world:
        client = world.client("ec2")
        tags = [{"Key": names.TAG_STACK, "Value": names.STACK}]
        templates: dict[CapacityType, LaunchTemplate] = {}
        for kind, tagged in ((CapacityType.SPOT, ["spot-instances-request"]), (CapacityType.ON_DEMAND, [])):
            data: Any = {"TagSpecifications": [{"ResourceType": each, "Tags": tags} for each in tagged]}
            created = client.create_launch_template(
                LaunchTemplateName=str(kind), LaunchTemplateData=data if tagged else {"EbsOptimized": False}
            )
            templates[kind] = LaunchTemplate(template_id=created["LaunchTemplate"]["LaunchTemplateId"], version="1")

        def wait(condition: Callable[[], Any]) -> Any:
            deadline = time.monotonic() + 30
            while not (value := condition()):
                assert time.monotonic() < deadline, "it never came"
                time.sleep(0.02)
            return value

        yield Cloud(
            client=client,
            now=world.now,
            subnets={s["AvailabilityZone"]: s["SubnetId"] for s in client.describe_subnets()["Subnets"]},
            image=next(i.image_id for i in public_images(REGION) if "al2023" in i.parameter and "arm64" in i.parameter),
            templates=templates,
            wait=wait,
            set_capacity=made[0].set_capacity,
            release=made[0].release,
        )


@pytest.fixture(params=["memory", "local"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return in_memory() if request.param == "memory" else request.getfixturevalue("local")


def test_a_launch_is_answered_with_its_instances_and_described_with_its_tags(cloud: Cloud) -> None:
    answer = cloud.ask(cloud.request(A, target=2), "decision-shown")
    assert [(each.instance_type, each.zone, each.capacity_type) for each in answer.launched] == 2 * [
        (TYPE, A, CapacityType.SPOT)
    ]
    assert answer.refusals == ()
    for seen in cloud.seen(answer):
        assert (seen.pool, seen.decision, seen.capacity_type, seen.zone) == (
            *("cpu", "decision-shown", CapacityType.SPOT),
            A,
        )


def test_the_same_decision_asked_again_launches_nothing_new(cloud: Cloud) -> None:
    first, again = (cloud.ask(cloud.request(A), "decision-again") for _ in range(2))
    assert first.launched == again.launched


def test_the_same_decision_with_another_request_is_refused_whole(cloud: Cloud) -> None:
    cloud.ask(cloud.request(A), "decision-other")
    answer = cloud.ask(cloud.request(A, target=2), "decision-other")
    assert (answer.whole, [refusal.code for refusal in answer.refusals]) == (True, ["IdempotentParameterMismatch"])


def test_a_limit_below_the_price_is_refused_for_its_offering(cloud: Cloud) -> None:
    answer = cloud.ask(cloud.request(A, B, price=Decimal("0.002")))
    assert answer.launched == ()
    assert {(refusal.code, refusal.zone) for refusal in answer.refusals} == {
        ("SpotMaxPriceTooLow", A),
        ("SpotMaxPriceTooLow", B),
    }
    assert "is lower than the minimum required Spot request fulfillment price of" in answer.refusals[0].message


def test_what_one_zone_lacks_another_gives(cloud: Cloud) -> None:
    cloud.set_capacity(TYPE, A, 0)
    try:
        answer = cloud.ask(cloud.request(A, B))
    finally:
        cloud.release()
    assert [launched.zone for launched in answer.launched] == [B]
    assert [(refusal.code, refusal.zone) for refusal in answer.refusals] == [("InsufficientInstanceCapacity", A)]


def test_on_demand_comes_without_a_lifecycle(cloud: Cloud) -> None:
    answer = cloud.ask(cloud.request(A, kind=CapacityType.ON_DEMAND))
    assert [each.capacity_type for each in (*answer.launched, *cloud.seen(answer))] == 2 * [CapacityType.ON_DEMAND]


def test_a_template_that_tags_spot_requests_is_refused_on_demand(cloud: Cloud) -> None:
    spot = cloud.templates[CapacityType.SPOT]
    wrong = Ec2(cloud.client, names.STACK, {CapacityType.ON_DEMAND: spot})
    answer = wrong.create_fleet(cloud.request(A, kind=CapacityType.ON_DEMAND), pool="cpu", decision=next(DECISIONS))
    assert isinstance(answer, Answer)
    assert [refusal.code for refusal in answer.refusals] == ["InvalidParameterCombination"]


def test_one_unknown_id_refuses_a_whole_termination_and_the_adapter_ends_the_rest(cloud: Cloud) -> None:
    answer = cloud.ask(cloud.request(A))
    [seen] = cloud.seen(answer)
    unknown = "i-0123456789abcdef0"
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        cloud.client.terminate_instances(InstanceIds=[seen.instance_id, unknown])
    assert cloud.described()[seen.instance_id].state in ("pending", "running")
    ended = cloud.ec2().terminate([seen.instance_id, unknown])
    assert (ended.accepted, ended.unknown, ended.failures) == ((seen.instance_id,), (unknown,), ())
    cloud.wait(lambda: cloud.described()[seen.instance_id].state == "terminated")


def test_pages_neither_skip_nor_double(cloud: Cloud) -> None:
    launched = cloud.ask(cloud.request(A, target=12))
    cloud.seen(launched)
    whole: list[str] = [each.instance_id for page in cloud.ec2().pages() for each in page.instances]
    filters = [{"Name": f"tag:{names.TAG_STACK}", "Values": [names.STACK]}]
    paged: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = cloud.client.describe_instances(Filters=filters, MaxResults=5, **token)
        paged += [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]
        if not answer.get("NextToken"):
            break
        token = {"NextToken": answer["NextToken"]}
    assert paged == whole
    assert len(set(whole)) == len(whole) >= 12
    assert isinstance(next(cloud.ec2().pages()), Page)


def test_spot_prices_name_every_zone_of_a_type(cloud: Cloud) -> None:
    prices = cloud.ec2().spot_prices([TYPE], cloud.now() - timedelta(hours=1), cloud.now())
    assert {(price.instance_type, price.zone) for price in prices} >= {(TYPE, A), (TYPE, B)}
    assert all(price.price > 0 for price in prices)
    assert all(price.seen_at <= cloud.now() for price in prices)


def rehearsed(cloud: Cloud, override: Override, kind: CapacityType = CapacityType.SPOT) -> Any:
    dry = DryRuns(cloud.client, names.STACK)
    return dry.rehearse_instance(override, kind, cloud.templates[kind], pool="cpu", decision=next(DECISIONS))


@pytest.mark.parametrize("kind", CapacityType)
def test_a_dry_run_of_what_would_work_is_a_yes_and_launches_nothing(cloud: Cloud, kind: CapacityType) -> None:
    request, decision = cloud.request(A, kind=kind), f"decision-rehearsed-{kind}"
    template = (cloud.templates[kind].template_id, "1")
    dry = DryRuns(cloud.client, names.STACK)
    fleet = dry.rehearse_fleet(replace(request, template=template), pool="cpu", decision=decision)
    assert (fleet, rehearsed(cloud, request.overrides[0], kind)) == (None, None)
    answer = cloud.ask(request, decision)
    assert len(answer.launched) == 1, "its token was not used up"
    cloud.seen(answer)
    assert sum(each.decision == decision for each in cloud.described().values()) == 1


def test_a_dry_run_of_a_launch_template_makes_none(cloud: Cloud) -> None:
    dry = DryRuns(cloud.client, names.STACK)
    for _ in range(2):
        assert dry.rehearse_template("rehearsed", {"KeyName": "mine"}, CapacityType.SPOT) is None
    assert LaunchTemplates(cloud.client, names.STACK).find("rehearsed") is None


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"subnet_id": "subnet-0"}, "InvalidSubnetID.NotFound"),
        ({"image_id": "ami-0"}, "InvalidAMIID.NotFound"),
        ({"instance_type": "c7i.large"}, "InvalidParameterValue"),
        ({"instance_type": "x9.nothing"}, "InvalidInstanceType"),
    ],
)
def test_a_dry_run_of_an_instance_says_what_is_wrong_with_it(cloud: Cloud, wrong: dict[str, str], code: str) -> None:
    refusal = rehearsed(cloud, replace(cloud.request(A).overrides[0], **wrong))
    assert (refusal.code, refusal.zone) == (code, A)


def test_types_are_described(cloud: Cloud) -> None:
    found = cloud.ec2().instance_types([TYPE, "x9.nothing"])
    assert list(found) == [TYPE]
    assert (found[TYPE].vcpus, found[TYPE].architecture) == (2, "arm64")
