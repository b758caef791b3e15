"""What the adapters rely on of DynamoDB: items, conditions, updates. Each claim is checked on every implementation."""

from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.table import decode, encode
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from tests.contract.dynamodb_calls import KEY, code_of, holds, put, stored, update


def test_an_item_comes_back_as_it_was_put(dynamodb: Any, table: str) -> None:
    item = {"text": "ü", "whole": 7, "part": Decimal("0.25"), "yes": True, "list": [1, "a"], "map": {"in": {"x": 1}}}
    put(dynamodb, table, **item)
    assert stored(dynamodb, table) == {"pk": "A", "sk": "1", **item}


def test_what_is_not_there_is_not_given(dynamodb: Any, table: str) -> None:
    assert stored(dynamodb, table) is None


def test_a_deleted_item_is_gone(dynamodb: Any, table: str) -> None:
    put(dynamodb, table)
    dynamodb.delete_item(TableName=table, Key=KEY, ConditionExpression="attribute_exists(pk)")
    assert stored(dynamodb, table) is None


CONDITIONS = [
    ("attribute_exists(a)", True),
    ("attribute_not_exists(a)", False),
    ("attribute_not_exists(absent)", True),
    ("a = :five", True),
    ("a <> :five", False),
    ("a < :five OR a > :five", False),
    ("a <= :five AND a >= :five", True),
    ("absent = :five", False),
    ("absent < :five", False),
    ("absent <> :five", True),
    ("NOT a = :five", False),
    ("NOT (a = :five AND absent = :five)", True),
    ("absent = :five OR attribute_exists(a) AND a = :five", True),
    ("a BETWEEN :four AND :six", True),
    ("a IN (:four, :six)", False),
    ("a IN (:four, :five)", True),
    ("begins_with(t, :he)", True),
    ("begins_with(t, :lo)", False),
    ("contains(t, :lo)", True),
    ("contains(l, :lo)", True),
    ("contains(l, :he)", False),
    ("size(t) = :five", True),
    ("size(l) < :five", True),
    ("m.#in = :lo", True),
    ("l[0] = :lo", True),
    ("l[7] = :lo", False),
    ("a = t", False),
    ("attribute_type(t, :S)", True),
]
VALUES = {":five": 5, ":four": 4, ":six": 6, ":he": "he", ":lo": "lo", ":S": "S"}


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_a_condition_holds_or_not(dynamodb: Any, table: str, condition: str, expected: bool) -> None:
    put(dynamodb, table, a=5, t="helo!", l=["lo"], m={"in": "lo"})
    more: dict[str, Any] = {}
    if used := {k: v for k, v in VALUES.items() if k in condition}:
        more["values"] = used
    if "#in" in condition:
        more["names"] = {"#in": "in"}
    assert holds(dynamodb, table, condition, **more) is expected


UPDATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SET a = :one", {":one": 1}, {"a": 1, "n": 5, "l": [1], "m": {"x": 1}}),
    ("SET n = n + :one", {":one": 1}, {"n": 6, "l": [1], "m": {"x": 1}}),
    ("SET n = n - :one, b = n", {":one": 1}, {"n": 4, "b": 5, "l": [1], "m": {"x": 1}}),
    ("SET q = if_not_exists(q, :one) + :one", {":one": 1}, {"q": 2, "n": 5, "l": [1], "m": {"x": 1}}),
    ("SET n = if_not_exists(n, :one)", {":one": 1}, {"n": 5, "l": [1], "m": {"x": 1}}),
    ("SET l = list_append(l, :more)", {":more": [2]}, {"n": 5, "l": [1, 2], "m": {"x": 1}}),
    ("SET l = list_append(if_not_exists(z, :more), l)", {":more": [2]}, {"n": 5, "l": [2, 1], "m": {"x": 1}}),
    ("SET m.y = :one REMOVE n", {":one": 1}, {"l": [1], "m": {"x": 1, "y": 1}}),
    ("ADD n :one, fresh :one", {":one": 1}, {"n": 6, "fresh": 1, "l": [1], "m": {"x": 1}}),
    ("REMOVE n, l[0], m.x", {}, {"l": [], "m": {}}),
    ("ADD s :set REMOVE n", {":set": {"a", "b"}}, {"s": {"a", "b"}, "l": [1], "m": {"x": 1}}),
    ("REMOVE nowhere", {}, {"n": 5, "l": [1], "m": {"x": 1}}),
]


@pytest.mark.parametrize(("expression", "values", "expected"), UPDATES)
def test_an_update_does_what_it_says(
    dynamodb: Any, table: str, expression: str, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    put(dynamodb, table, n=5, l=[1], m={"x": 1})
    more = {"values": values} if values else {}
    assert update(dynamodb, table, expression, **more) == {"pk": "A", "sk": "1", **expected}


def test_an_update_makes_an_item_that_is_not_there(dynamodb: Any, table: str) -> None:
    assert update(dynamodb, table, "ADD n :one", values={":one": 1}) == {"pk": "A", "sk": "1", "n": 1}


def test_a_failed_condition_changes_nothing_and_shows_the_item_as_it_stands(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=5)
    with pytest.raises(ClientError) as error:
        update(
            dynamodb,
            table,
            "SET n = :six",
            values={":six": 6},
            condition="n = :six",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert code_of(error) == "ConditionalCheckFailedException"
    assert decode(error.value.response["Item"]) == {"pk": "A", "sk": "1", "n": 5}  # type: ignore[typeddict-item]
    assert stored(dynamodb, table) == {"pk": "A", "sk": "1", "n": 5}


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("SET state = :one", {"values": {":one": 1}}),
    ("SET pool = :one", {"values": {":one": 1}}),
    ("SET a = :one", {"values": {":one": 1, ":two": 2}}),
    ("SET a = :one", {"values": {":one": 1}, "names": {"#unused": "u"}}),
    ("SET a = :missing", {}),
    ("SET #missing = :one", {"values": {":one": 1}}),
    ("SET a = b + :one", {"values": {":one": 1}}),
    ("SET a = b", {}),
    ("SET m.a.b = :one", {"values": {":one": 1}}),
    ("SET pk = :x", {"values": {":x": "B"}}),
    ("SET gpk = :empty", {"values": {":empty": ""}}),
]


@pytest.mark.parametrize(("expression", "more"), WRONG)
def test_a_wrong_update_is_refused(dynamodb: Any, table: str, expression: str, more: dict[str, Any]) -> None:
    put(dynamodb, table, t="text", m={})
    with pytest.raises(ClientError) as error:
        update(dynamodb, table, expression, **more)
    assert code_of(error) == "ValidationException"


@pytest.mark.parametrize("expression", ["SET t = t + :one", "SET a = :one, a = :one", "SET a :one"])
def test_a_wrong_update_that_ministack_lets_pass_is_refused_in_memory_as_on_aws(expression: str) -> None:
    memory = FakeDynamoDB()
    memory.create_table(TableName="t", **SCHEMA)
    put(memory, "t", t="text")
    with pytest.raises(ClientError) as error:
        update(memory, "t", expression, values={":one": 1})
    assert code_of(error) == "ValidationException"


def test_an_item_over_400_kib_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        put(dynamodb, table, body="x" * 410_000)
    assert code_of(error) == "ValidationException"


def test_an_empty_key_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        dynamodb.put_item(TableName=table, Item=encode({"pk": "", "sk": "1"}))
    assert code_of(error) == "ValidationException"
