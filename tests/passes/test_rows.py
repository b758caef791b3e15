"""Each row of the table of refusals, from EC2's answer to the stored reason, the mark and what is asked for next."""

from collections.abc import Iterator
from typing import Any

import pytest

from lambdas.adapters import keys
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.refusal_table import RULES, Rule, Scope
from lowtide.sim.calls import Request, Response, aws_error
from tests.domain.build import kind
from tests.passes.world import World, pool

ROWS = [(code, rule) for code, rules in sorted(RULES.items()) for rule in rules]
TYPES = (kind("c7i.large", 1, "0.0893"), kind("m7i.large", 1, "0.1008"))
ZONES = {"subnet-a": "us-west-2a", "subnet-b": "us-west-2b"}
EVERY = {(name, subnet) for name in ("c7i.large", "m7i.large") for subnet in ZONES}
REFUSED = ("c7i.large", "subnet-a")
_NAMES_MORE = (ReasonClass.QUOTA, ReasonClass.PERMISSION)
"""Their remedies name the quota or the permission that EC2's message is about."""


def _asked(world: World) -> Iterator[set[tuple[str, str]]]:
    """(type, subnet) of each request that EC2 was asked."""
    for fleet in world.ec2.fleets:
        yield {(each["InstanceType"], each["SubnetId"]) for each in fleet["LaunchTemplateConfigs"][0]["Overrides"]}


def _still_open(scope: Scope) -> set[tuple[str, str]]:
    """What may be asked for while one refusal of `REFUSED` cools down."""
    match scope:
        case Scope.OFFERING:
            return EVERY - {REFUSED}
        case Scope.TYPE:
            return {each for each in EVERY if each[0] != REFUSED[0]}
        case Scope.ZONE:
            return {each for each in EVERY if each[1] != REFUSED[1]}
        case Scope.CAPACITY_TYPE:
            return set()
        case Scope.REQUEST:
            return set()


def _refused_once(code: str, rule: Rule) -> World:
    """One offering is refused so, and the others bring nothing: EC2 names no error for what is merely missing."""
    world = World(errors={REFUSED: (code, f"EC2 says {rule.contains or 'no'}.")}, capacity=0)
    world.apply(pool(types=TYPES, spot_max_price=None))
    world.enqueue(1)
    world.run()
    return world


@pytest.mark.parametrize(("code", "rule"), ROWS, ids=[f"{code} {rule.contains}".strip() for code, rule in ROWS])
def test_a_row_ends_in_its_reason_its_mark_and_its_next_attempt(code: str, rule: Rule) -> None:
    world = _refused_once(code, rule)
    assert list(_asked(world)) == [EVERY]
    told = {each["code"]: each for each in world.state()["reasons"]}
    assert told[code]["class"] == rule.reason_class.value
    if rule.reason_class in _NAMES_MORE:
        assert told[code]["remedy"].startswith(("Ask for a higher quota", "Allow", rule.remedy[:40]))
    else:
        assert told[code]["remedy"] == rule.remedy
    marks = world.under(keys.MARK_PREFIX)
    assert len(marks) == (0 if rule.scope is Scope.REQUEST else 1)
    world.advance(1)
    world.run()
    after = list(_asked(world))[1:]
    assert after == ([wanted] if (wanted := _still_open(rule.scope)) else [])


OTHERS = tuple(f"well-{number}" for number in range(9))
TURN = 5
"""Seconds from one look at a pool to the next."""


class RefuseWhole:
    """Every call that asks for `REFUSED`'s type is refused as a whole."""

    def __init__(self, code: str, message: str) -> None:
        self._error = code, message

    def before(self, operation: str, request: Request) -> None:
        if operation == "ec2.create_fleet" and _types(request) & {REFUSED[0]}:
            raise aws_error("CreateFleet", *self._error)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def _types(request: Any) -> set[str]:
    return {each["InstanceType"] for each in request["LaunchTemplateConfigs"][0]["Overrides"]}


def _served(code: str, message: str, *, whole: bool) -> tuple[World, dict[str, int]]:
    """Ten pools that each want an instance, looked at in turn, the one that EC2 refuses first; and how many passes each
    of the nine others took until it had its instance."""
    places = [(REFUSED[0], subnet) for subnet in ZONES] if not whole else []
    world = World(errors=dict.fromkeys(places, (code, message)))
    if whole:
        world.hook(RefuseWhole(code, message))
    for name in ("cpu", *OTHERS):
        facts = TYPES[0] if name == "cpu" else TYPES[1]
        world.apply(pool(name, types=(facts,), spot_max_price=None, max_instances=1))
        world.enqueue(1, name)
    took: dict[str, int] = {}
    for number in range(1, 4):
        for name in ("cpu", *OTHERS):
            if name not in took:
                world.run(name)
            if name != "cpu" and world.instances(name):
                took.setdefault(name, number)
        world.advance(TURN)
    return world, took


@pytest.mark.parametrize("whole", [False, True], ids=["entry", "whole call"])
@pytest.mark.parametrize(("code", "rule"), ROWS, ids=[f"{code} {rule.contains}".strip() for code, rule in ROWS])
def test_whatever_refuses_one_pool_nine_others_have_their_instances_in_their_first_pass(
    code: str, rule: Rule, whole: bool
) -> None:
    """As many passes as without any refusal, save one: that the account is asked too often concerns everybody, and
    pools that find no token in that second say so and have their instance in their second pass."""
    world, took = _served(code, f"EC2 says {rule.contains or 'no'}.", whole=whole)
    assert took.keys() == set(OTHERS)
    most = 2 if rule.reason_class is ReasonClass.THROTTLING else 1
    assert max(took.values()) <= most
    assert world.instances("cpu") == {}
    assert world.reasons("cpu") or world.under(keys.INTENT_PREFIX, "cpu"), "a fault of EC2 leaves its outcome open"
