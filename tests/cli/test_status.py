"""`lowtide status`: the contract's names exactly, and a screen that 80 columns hold."""

import json
import re
import sys
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.instants import from_text
from lowtide.sim.clock import START
from tests.cli.deployment import Deployed, Said
from tests.passes.world import facts, pool

REASON = {
    **{"class": str, "code": str, "message": str, "remedy": str, "since": str, "last_seen": str, "count": int},
    **{"capacity_type": (str, None), "instance_type": (str, None), "availability_zone": (str, None)},
    "next_attempt": (str, None),
}
MARKET = {
    **{"instance_type": str, "availability_zone": (str, None)},
    **{"spot_price": (float, None), "on_demand_price": (float, None)},
}
POOL = {
    **{"name": str, "desired": int, "running": int, "launching": int, "draining": int, "idle": int},
    **{"unfulfilled": int, "unfulfilled_since": (str, None), "queued_jobs": int, "running_jobs": int},
    **{"oldest_queued_seconds": (int, None), "hourly_cost_usd": float, "on_demand_hourly_cost_usd": float},
    **{"reasons": [REASON], "paused": bool, "spot_max_price": (float, None), "market": [MARKET]},
}
STATUS = {"stack": str, "region": str, "as_of": str, "pools": [POOL]}


def check(value: Any, shape: Any, path: str = "$") -> None:
    """Exactly these names, in every object."""
    if isinstance(shape, dict):
        assert set(value) == set(shape), path
        for name, inner in shape.items():
            check(value[name], inner, f"{path}.{name}")
    elif isinstance(shape, list):
        for number, each in enumerate(value):
            check(each, shape[0], f"{path}[{number}]")
    elif isinstance(shape, tuple):
        assert value is None or fits(value, shape[0]), path
    else:
        assert fits(value, shape), path


def fits(value: Any, kind: type) -> bool:
    """A whole number of dollars is printed without decimals."""
    return isinstance(value, int | float) and not isinstance(value, bool) if kind is float else type(value) is kind


def short_of_price(deployed: Deployed) -> None:
    """Two instances wanted, the market above the limit, for twelve minutes."""
    deployed.ec2.prices.update({("c7i.large", f"us-west-2{zone}"): Decimal("0.41") for zone in "ab"})
    refusal = ("SpotMaxPriceTooLow", "Your Spot request price of 0.05 is lower than the minimum required of 0.41.")
    deployed.ec2.errors.update({("c7i.large", subnet): refusal for subnet in ("subnet-a", "subnet-b")})
    deployed.apply(pool())
    deployed.enqueue(2)
    deployed.run()
    deployed.advance(720)
    deployed.run()


def status(deployed: Deployed) -> Any:
    said = deployed.say("status", "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_the_document_has_the_contracts_names_and_no_other(deployed: Deployed) -> None:
    short_of_price(deployed)
    deployed.apply(pool("idle", spot=False, spot_max_price=None))
    found = status(deployed)
    check(found, STATUS)
    assert [each["name"] for each in found["pools"]] == ["cpu", "idle"]
    assert found["pools"][0]["reasons"]


def test_what_is_missing_is_told_with_its_reason_and_since(deployed: Deployed) -> None:
    short_of_price(deployed)
    (found,) = status(deployed)["pools"]
    assert (found["desired"], found["unfulfilled"], found["queued_jobs"]) == (2, 2, 2)
    assert from_text(found["unfulfilled_since"]) == START
    assert found["oldest_queued_seconds"] == 720
    assert found["reasons"][0]["class"] == "price"
    assert found["spot_max_price"] == 0.05


def test_a_limit_in_percent_is_shown_as_its_owner_wrote_it(deployed: Deployed) -> None:
    deployed.apply(pool(spot_max_price=None, spot_max_percent=Decimal(60)))
    (found,) = status(deployed)["pools"]
    assert found["spot_max_price"] == "60%"
    assert json.loads(deployed.say("why", "cpu", "--json").out)["spot_max_price"] == "60%"


def test_the_market_is_shown_beside_the_limit(deployed: Deployed) -> None:
    short_of_price(deployed)
    (found,) = status(deployed)["pools"]
    assert found["market"] == [
        {
            **{"instance_type": "c7i.large", "availability_zone": f"us-west-2{zone}"},
            **{"spot_price": 0.41, "on_demand_price": 0.1},
        }
        for zone in "ab"
    ]


def test_a_pool_with_subnets_of_its_own_shows_their_zones_alone(deployed: Deployed) -> None:
    short_of_price(deployed)
    deployed.apply(pool(subnets=(("us-west-2b", "subnet-b"),)))
    (found,) = status(deployed)["pools"]
    assert [row["availability_zone"] for row in found["market"]] == ["us-west-2b"]


def test_a_pool_that_no_pass_has_seen_is_shown_with_zeros(deployed: Deployed) -> None:
    deployed.apply(pool())
    (found,) = status(deployed)["pools"]
    assert (found["desired"], found["reasons"], found["oldest_queued_seconds"]) == (0, [], None)


def test_desired_running_launching_and_unfulfilled_agree(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.enqueue(2)
    deployed.run()
    (found,) = status(deployed)["pools"]
    assert found["launching"] == 2
    assert found["unfulfilled"] == max(0, found["desired"] - found["running"] - found["launching"])


def test_the_screen_says_what_to_do_within_80_columns(deployed: Deployed, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short_of_price(deployed)
    deployed.apply(pool("a-pool-with-a-name-of-sixty-three-characters-which-is-the-longest", types=(facts(),)))
    said = deployed.say("status")
    assert "2 of 2 instances missing for 12m: price: " in " ".join(said.out.split())
    assert "spot_max_price" in said.out
    table = said.out.split("\n\n", maxsplit=1)[0]
    assert max(map(len, table.splitlines())) <= 80


def test_a_paused_pool_is_said_to_be(deployed: Deployed) -> None:
    deployed.apply(pool(paused=True))
    deployed.run()
    assert "cpu: paused" in deployed.say("status").out


def test_without_pools_the_next_step_is_named(deployed: Deployed) -> None:
    assert "lowtide pools apply FILE" in deployed.say("status").out


def test_watching_ends_with_a_key_and_no_traceback(deployed: Deployed, monkeypatch: Any) -> None:
    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    deployed.apply(pool())
    monkeypatch.setattr("lowtide.cli.status.time.sleep", pressed)
    said = deployed.say("status", "--watch", "--json")
    assert said.code == 130
    check(json.loads(said.out), STATUS)
    assert deployed.say("status", "--watch").code == 130


def test_a_queue_longer_than_a_pass_reads_is_counted(deployed: Deployed) -> None:
    deployed.apply(pool(max_instances=1))
    deployed.enqueue(230)
    deployed.run()
    deployed.clock.advance(timedelta(seconds=1))
    (found,) = status(deployed)["pools"]
    assert found["queued_jobs"] == 230


# --- watching ---------------------------------------------------------------------------------------------------------


def watched(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, *words: str) -> Said:
    """Three looks; a second passes after each, in which another pool is applied; then Ctrl-C."""
    looks = iter(["first", "second"])

    def sleep(_: float) -> None:
        if (name := next(looks, None)) is None:
            raise KeyboardInterrupt
        deployed.advance(1)
        deployed.apply(pool(name))

    monkeypatch.setattr(time, "sleep", sleep)
    return deployed.say("status", "--watch", *words)


def test_watching_as_json_is_a_document_a_line_each_of_its_own_time(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = watched(deployed, monkeypatch, "--json")
    assert said.code == 130
    documents = [json.loads(line) for line in said.out.splitlines()]
    assert [len(each["pools"]) for each in documents] == [0, 1, 2]
    assert len({each["as_of"] for each in documents}) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_renews_the_screen_and_a_pipe_gets_each_look(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    said = watched(deployed, monkeypatch)
    looks = re.findall(r"Lowtide in us-west-2, (\S+) UTC", said.out)
    assert list(dict.fromkeys(looks)) == ["09:00:00", "09:00:01", "09:00:02"]
    assert said.out.rindex("second") > said.out.rindex("09:00:02")


def a_dozen_and_one_short_of_price(deployed: Deployed, *, paused: bool = False) -> None:
    for number in range(12):
        deployed.apply(pool(f"a{number:02}", paused=paused))
        if paused:
            deployed.run(f"a{number:02}")  # says that it is
    short_of_price(deployed)


def looked_at(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, lines: int) -> list[str]:
    """What one look shows on a terminal of so many lines."""

    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": str(lines)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(time, "sleep", pressed)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", deployed.say("status", "--watch").out).replace("\r", "")
    return plain[plain.rindex("Lowtide in us-west-2") :].rstrip("\n").split("\n")


def test_on_a_low_terminal_what_lacks_capacity_comes_first_and_its_reason_stays(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_dozen_and_one_short_of_price(deployed)
    shown = looked_at(deployed, monkeypatch, 12)
    assert len(shown) <= 12
    assert shown[2].startswith("cpu ")
    assert any("cpu: 2 of 2 instances missing for 12m: price:" in line for line in shown)
    assert re.fullmatch(r"… and [0-9]+ more pools", shown[-1].strip())
    assert sum(line.startswith("a") for line in shown) + int(re.findall("[0-9]+", shown[-1])[0]) == 12


def test_on_a_low_terminal_a_pool_that_lacks_capacity_comes_before_one_that_says_something_else(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_dozen_and_one_short_of_price(deployed, paused=True)
    assert looked_at(deployed, monkeypatch, 12)[2].startswith("cpu ")


def test_of_a_terminal_that_holds_everything_nothing_is_left_out_or_moved(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_dozen_and_one_short_of_price(deployed)
    shown = looked_at(deployed, monkeypatch, 40)
    assert shown[2].startswith("a00 ")
    assert not any(" more pool" in line for line in shown)
