"""What is stored is read back the same."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lambdas.adapters import bill_items, items, job_items
from lambdas.adapters.attributes import decode, encode
from lambdas.domain.buying.bills import Bill, Tariff
from lambdas.domain.fleet.fleet import Instance, InstanceState, Lease, OfferingMark
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_body import message_body
from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.job_record import Attempt, JobRecord, Outcome
from lambdas.domain.jobs.jobs import Input, JobSpec, JobState, QueuedJob, Resources
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import Reason, ReasonClass
from lowtide.sim.clock import START
from tests.ledger.world import pool

RESOURCES = Resources(vcpus=Decimal("1.5"), memory_mib=2048, gpus=1)


def through_dynamodb(item: dict[str, object]) -> dict[str, object]:
    return decode(encode(item))


def test_an_instance() -> None:
    instance = Instance(
        instance_id="i-1",
        pool="gpu",
        decision="d",
        state=InstanceState.DRAINING,
        capacity_type=CapacityType.SPOT,
        instance_type="g4dn.metal",
        zone="us-west-2a",
        slots=8,
        launched_at=START,
        price_limit=Decimal("2.5"),
        ends_at=START + timedelta(minutes=2),
    )
    read = items.instance_from(through_dynamodb(items.instance_item(instance)))
    assert read == instance
    assert (type(read.state), type(read.capacity_type)) == (InstanceState, CapacityType)


@pytest.mark.parametrize("on_demand", [Decimal("7.824"), None])
def test_what_an_instance_costs(on_demand: Decimal | None) -> None:
    tariff = Tariff(
        launched_at=START,
        prices=((0, Decimal("2.31")), (7, Decimal("2.5"))),
        on_demand=on_demand,
        beside=Decimal("0.027"),
        estimated=True,
    )
    stored = through_dynamodb({"launched_at": to_text(START), **bill_items.tariff_attributes(tariff)})
    assert bill_items.tariff_from(stored) == tariff


def test_a_bill() -> None:
    bill = Bill(
        **{"pool": "gpu", "instance_id": "i-1", "instance_type": "g4dn.metal", "zone": "us-west-2a", "slots": 8},
        **{"capacity_type": CapacityType.SPOT, "launched_at": START, "ended_at": START + timedelta(hours=2)},
        **{"cost_usd": Decimal("4.66"), "on_demand_cost_usd": Decimal(16), "leased_slot_seconds": Decimal("720.5")},
        **{"leased_usd": Decimal("0.58"), "interrupted_usd": Decimal("0.1")},
    )
    stored = through_dynamodb(bill_items.bill_item(bill, timedelta(days=90)))
    assert bill_items.bill_from(stored) == bill
    assert stored["expires_at"] == int((bill.ended_at + timedelta(days=90)).timestamp())


@pytest.mark.parametrize("resources", [None, RESOURCES])
def test_a_lease(resources: Resources | None) -> None:
    lease = Lease(
        job_id="job",
        pool="gpu",
        instance_id="i-1",
        fence=3,
        slots=0,
        claimed_at=START,
        request_id="r",
        renewed_at=START,
        priority=-5,
        submitted_at=START,
        resources=resources,
        share=resources and Decimal("0.041666666"),
    )
    assert items.lease_from(through_dynamodb(items.lease_item(lease))) == lease


def test_a_mark() -> None:
    mark = OfferingMark(
        capacity_type=CapacityType.ON_DEMAND,
        instance_type="*",
        zone="*",
        until=START,
        code="VcpuLimitExceeded",
        message="…",
        marked_at=START,
        strikes=2,
        last_price=Decimal("0.1"),
    )
    assert items.mark_from(through_dynamodb(items.mark_item("gpu", mark))) == mark


def test_a_reason() -> None:
    reason = Reason(
        reason_class=ReasonClass.PRICE,
        code="SpotMaxPriceTooLow",
        message="…",
        remedy="…",
        since=START,
        last_seen=START,
        count=7,
        capacity_type="spot",
        next_attempt=START,
    )
    assert items.reason_from(items.reason_document(reason)) == reason


@pytest.mark.parametrize("resources", [None, RESOURCES])
def test_a_queue_entry(resources: Resources | None) -> None:
    job = QueuedJob(
        job_id="job", slots=1, resources=resources, priority=100, submitted_at=START, queued_at=START, interruptions=2
    )
    assert items.queued_from(through_dynamodb(items.queue_item("gpu", job))) == job


@pytest.mark.parametrize("resources", [None, RESOURCES])
def test_a_job(resources: Resources | None) -> None:
    job = JobRecord(
        job_id="job",
        pool="gpu",
        state=JobState.FAILED,
        slots=1,
        resources=resources,
        priority=0,
        submitted_at=START,
        queued_at=START,
        content="hash",
        failed_at_once_on=("i-2", "i-1"),
        used_seconds=Decimal("12.345"),
        exit_code=0,
        settled_fence=1,
        settled_state=JobState.FAILED,
    )
    read = job_items.job_from(through_dynamodb(job_items.job_item(job, START)))
    assert read == job
    assert type(read.settled_state) is JobState


def test_an_attempt() -> None:
    attempt = Attempt(
        n=3,
        instance_id="i-1",
        instance_type=None,
        availability_zone="us-west-2a",
        lifecycle="spot",
        started_at=START,
        ended_at=START,
        outcome=Outcome.TIMEOUT,
        exit_code=0,
    )
    assert (
        job_items.attempt_from(through_dynamodb(job_items.attempt_item("job", attempt, timedelta(days=1)))) == attempt
    )


SPECS = [
    JobSpec(job_id="job", pool="gpu", command=("true",)),
    JobSpec(
        job_id="job",
        pool="gpu",
        command=("/bin/sh", "-c", "écho \udcff".encode(errors="replace").decode()),
        resources=RESOURCES,
        inputs=(Input(s3="s3://bucket/key", path="in", sha256="0" * 64), Input(s3="s3://bucket/key", path=".")),
        image="python:3.13",
        env=(("A", "1"),),
        secrets=(("TOKEN", "arn:aws:ssm:us-west-2:123456789012:parameter/x"),),
        tags=(("team", "x"),),
        timeout=timedelta(minutes=90),
        priority=-100,
        max_attempts=3,
        max_interruptions=2,
    ),
    JobSpec(job_id="job", pool="gpu", command=("true",), slots=0),
]


@pytest.mark.parametrize("spec", SPECS)
def test_what_was_asked(spec: JobSpec) -> None:
    assert job_items.spec_from(through_dynamodb(job_items.spec_item(spec))) == spec


@pytest.mark.parametrize("spec", SPECS)
def test_a_job_made_into_a_message_again_is_the_same_job(spec: JobSpec) -> None:
    assert (
        parse_message(
            message_body(spec), message_id="other", pools={"gpu": pool(job_role_arn="arn:aws:iam::1:role/jobs")}
        )
        == spec
    )
