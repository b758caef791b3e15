"""The data role's credentials: asked for once an hour, and in time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.worker.control import DATA
from worker.api import Unanswered
from worker.data import ASK_AGAIN_AFTER, REFRESH_BEFORE, DataRole

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Lender:
    def __init__(self) -> None:
        self.now, self.calls, self.failing = START, 0, False

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert (path, body) == ("/v1/credentials", {})
        self.calls += 1
        if self.failing:
            raise Unanswered("HTTP 503")
        expires = (self.now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {**DATA, "access_key": f"AKID{self.calls}", "expires_at": expires}


@pytest.fixture
def lender() -> Lender:
    return Lender()


@pytest.fixture
def role(lender: Lender) -> DataRole:
    return DataRole(lender, lambda: lender.now)


def test_one_call_serves_everybody_until_shortly_before_the_end(lender: Lender, role: DataRole) -> None:
    assert role.place() == ("data-bucket", "/lowtide/jobs")
    lender.now += timedelta(hours=1) - REFRESH_BEFORE - timedelta(seconds=1)
    assert (role.credentials().access_key, lender.calls) == ("AKID1", 1)
    lender.now += timedelta(seconds=1)
    assert role.credentials().access_key == "AKID2"


def test_while_the_api_fails_the_old_ones_serve_until_they_end(lender: Lender, role: DataRole) -> None:
    role.credentials()
    lender.failing = True
    lender.now += timedelta(minutes=50)
    assert [role.credentials().access_key for _ in range(3)] == ["AKID1"] * 3
    assert lender.calls == 2, "a failing API is not asked again at once"
    lender.now += ASK_AGAIN_AFTER
    role.credentials()
    assert lender.calls == 3
    lender.now += timedelta(minutes=10)
    with pytest.raises(OSError, match="HTTP 503"):
        role.credentials()


def test_refused_ones_are_asked_for_anew(lender: Lender, role: DataRole) -> None:
    role.credentials()
    role.forget()
    assert role.credentials().access_key == "AKID2"
