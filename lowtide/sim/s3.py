"""S3 in memory: the calls that lambdas/adapters/bucket.py makes, on buckets without versions of old."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error


class _NoSuchBucket(ClientError):
    """What boto3's client of S3 raises for `NoSuchBucket`."""


class _Exceptions:
    NoSuchBucket = _NoSuchBucket


class FakeS3(SimClient):
    service = "s3"
    exceptions = _Exceptions

    def __init__(self, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.buckets: dict[str, set[str]] = {}
        """The objects' keys by bucket."""

    def list_object_versions(self, **request: Any) -> Response:
        return self._call("list_object_versions", request, frozenset({"Bucket", "MaxKeys"}), self._list)

    def delete_objects(self, **request: Any) -> Response:
        return self._call("delete_objects", request, frozenset({"Bucket", "Delete"}), self._delete)

    def _list(self, request: Request) -> Response:
        found = sorted(self._keys(request))[: request["MaxKeys"]]
        return {"Versions": [{"Key": key, "VersionId": "null"} for key in found]}

    def _delete(self, request: Request) -> Response:
        objects: list[Mapping[str, str]] = request["Delete"]["Objects"]
        self._keys(request).difference_update(each["Key"] for each in objects)
        return {}

    def _keys(self, request: Request) -> set[str]:
        if (keys := self.buckets.get(request["Bucket"])) is None:
            refusal = aws_error("S3", "NoSuchBucket", "The specified bucket does not exist", status=404)
            raise _NoSuchBucket(refusal.response, refusal.operation_name)
        return keys
