import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.jobs import Input, JobSpec, Resources, content_hash
from tests.domain.build import pool

FULL = JobSpec(
    job_id="train-7",
    pool="gpu",
    command=("python3", "train.py"),
    slots=1,
    resources=Resources(vcpus=Decimal("1.5"), memory_mib=2048, gpus=1),
    inputs=(Input(s3="s3://bucket/k", path="data", sha256="ab" * 32), Input(s3="s3://bucket/l", path=".")),
    image="ubuntu:24.04",
    env=(("A", "1"), ("B", "2")),
    secrets=(("TOKEN", "arn:aws:ssm:us-west-2:123456789012:parameter/x"),),
    tags=(("team", "vision"),),
    timeout=timedelta(minutes=90),
    priority=-5,
    max_attempts=3,
    max_interruptions=9,
)


def test_a_job_reads_back_from_its_document_through_json() -> None:
    assert JobSpec.from_document(json.loads(json.dumps(FULL.to_document()))) == FULL


def test_a_document_that_lacks_fields_reads_with_their_defaults() -> None:
    plain = JobSpec(job_id="a", pool="gpu", command=("true",))
    assert JobSpec.from_document({"job_id": "a", "pool": "gpu", "command": ["true"]}) == plain


def hash_of(body: str) -> str:
    spec = parse_message(body, message_id="m", pools={"gpu": pool()})
    assert isinstance(spec, JobSpec)
    return content_hash(spec)


def test_the_same_content_in_another_order_and_spelling_is_the_same_job() -> None:
    one = '{"pool": "gpu", "command": "make", "env": {"A": "1", "B": "2"}, "timeout": "90m", "slots": 1}'
    other = '{"timeout":"1h30m","env":{"B":"2","A":"1"},"command":["/bin/sh","-c","make"],"priority":0,"pool":"gpu"}'
    assert hash_of(one) == hash_of(other)


def test_the_id_is_not_content() -> None:
    assert content_hash(FULL) == content_hash(replace(FULL, job_id="other"))


def test_every_other_field_is_content() -> None:
    others = [
        replace(FULL, pool="cpu"),
        replace(FULL, command=("python3", "other.py")),
        replace(FULL, slots=2),
        replace(FULL, resources=Resources(vcpus=Decimal(1), memory_mib=2048, gpus=1)),
        replace(FULL, inputs=FULL.inputs[::-1]),
        replace(FULL, env=()),
        replace(FULL, tags=()),
        replace(FULL, timeout=None),
        replace(FULL, priority=0),
        replace(FULL, max_attempts=1),
        replace(FULL, max_interruptions=None),
    ]
    assert len({content_hash(each) for each in [FULL, *others]}) == 12


def test_the_hash_of_a_stored_job_never_changes() -> None:
    """Stored hashes outlive a deployment: a change of this one would park repeated submissions as different jobs."""
    plain = JobSpec(job_id="a", pool="gpu", command=("true",))
    assert content_hash(plain) == "de3593367e630d679a143a2de948bca98213d4eec8718c9d20d7cc5e9612d5f0"
