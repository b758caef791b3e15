"""Trouble made by hand or by script: the control surface of the local EC2's market."""

import asyncio

import httpx
import pytest

from lowtide.local.ec2 import control_app
from tests.market.ec2_calls import (
    eventually,
    launch,
)
from tests.market.worlds import TYPE, A


@pytest.fixture
def over_http(local):
    transport = httpx.ASGITransport(app=control_app(local.control))
    return lambda: httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/_world/market/")


def asked(client_of, method, path, **more):
    async def ask():
        async with client_of() as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


def test_trouble_can_be_made_and_read_over_http(local, over_http):
    start = asked(over_http, "GET", "history").json()["next"]
    [instance_id] = launch(local)
    assert asked(over_http, "POST", "interrupt", json={"instance_id": instance_id, "lead": 1}).status_code == 200
    local.hosts.wait("terminate", instance_id)
    lines = asked(over_http, "GET", f"history?since={start}").json()["history"]
    assert {"launched", "interrupted", "warned", "ended"} <= {line["what"] for line in lines}


def test_prices_and_capacity_can_be_held_over_http(over_http):
    asked(over_http, "POST", "price", json={"instance_type": TYPE, "zone": A, "usd": "1.5"})
    asked(over_http, "POST", "capacity", json={"zone": A, "count": 0})
    [found] = asked(over_http, "GET", f"prices?instance_type={TYPE}&zone={A}").json()["prices"]
    asked(over_http, "POST", "release", json={})
    assert (found["spot_price"], found["capacity"]) == ("1.5", 0)


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("script", {"json": [{"prise": 1}]}, 400, "script[0].prise"),
        ("script", {"json": {}}, 400, "list"),
        ("interrupt", {"json": {"instance_id": "i-0"}}, 400, "does not exist"),
        ("price", {"json": {"zone": A}}, 400, "instance_type"),
        ("price", {"json": {"instance_type": TYPE, "usd": "much"}}, 400, ""),
        ("price", {"content": "{}"}, 400, "application/json"),
        ("weather", {"json": {}}, 404, "is not there"),
    ],
)
def test_wrong_trouble_is_refused_with_what_is_wrong(over_http, path, request_, status, said):
    answer = asked(over_http, "POST", path, **request_)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_the_log_is_read_from_any_line_on(local):
    launch(local)
    every = local.control.history()
    assert local.control.history(len(every) - 1) == every[-1:]


def test_a_scripted_price_ends_by_itself(local):
    local.control.script([{"price": 9, "instance_type": "c7g.large", "from": 0, "to": 0.2}])
    assert local.control.prices("c7g.large")[0]["spot_price"] == "9"
    eventually(lambda: float(local.control.prices("c7g.large")[0]["spot_price"]) < 1)
