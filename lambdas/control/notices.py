"""Messages to people about shortages, on the alarm topic: one when a shortage lasts, one for another reason, one at its
end (shortage_news.py).

The table's stream is read until its news was told: none is lost when SNS or this function fails, and what was told just
before the function died comes once more. A function of its own, so that trouble with the bus repeats no message.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambdas.adapters.faults import Fault
from lambdas.control.shortage_news import shortage_news

_log = logging.getLogger(__name__)


class Topic(Protocol):
    """What is asked of SNS (adapters/topic.py)."""

    def publish(self, subject: str, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    topic: Topic
    stack: str

    def tell(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Lambda's partial batch response: from the first record that was not told on, the stream is read again."""
        for record in records:
            news = shortage_news(record, self.stack)
            if news is None:
                continue
            try:
                self.topic.publish(news.subject(), news.text())
            except Fault as fault:
                _log.warning("notice not sent", extra={"pool": news.pool, "turn": news.turn, "error": str(fault)})
                return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
            _log.info("notice", extra={"pool": news.pool, "turn": news.turn, "code": news.told.code})
        return {"batchItemFailures": []}
