"""The metadata service of one instance, over HTTP."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError

import pytest

from lowtide.hosts.metadata import MetadataService
from tests.worker.control import CREDENTIALS, Instance

AT = datetime(2026, 11, 23, 15, 2, tzinfo=UTC)


def credentials(role: str, instance_id: str) -> dict[str, str]:
    if role != "worker-role":
        raise LookupError(role)
    return CREDENTIALS


def serve(**changes: Any) -> MetadataService:
    return MetadataService(
        Instance(user_data=b"#!/bin/bash\n", **changes),
        region="us-east-1",
        account="123456789012",
        credentials=credentials,
    )


@pytest.fixture
def service() -> Iterator[MetadataService]:
    made = serve()
    yield made
    made.close()


def ask(service: MetadataService, path: str, method: str = "GET", **headers: str) -> str:
    named = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(f"{service.endpoint}/latest/{path}", method=method, headers=named)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read().decode()


def read(service: MetadataService, path: str) -> str:
    return ask(service, path, token=ask(service, "api/token", "PUT", token_ttl_seconds="60"))


def status_of(service: MetadataService, path: str, method: str = "GET", **headers: str) -> int:
    with pytest.raises(HTTPError) as caught:
        ask(service, path, method, **headers)
    return caught.value.code


def test_it_listens_on_loopback_alone(service: MetadataService) -> None:
    assert service.endpoint.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("headers", [{}, {"token": "made-up"}])
def test_nothing_is_read_without_a_token_of_its_own(service: MetadataService, headers: dict[str, str]) -> None:
    assert status_of(service, "meta-data/instance-id", **headers) == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "soon", ""])
def test_a_token_needs_a_time_to_live_that_ec2_takes(service: MetadataService, ttl: str) -> None:
    assert status_of(service, "api/token", "PUT", token_ttl_seconds=ttl) == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("meta-data/instance-id", "i-0123456789abcdef0"),
        ("meta-data/instance-type", "m5.large"),
        ("meta-data/instance-life-cycle", "spot"),
        ("meta-data/placement/availability-zone", "us-east-1a"),
        ("meta-data/placement/region", "us-east-1"),
        ("meta-data/iam/security-credentials/", "worker-role"),
        ("user-data", "#!/bin/bash\n"),
    ],
)
def test_it_says_what_the_instance_is(service: MetadataService, path: str, expected: str) -> None:
    assert read(service, path) == expected


def test_the_identity_document_names_account_region_and_instance(service: MetadataService) -> None:
    found = json.loads(read(service, "dynamic/instance-identity/document"))
    assert (found["accountId"], found["region"], found["instanceId"]) == (
        "123456789012",
        "us-east-1",
        "i-0123456789abcdef0",
    )


def test_the_roles_credentials_are_handed_out_in_ec2s_form(service: MetadataService) -> None:
    found = json.loads(read(service, "meta-data/iam/security-credentials/worker-role"))
    assert found["Code"] == "Success"
    assert CREDENTIALS.items() <= found.items()


@pytest.mark.parametrize("role", [None, "deleted-role"])
def test_an_instance_without_a_living_role_has_no_credentials(role: str | None) -> None:
    service = serve(role_name=role)
    token = ask(service, "api/token", "PUT", token_ttl_seconds="60")
    assert status_of(service, f"meta-data/iam/security-credentials/{role}", token=token) == 404
    service.close()


def test_notices_are_404_until_they_are_given(service: MetadataService) -> None:
    token = ask(service, "api/token", "PUT", token_ttl_seconds="60")
    for path in ("meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"):
        assert status_of(service, path, token=token) == 404
    service.notice("terminate", AT)
    service.rebalance(AT)
    assert json.loads(read(service, "meta-data/spot/instance-action")) == {
        "action": "terminate",
        "time": "2026-11-23T15:02:00Z",
    }
    assert json.loads(read(service, "meta-data/events/recommendations/rebalance")) == {
        "noticeTime": "2026-11-23T15:02:00Z"
    }
