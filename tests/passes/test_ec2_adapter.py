from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from lambdas.adapters.ec2 import ONE_ATTEMPT, Answer, Ec2, LaunchTemplate, Lost
from lambdas.adapters.table import Unavailable
from lambdas.domain.fleet.fleet import LaunchRequest, Override
from lambdas.domain.pools.pools import CapacityType
from lowtide.sim.calls import FailNext, aws_error
from lowtide.sim.clock import START, VirtualClock
from tests.passes.ec2_script import ScriptedEc2

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
TEMPLATES = {kind: LaunchTemplate(template_id=f"lt-{kind}", version="3") for kind in CapacityType}


def request(kind: CapacityType = SPOT, strategy: str = "price-capacity-optimized", **changes: Any) -> LaunchRequest:
    limit = Decimal("0.0500") if kind is SPOT else None
    override = Override(
        instance_type="c7i.large", zone="us-west-2a", subnet_id="subnet-a", image_id="ami-1", max_price=limit
    )
    given: dict[str, Any] = {"overrides": (override,), "count": 2, "allocation_strategy": strategy, **changes}
    return LaunchRequest(capacity_type=kind, **given)


def fleet(client: Any, asked: LaunchRequest) -> Answer | Lost:
    return Ec2(client, "Lowtide", TEMPLATES).create_fleet(asked, pool="cpu", decision="d1")


def test_each_capacity_type_is_launched_from_its_own_template() -> None:
    client: Any = ScriptedEc2(clock=VirtualClock())
    fleet(client, request(SPOT))
    Ec2(client, "Lowtide", TEMPLATES).create_fleet(request(ON_DEMAND, "lowest-price"), pool="cpu", decision="d2")
    used = [f["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateId"] for f in client.fleets]
    assert used == ["lt-spot", "lt-on-demand"]


def test_an_on_demand_request_carries_no_price() -> None:
    client: Any = ScriptedEc2(clock=VirtualClock())
    fleet(client, request(ON_DEMAND, "lowest-price"))
    (made,) = client.fleets
    assert "MaxPrice" not in made["LaunchTemplateConfigs"][0]["Overrides"][0]
    assert "SpotOptions" not in made
    assert made["OnDemandOptions"] == {"AllocationStrategy": "lowest-price"}


def test_prices_are_written_out_and_never_in_exponents() -> None:
    client: Any = ScriptedEc2(clock=VirtualClock())
    override = Override(
        instance_type="t4g.nano", zone="z", subnet_id="s", image_id="ami-1", max_price=Decimal("1.1E-2")
    )
    fleet(client, request(overrides=(override,)))
    assert client.fleets[0]["LaunchTemplateConfigs"][0]["Overrides"][0]["MaxPrice"] == "0.011"


def test_prioritized_strategies_rank_the_overrides() -> None:
    client: Any = ScriptedEc2(clock=VirtualClock())
    fleet(client, request(strategy="capacity-optimized-prioritized"))
    assert client.fleets[0]["LaunchTemplateConfigs"][0]["Overrides"][0]["Priority"] == 0.0


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://ec2"),
        ConnectTimeoutError(endpoint_url="https://ec2"),
        EndpointConnectionError(endpoint_url="https://ec2"),
        aws_error("CreateFleet", "InternalError", "?", status=500),
        aws_error("CreateFleet", "Unavailable", "?", status=503),
        aws_error("CreateFleet", "ServiceUnavailable", "?", status=503),
        aws_error("CreateFleet", "502", "Bad Gateway", status=502),
    ],
)
def test_a_call_whose_effect_is_unknown_is_lost(error: Exception) -> None:
    client: Any = ScriptedEc2(clock=VirtualClock(), hook=FailNext(errors={"ec2.create_fleet": [error]}))
    assert isinstance(fleet(client, request()), Lost)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("RequestLimitExceeded", 503),
        ("UnauthorizedOperation", 403),
        ("InvalidParameterValue", 400),
        ("DryRunOperation", 412),
        ("IdempotentParameterMismatch", 400),
    ],
)
def test_a_call_that_is_refused_as_a_whole_is_an_answer(code: str, status: int) -> None:
    error = aws_error("CreateFleet", code, "no", status=status)
    client: Any = ScriptedEc2(clock=VirtualClock(), hook=FailNext(errors={"ec2.create_fleet": [error]}))
    answer = fleet(client, request())
    assert isinstance(answer, Answer)
    assert answer.whole
    assert [(r.code, r.capacity_type, r.zone) for r in answer.refusals] == [(code, SPOT, None)]


def test_refusals_name_the_zone_of_the_subnet_that_was_refused_and_repeats_count_once() -> None:
    class Answers:
        def create_fleet(self, **_: Any) -> dict[str, Any]:
            error = {
                "ErrorCode": "UnfulfillableCapacity",
                "ErrorMessage": "Unable to fulfill",
                "LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": "c7i.large", "SubnetId": "subnet-a"}},
            }
            return {"FleetId": "f", "Errors": [error, dict(error)], "Instances": []}

    answer = fleet(Answers(), request())
    assert isinstance(answer, Answer)
    assert [(r.instance_type, r.zone) for r in answer.refusals] == [("c7i.large", "us-west-2a")]
    assert not answer.whole


def test_the_client_that_launches_repeats_nothing_by_itself() -> None:
    assert ONE_ATTEMPT.retries == {"total_max_attempts": 1}


def test_terminations_go_in_batches_and_an_unknown_id_costs_its_batch_one_call_each() -> None:
    client: Any = ScriptedEc2(clock=VirtualClock())
    fleet(client, request(count=150))
    ids = sorted(client.machines)
    client.unknown = {ids[120]}
    ended = Ec2(client, "Lowtide").terminate(ids)
    assert ended.unknown == (ids[120],)
    assert len(ended.accepted) == 149
    assert ended.failures == ()


def test_a_termination_without_an_answer_is_a_failure_to_try_again() -> None:
    lost = FailNext(errors={"ec2.terminate_instances": [ReadTimeoutError(endpoint_url="https://ec2")]})
    client: Any = ScriptedEc2(clock=VirtualClock(), hook=lost)
    ended = Ec2(client, "Lowtide").terminate(["i-1"])
    assert [failure.code for failure in ended.failures] == ["RequestTimeout"]


class Paged:
    """Answers page by page, as it was told."""

    def __init__(self, **pages: list[dict[str, Any]]) -> None:
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        def answer(**request: Any) -> dict[str, Any]:
            self.asked.append(request)
            number = int(request.get("NextToken", "0"))
            return self.pages[operation][number]

        return answer


def tag(name: str, value: str) -> dict[str, str]:
    return {"Key": f"lowtide:{name}", "Value": value}


def machine(instance_id: str, **changes: Any) -> dict[str, Any]:
    return {
        **{"InstanceId": instance_id, "State": {"Name": "running"}, "InstanceType": "c7i.large"},
        **{"Placement": {"AvailabilityZone": "us-west-2a"}, "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC)},
        **{"Tags": [tag("stack", "Lowtide"), tag("pool", "cpu"), tag("decision", "d1")], **changes},
    }


def test_instances_are_read_page_by_page_from_where_one_stopped() -> None:
    untagged = machine("i-2", InstanceLifecycle="capacity-block", Tags=[tag("stack", "Lowtide")])
    client = Paged(
        describe_instances=[
            {"Reservations": [{"Instances": [machine("i-0")]}], "NextToken": "1"},
            {"Reservations": [{"Instances": [machine("i-1", InstanceLifecycle="spot")]}], "NextToken": "2"},
            {"Reservations": [{"Instances": [untagged]}]},
        ]
    )
    ec2 = Ec2(client, "Lowtide")  # type: ignore[arg-type]
    first = next(ec2.pages())
    assert first.next_token == "1"
    rest = list(ec2.pages(first.next_token))
    seen = {i.instance_id: (i.capacity_type, i.pool) for page in [first, *rest] for i in page.instances}
    assert seen == {"i-0": (ON_DEMAND, "cpu"), "i-1": (SPOT, "cpu"), "i-2": (ON_DEMAND, None)}
    assert all(r["Filters"] == [{"Name": "tag:lowtide:stack", "Values": ["Lowtide"]}] for r in client.asked)


def test_reading_says_when_ec2_did_not_answer() -> None:
    error = aws_error("DescribeSpotPriceHistory", "RequestLimitExceeded", "?", status=503)
    client: Any = ScriptedEc2(clock=VirtualClock(), hook=FailNext(errors={"ec2.describe_spot_price_history": [error]}))
    with pytest.raises(Unavailable):
        Ec2(client, "Lowtide").spot_prices(["c7i.large"], START, START)


def test_the_latest_price_of_each_type_and_zone_counts() -> None:
    def entry(price: str, hour: int) -> dict[str, Any]:
        at = datetime(2026, 1, 1, hour, tzinfo=UTC)
        return {"InstanceType": "c7i.large", "AvailabilityZone": "a", "SpotPrice": price, "Timestamp": at}

    client = Paged(
        describe_spot_price_history=[
            {"SpotPriceHistory": [entry("0.02", 3), entry("0.01", 1)], "NextToken": "1"},
            {"SpotPriceHistory": [entry("0.03", 2)], "NextToken": ""},
        ]
    )
    (price,) = Ec2(client, "Lowtide").spot_prices(["c7i.large"], START, START)  # type: ignore[arg-type]
    assert (price.price, price.seen_at.hour) == (Decimal("0.02"), 3), "and since when it holds"


def test_instance_types_are_described_a_hundred_at_a_time() -> None:
    described = {
        **{"InstanceType": "g5g.metal", "VCpuInfo": {"DefaultVCpus": 64}, "MemoryInfo": {"SizeInMiB": 131072}},
        **{"ProcessorInfo": {"SupportedArchitectures": ["arm64"]}, "BareMetal": True},
        "GpuInfo": {"Gpus": [{"Count": 2}]},
    }
    client = Paged(describe_instance_types=[{"InstanceTypes": [described]}])
    found = Ec2(client, "Lowtide").instance_types([f"t{n}" for n in range(150)])  # type: ignore[arg-type]
    assert len(client.asked) == 2
    assert (found["g5g.metal"].gpus, found["g5g.metal"].architecture, found["g5g.metal"].bare_metal) == (
        2,
        "arm64",
        True,
    )
