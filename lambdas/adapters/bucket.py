"""S3: emptying the stack's bucket when the stack goes and its owner wants nothing kept."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RESERVE = timedelta(seconds=30)
"""One more call of a thousand objects takes a second or two; the rest is for the answer."""


class Bucket:
    def __init__(self, client: "S3Client", name: str, *, page: int = 1000) -> None:
        """`page`: objects a call; S3 takes up to 1,000."""
        self._client: Any = client
        self.name = name
        self._page_size = page

    def empty(self, time_left: Callable[[], timedelta]) -> bool:
        """Delete every object, all versions of them where the owner turned versioning on. False: time was short, or S3
        refused some; what is gone is gone, and the next call goes on. True as well where there is no such bucket."""
        try:
            while time_left() > RESERVE:
                found = self._page()
                if not found:
                    return True
                answer = self._client.delete_objects(Bucket=self.name, Delete={"Objects": found, "Quiet": True})
                if answer.get("Errors"):
                    return False
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchBucket":
                raise
            return True
        return False

    def _page(self) -> list[dict[str, str]]:
        answer = self._client.list_object_versions(Bucket=self.name, MaxKeys=self._page_size)
        found = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
        return [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
