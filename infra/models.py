"""What the functions' bundle tells botocore of AWS: descriptions of the operations that they call, and no more.

The AWS SDK of Lambda's Python runtime reads a service's whole description to make a client; EC2's is 4 MB. Here is what
botocore on this machine has, less operations that nobody calls, shapes that nothing refers to, and text. A runtime that
is newer than this botocore reads the older description: AWS's APIs only ever grow.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "dynamodb": ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"),
    "ec2": (
        "CreateFleet",
        "CreateLaunchTemplate",
        "DeleteLaunchTemplate",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeLaunchTemplateVersions",
        "DescribeLaunchTemplates",
        "DescribeSpotPriceHistory",
        "GetConsoleOutput",
        "RunInstances",
        "TerminateInstances",
    ),
    "events": ("PutEvents",),
    "pricing": ("GetProducts",),
    "s3": ("DeleteObjects", "ListObjectVersions"),
    "service-quotas": ("GetServiceQuota",),
    "sns": ("Publish",),
    "sqs": ("SendMessage", "SendMessageBatch"),
    "ssm": ("GetParameters",),
    "sts": ("AssumeRole",),
}
"""Service -> what the functions call. tests/infra/test_models.py finds what is missing."""
_DATA = Path(botocore.__file__).parent / "data"
_TEXT = {"documentation", "documentationUrl"}


def described() -> str:
    """What the descriptions are made from, as a text that changes with it."""
    return f"{botocore.__version__} {json.dumps(OPERATIONS)} {Path(__file__).read_text(encoding='utf-8')}"


def write_models(target: Path) -> None:
    """As botocore looks for them: SERVICE/VERSION/service-2.json and its endpoint rules, and endpoints.json."""
    prefixes: set[str] = set()
    for service, operations in OPERATIONS.items():
        version = _latest(service)
        whole = _read(_DATA / service / version / "service-2.json.gz")
        prefixes.add(whole["metadata"]["endpointPrefix"])
        place = target / service / version
        place.mkdir(parents=True)
        _write(place / "service-2.json", _only(whole, operations))
        _write(place / "endpoint-rule-set-1.json", _read(_DATA / service / version / "endpoint-rule-set-1.json.gz"))
    endpoints = json.loads((_DATA / "endpoints.json").read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {name: told for name, told in partition["services"].items() if name in prefixes}
    _write(target / "endpoints.json", endpoints)


def _latest(service: str) -> str:
    return max(place.name for place in (_DATA / service).iterdir() if (place / "service-2.json.gz").exists())


def _only(whole: dict[str, Any], operations: tuple[str, ...]) -> dict[str, Any]:
    kept = {name: whole["operations"][name] for name in operations}
    # botocore reads the text of these, and of nothing else, with every call of S3: an empty one will do.
    settings = {name: {**told, "documentation": ""} for name, told in whole.get("clientContextParams", {}).items()}
    return {**whole, "operations": kept, "shapes": _needed(whole["shapes"], kept), "clientContextParams": settings}


def _needed(shapes: Mapping[str, Any], operations: Mapping[str, Any]) -> dict[str, Any]:
    """Shapes that the operations refer to, and those that these refer to."""
    needed, open_ends = set[str](), set(_references(operations))
    while open_ends:
        needed |= open_ends
        open_ends = {name for each in open_ends for name in _references(shapes[each])} - needed
    return {name: shape for name, shape in shapes.items() if name in needed}


def _references(told: Any) -> Iterator[str]:
    if isinstance(told, dict):
        if isinstance(named := told.get("shape"), str):
            yield named
        told = list(told.values())
    if isinstance(told, list):
        for each in told:
            yield from _references(each)


def _without_text(told: Any) -> Any:
    if isinstance(told, dict):
        kept = {key: each for key, each in told.items() if key not in _TEXT or not isinstance(each, str) or not each}
        return {key: _without_text(each) for key, each in kept.items()}
    return [_without_text(each) for each in told] if isinstance(told, list) else told


def _read(path: Path) -> Any:
    with gzip.open(path, "rb") as file:
        return json.load(file)


def _write(path: Path, told: Any) -> None:
    path.write_text(json.dumps(_without_text(told), separators=(",", ":")), encoding="utf-8")
