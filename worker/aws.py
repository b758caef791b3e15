"""Signed calls to S3 and CloudWatch Logs over connections that are kept open, from any thread.

Everything that may work when tried again is an OSError; `Refusal` is a no. Retries are the caller's.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any, Callable

from worker import boot

TIMEOUT_SECONDS = 60.0
TRIES = 6
"""With waits of 0.5, 1, 2, 4 and 8 s between them."""
TRANSIENT = frozenset({400, 401, 403, 408, 409, 425, 429})
"""Beside 5xx. 400 and 403 are how S3 says that a token has expired or that a clock is off."""


class Refusal(Exception):
    """AWS answered no. `code`: its own word for it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{status} {code}: {text[:500]}")
        self.status = status
        self.code = code


class Connections(threading.local):
    """One open connection for each thread and host."""

    def __init__(self) -> None:
        self.held: dict[str, http.client.HTTPConnection] = {}

    def to(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if host not in self.held:
            kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
            self.held[host] = kind(host, timeout=TIMEOUT_SECONDS)
        return self.held[host]

    def drop(self, host: str) -> None:
        held = self.held.pop(host, None)
        if held is not None:
            held.close()


class Caller:
    """One service in one Region."""

    def __init__(self, service: str, region: str, credentials: Callable[[], boot.Credentials]) -> None:
        self._service = service
        self._region = region
        self._credentials = credentials
        self._connections = Connections()

    def call(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
        """The body of an answer of 2xx. `headers`, in small letters, are signed too. Raises Refusal, OSError."""
        parts = urllib.parse.urlsplit(url)
        signed = boot.signed_headers(
            method,
            url,
            region=self._region,
            service=self._service,
            credentials=self._credentials(),
            body=body,
            more=headers,
        )
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection = self._connections.to(parts.scheme, parts.netloc)
            connection.request(method, target, body=body, headers=signed)
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            self._connections.drop(parts.netloc)
            raise OSError(f"{type(error).__name__}: {error}") from error
        except OSError:
            self._connections.drop(parts.netloc)
            raise
        if 200 <= answer.status < 300:
            return content
        raise Refusal(answer.status, _code(answer, content), content.decode(errors="replace"))


def _code(answer: http.client.HTTPResponse, content: bytes) -> str:
    try:
        if content.lstrip()[:1] == b"{":
            return str(json.loads(content).get("__type", "")).rsplit("#", 1)[-1]
        return ElementTree.fromstring(content).findtext("Code") or ""  # noqa: S314 - S3's own answer
    except (ValueError, ElementTree.ParseError):
        return answer.reason


class S3:
    """One bucket. Every method tries again what may pass, and raises OSError when it does not."""

    def __init__(
        self,
        region: str,
        bucket: Callable[[], str],
        credentials: Callable[[], boot.Credentials],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`bucket` is asked with every call and may raise OSError."""
        self._caller = Caller("s3", region, credentials)
        self._region = region
        self._bucket = bucket
        self._sleep = sleep

    def put(self, key: str, body: bytes) -> None:
        self._insist("PUT", key, body)

    def get(self, key: str) -> bytes | None:
        """None: there is no such object."""
        return self._insist("GET", key)

    def delete(self, key: str) -> None:
        self._insist("DELETE", key)

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix`, in the order of their text."""
        found: list[str] = []
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            answer = self._insist("GET", "", query=query) or b"<a/>"
            page = ElementTree.fromstring(answer)  # noqa: S314 - S3's own answer
            found += [node.text or "" for node in _named(page, "Key")]
            token = next((node.text or "" for node in _named(page, "NextContinuationToken")), "")
            if not token:
                return sorted(found)

    def _insist(self, method: str, key: str, body: bytes = b"", query: dict[str, str] | None = None) -> bytes | None:
        for attempt in range(TRIES):
            try:
                url = boot.object_url(self._bucket(), key, self._region)
                asked = f"?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}" if query else ""
                return self._caller.call(method, url + asked, body)
            except Refusal as error:
                if error.status == 404 and error.code in ("NoSuchKey", "Not Found", ""):
                    return None
                if attempt + 1 == TRIES or not (error.status >= 500 or error.status in TRANSIENT):
                    raise OSError(f"{method} s3 {key}: {error}") from error
            except OSError:
                if attempt + 1 == TRIES:
                    raise
            self._sleep(0.5 * 2.0**attempt)
        raise AssertionError("the last try returns or raises")


def _named(page: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (node for node in page.iter() if node.tag.rsplit("}", 1)[-1] == name)


class JsonService:
    """One service of AWS's JSON protocol in one Region."""

    def __init__(
        self, service: str, target: str, variable: str, region: str, credentials: Callable[[], boot.Credentials]
    ) -> None:
        """`target`: what its operations are named in; `variable`: the environment's for an endpoint of its own."""
        self._service = service
        self._target = target
        self._variable = variable
        self._region = region
        self._caller = Caller(service, region, credentials)

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call, tried once. Raises Refusal, OSError."""
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{self._target}.{operation}"}
        answer = self._caller.call("POST", self._endpoint(), json.dumps(body).encode(), headers)
        found: dict[str, Any] = json.loads(answer or b"{}")
        return found

    def _endpoint(self) -> str:
        given = os.environ.get(f"AWS_ENDPOINT_URL_{self._variable}") or os.environ.get("AWS_ENDPOINT_URL")
        domain = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        return f"{given.rstrip('/')}/" if given else f"https://{self._service}.{self._region}.{domain}/"


def logs(region: str, credentials: Callable[[], boot.Credentials]) -> JsonService:
    """CloudWatch Logs."""
    return JsonService("logs", "Logs_20140328", "CLOUDWATCH_LOGS", region, credentials)
