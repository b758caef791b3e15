"""When credentials, tokens and calls are asked for anew."""

from datetime import UTC, datetime
from urllib.error import HTTPError

import pytest

from tests.worker.control import CREDENTIALS, Control
from tests.worker.test_broken_instance import KEYS, answering, s3_that_says
from worker import boot
from worker.api import Api, Refused
from worker.aws import S3
from worker.imds import Metadata

PLENTY, NEARLY_OVER = datetime(2098, 12, 31, tzinfo=UTC), datetime(2098, 12, 31, 23, 56, tzinfo=UTC)


@pytest.mark.parametrize(("now", "reads"), [(PLENTY, 1), (NEARLY_OVER, 2)])
def test_the_roles_credentials_are_read_anew_shortly_before_they_end(
    monkeypatch: pytest.MonkeyPatch, now: datetime, reads: int
) -> None:
    read: list[str] = []

    def role_credentials() -> boot.Credentials:
        read.append("once")
        return boot.Credentials("AKID", "secret", "token", CREDENTIALS["Expiration"])

    monkeypatch.setattr(boot, "role_credentials", role_credentials)
    metadata = Metadata(lambda: now)
    metadata.credentials()
    metadata.credentials()
    assert len(read) == reads


def test_a_token_that_the_metadata_service_forgot_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(["old", "new"])
    monkeypatch.setattr(boot, "metadata_token", lambda: {"token": next(tokens)})

    def read(path: str, *, headers: dict[str, str]) -> str:
        if headers == {"token": "old"}:
            raise HTTPError(path, 401, "Unauthorized", None, None)  # pyright: ignore[reportArgumentType]
        return '{"action": "terminate", "time": "2026-11-23T15:00:00Z"}'

    monkeypatch.setattr(boot, "metadata", read)
    metadata = Metadata(lambda: PLENTY)
    with pytest.raises(HTTPError):
        metadata.interruption()
    found = metadata.interruption()
    assert found is not None
    assert found.kind == "interruption"


def test_credentials_that_the_worker_api_refuses_are_forgotten() -> None:
    """An expired or revoked signature looks like any other 403."""
    forgotten: list[str] = []
    url = answering(b"HTTP/1.1 403 x\r\nContent-Length: 2\r\n\r\n{}")
    api = Api(url, "us-east-1", credentials=lambda: KEYS, forget_credentials=lambda: forgotten.append("once"))
    with pytest.raises(Refused):
        api.call("/v1/claim", {})
    assert forgotten == ["once"]


@pytest.mark.parametrize(("status", "code"), [("503", "SlowDown"), ("400", "ExpiredToken"), ("403", "AccessDenied")])
def test_what_s3_refuses_now_is_asked_again(
    control: Control, monkeypatch: pytest.MonkeyPatch, status: str, code: str
) -> None:
    control.objects["/b/k"] = b"x"
    well = control.url
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_that_says(status, code))
    store = S3("us-east-1", lambda: "b", lambda: KEYS, lambda _seconds: monkeypatch.setenv("AWS_ENDPOINT_URL", well))
    assert store.get("k") == b"x"
