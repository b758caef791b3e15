"""The answer to CloudFormation's request to a custom resource: a PUT to the URL that came with it.

{"Status": "SUCCESS", "Reason": "…", "PhysicalResourceId": "Lowtide-instances", "StackId": "arn:…",
 "RequestId": "…", "LogicalResourceId": "TeardownInstances"}
"""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

_PAUSES = (1.0, 2.0, 4.0, None)
"""Seconds between tries. Without an answer CloudFormation waits until the resource's timeout, and then fails."""
_TIMEOUT = 10
_REASON_MOST = 1_000
"""Characters of the reason; CloudFormation takes an answer of 4,096 bytes."""


def answer(
    event: Mapping[str, Any],
    *,
    succeeded: bool,
    reason: str,
    physical_id: str,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Answer the request in `event`. Raises OSError after four tries."""
    body = {
        "Status": "SUCCESS" if succeeded else "FAILED",
        "Reason": reason[:_REASON_MOST],
        "PhysicalResourceId": physical_id,
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # The URL is signed over an empty content type.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own URL
        event["ResponseURL"], data=json.dumps(body).encode(), headers={"Content-Type": ""}, method="PUT"
    )
    for wait in _PAUSES:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310 - as above
                return
        except OSError:
            if wait is None:
                raise
            pause(wait)
