"""Snapshots survive their stored form, whatever is in them: what `why` plans again is what was planned."""

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given

from lambdas.domain.documents import document_of, reader
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.plan import plan
from tests.domain.build import NOW, instance, job, snapshot
from tests.domain.properties import steadily
from tests.domain.worlds import worlds


@steadily(150)
@given(worlds())
def test_any_snapshot_reads_back_from_json_and_plans_the_same(given_snapshot: Snapshot) -> None:
    read = Snapshot.from_document(json.loads(json.dumps(given_snapshot.to_document())))
    assert read == given_snapshot
    assert plan(read, NOW) == plan(given_snapshot, NOW)


def test_a_field_at_its_default_is_left_out() -> None:
    document = snapshot(instances=(instance(),), queue=(job(),)).to_document()
    assert "draining_since" not in document["instances"][0]
    assert "interruptions" not in document["queue"][0]


def test_what_an_older_or_newer_version_wrote_is_read_as_far_as_it_goes() -> None:
    document = snapshot().to_document() | {"moon_phase": 3}
    assert Snapshot.from_document(document) == snapshot()


@pytest.mark.parametrize("hint", [int | str, list[int], dict[str, int]])
def test_an_annotation_that_cannot_be_told_apart_is_refused(hint: object) -> None:
    with pytest.raises(TypeError, match="no document form"):
        reader(hint)


def test_a_value_without_a_document_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no document form"):
        document_of({1, 2})


def test_a_class_with_a_document_form_of_its_own_uses_it() -> None:
    @dataclass(frozen=True)
    class Own:
        price: Decimal

        def to_document(self) -> str:
            return f"${self.price}"

    assert document_of((Own(Decimal("0.1")),)) == ["$0.1"]
