"""STACK/CONTROL: whether the stack is being deleted. While `closing` is there, no intention to launch is written."""

from datetime import datetime

from botocore.exceptions import ClientError

from lambdas.adapters import keys
from lambdas.adapters.table import Table
from lambdas.domain.instants import to_text


class StackSwitch:
    def __init__(self, table: Table) -> None:
        self._table = table

    def open(self, stack: str, now: datetime) -> None:
        """Let launches begin. May be repeated."""
        self._table.update(
            keys.STACK,
            keys.CONTROL,
            "SET #stack = :stack, deployed_at = :now REMOVE closing",
            names={"#stack": "stack"},
            values={":stack": stack, ":now": to_text(now)},
        )

    def close(self, now: datetime) -> bool:
        """Let no launch begin any more; the first time counts. False: there is no table, so nothing can launch."""
        try:
            self._table.update(
                keys.STACK,
                keys.CONTROL,
                "SET closing = if_not_exists(closing, :now)",
                values={":now": to_text(now)},
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                return False
            raise
        return True
