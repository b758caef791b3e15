"""What the teardown function does to a bucket, on an S3 that answers."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from lambdas.adapters.bucket import Bucket
from lowtide.local.world import World

PLENTY = timedelta(minutes=10)


@pytest.fixture
def bucket(world: World) -> str:
    name = f"data-{uuid4().hex[:8]}"
    world.client("s3").create_bucket(Bucket=name)
    return name


def left(world: World, bucket: str) -> list[Any]:
    answer = world.client("s3").list_object_versions(Bucket=bucket)
    return [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]


@pytest.mark.parametrize("versioned", [False, True])
def test_a_bucket_is_emptied_of_every_version_and_can_then_be_deleted(
    world: World, bucket: str, *, versioned: bool
) -> None:
    s3 = world.client("s3")
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("inputs/a", "inputs/a", "checkpoints/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="checkpoints/b")
    assert left(world, bucket)
    assert Bucket(s3, bucket).empty(lambda: PLENTY)
    assert left(world, bucket) == []
    s3.delete_bucket(Bucket=bucket)


def test_more_objects_than_a_call_deletes_are_deleted_too(world: World, bucket: str) -> None:
    s3 = world.client("s3")
    for number in range(7):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"x")
    assert Bucket(s3, bucket, page=3).empty(lambda: PLENTY)
    assert left(world, bucket) == []


def test_without_time_nothing_is_said_to_be_done(world: World, bucket: str) -> None:
    world.client("s3").put_object(Bucket=bucket, Key="a", Body=b"x")
    assert not Bucket(world.client("s3"), bucket).empty(lambda: timedelta(seconds=20))
    assert len(left(world, bucket)) == 1


def test_a_bucket_that_is_gone_is_empty(world: World) -> None:
    assert Bucket(world.client("s3"), f"gone-{uuid4().hex[:8]}").empty(lambda: PLENTY)
