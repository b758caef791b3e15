"""Our form of DynamoDB's values is boto3's."""

from decimal import Decimal, DecimalException
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from lambdas.adapters.attributes import decode, encode

INTEGERS = st.integers(-(10**38) + 1, 10**38 - 1)
NUMBERS = INTEGERS | st.decimals(-(10**6), 10**6, places=4)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text() | st.binary(max_size=20)
SETS = st.sets(st.text(), min_size=1) | st.sets(INTEGERS, min_size=1)
VALUES = st.recursive(
    SCALARS | SETS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def without_order(form: dict[str, Any]) -> Any:
    ((kind, content),) = form.items()
    match kind:
        case "M":
            return kind, {key: without_order(each) for key, each in content.items()}
        case "L":
            return kind, [without_order(each) for each in content]
        case "SS" | "NS":
            return kind, sorted(content)
        case _:
            return kind, content


@given(VALUES.filter(lambda value: value is not None))
def test_what_is_stored_has_the_form_that_boto3_gives_it(value: Any) -> None:
    assert without_order(encode({"a": value})["a"]) == without_order(TypeSerializer().serialize(value))


@given(VALUES)
def test_what_boto3_stored_reads_back_as_it_was(value: Any) -> None:
    stored = TypeSerializer().serialize(value)
    assert decode({"a": stored})["a"] == value
    assert TypeDeserializer().deserialize(stored) == value


def test_whole_numbers_come_back_as_int_and_others_as_decimals() -> None:
    found = decode(encode({"whole": Decimal("3.0"), "part": Decimal("2.5"), "float": 0.1}))
    assert [(type(each), each) for each in found.values()] == [
        (int, 3),
        (Decimal, Decimal("2.5")),
        (Decimal, Decimal("0.1")),
    ]


@pytest.mark.parametrize("value", [Decimal("Infinity"), float("nan"), {1.5: "a"}.keys(), object()])
def test_what_dynamodb_has_no_form_of_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode({"a": value})


def test_a_number_of_more_digits_than_dynamodb_keeps_is_refused_not_rounded() -> None:
    with pytest.raises(DecimalException):
        encode({"a": 10**39 + 1})
