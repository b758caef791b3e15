"""EC2's query protocol, driven by botocore's own model of EC2: form fields in, plain dicts, XML out."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.core.parse import EC2QueryParser
from moto.core.serialize import EC2Serializer, SerializationContext
from moto.core.utils import get_service_model

from lowtide.market.fleet import Refused

Response = tuple[int, dict[str, str], bytes]
XML = {"Content-Type": "text/xml;charset=UTF-8"}
DRY_RUN = ("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


@cache
def _model() -> Any:
    return get_service_model("ec2")


def parse(action: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """The request as boto3 was given it. Raises Refused for a value of the wrong type."""
    parser = EC2QueryParser(_model().operation_model(action), timestamp_parser=_instant, blob_parser=_bytes)
    try:
        return parser.parse({"values": fields})  # pyright: ignore[reportArgumentType] (only the values are read)
    except (ValueError, binascii.Error) as error:
        raise Refused("InvalidParameterValue", f"Value for a parameter of {action} is invalid: {error}") from error


def answer(action: str, result: Mapping[str, Any]) -> Response:
    serializer = EC2Serializer(_model().operation_model(action), context=SerializationContext(str(uuid4())))
    body = serializer.serialize(result)["body"]
    return 200, dict(XML), body.encode() if isinstance(body, str) else body


def refusal(error: Refused) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        f"</Errors><RequestID>{uuid4()}</RequestID></Response>"
    )
    return error.status, dict(XML), body.encode()


def dry_run() -> Refused:
    """What a request with DryRun that is allowed gets instead of its effect."""
    code, message, status = DRY_RUN
    return Refused(code, message, status)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
