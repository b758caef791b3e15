"""A kept decision comes back over DynamoDB's wire as it was, its compressed snapshot too."""

from datetime import timedelta
from typing import Any

from lambdas.adapters.decisions import Decisions
from lambdas.adapters.table import Table
from lambdas.domain.plan.decision import Decision
from tests.domain.build import NOW, instance, job, lease, snapshot


def test_a_decision_comes_back_with_the_snapshot_that_it_was_made_from(dynamodb: Any, table: str) -> None:
    made = snapshot(instances=(instance(),), leases=(lease(request_id=""),), queue=(job(), job()))
    decision = Decision(
        pool="gpu",
        epoch=7,
        at=NOW,
        pool_version=3,
        actions=({"action": "launch", "why": "for 2 queued jobs", "result": "done"},),
        summary={"desired": 2},
        reasons=(),
        notes=("prices not read",),
        snapshot=made,
    )
    store = Decisions(Table(dynamodb, table))
    store.put(decision, kept=timedelta(days=35))
    assert store.in_force("gpu", NOW) == decision
