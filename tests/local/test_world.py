"""One world at a time, and nothing of it left when it closes."""

import json
import os
import socket
import tempfile
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from lowtide.local.contract import upstream
from lowtide.local.gateway import PortInUse
from lowtide.local.interface import WorldLike
from lowtide.local.world import World
from tests.local.conftest import function, invoke


def test_a_closed_world_leaves_no_process_no_file_and_no_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the caller's own")
    before = dict(os.environ)
    children = set(psutil.Process().children(recursive=True))
    stock = upstream("services.lambda_svc")._sqs_esm_concurrency
    closed: list[str] = []

    def part(world: WorldLike) -> None:
        world.on_close(lambda: closed.append(world.endpoint))

    with World(pace=60, parts=[part]) as world:
        endpoint = world.endpoint
        assert invoke(world, function(world, "def handler(event, context):\n    return 1\n")) == 1
        assert list(tmp_path.iterdir())
    assert closed == [endpoint]
    assert dict(os.environ) == before
    assert set(psutil.Process().children(recursive=True)) <= children
    assert list(tmp_path.iterdir()) == []
    assert upstream("services.lambda_svc")._sqs_esm_concurrency is stock


def test_the_next_world_knows_nothing_of_the_last() -> None:
    with World() as world:
        world.client("sqs").create_queue(QueueName="old")
    with World() as world:
        assert world.client("sqs").list_queues().get("QueueUrls", []) == []
        assert world.client("sqs").create_queue(QueueName="new")["QueueUrl"].startswith(world.endpoint)


def test_a_second_world_in_one_process_is_refused() -> None:
    with World(), pytest.raises(RuntimeError, match="has a world already"), World():
        pass


def test_a_world_whose_part_fails_is_closed_again() -> None:
    def broken(_: WorldLike) -> None:
        raise ValueError("no market today")

    with pytest.raises(ValueError, match="no market"), World(parts=[broken]):
        pass
    with World() as world:
        assert world.client("sts").get_caller_identity()["Account"] == world.account


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse, match="cannot be had"), World(port=taken.getsockname()[1]):
            pass


def test_a_pace_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="pace is 0"):
        World(pace=0)


def test_the_price_list_tells_the_price_that_is_charged() -> None:
    prices = {"m5.large": Decimal("0.096")}
    with World(on_demand_price=prices.get) as world:
        pricing = world.client("pricing")

        def listed(instance_type: str) -> list[str]:
            wanted = {"instanceType": instance_type, "regionCode": world.region, "operatingSystem": "Linux"}
            filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
            return pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]

        (product,) = map(json.loads, listed("m5.large"))
        (term,) = product["terms"]["OnDemand"].values()
        (rate,) = term["priceDimensions"].values()
        assert Decimal(rate["pricePerUnit"]["USD"]) == prices["m5.large"]
        assert rate["unit"] == "Hrs"
        assert listed("m5.huge") == []
        with pytest.raises(ClientError, match="one instanceType"):
            pricing.get_products(ServiceCode="AmazonEC2")
