"""Lambda's pollers: they hand the queues' messages to functions, and delete what was served."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from lowtide.sim.fates import DELAY, Channel, Fate, Fates
from lowtide.sim.functions import Crashed, Function
from lowtide.sim.invocations import Invocations
from lowtide.sim.sqs import FakeSQS

JOB_BATCH = 10
"""Messages that the job queue's poller hands to intake at once."""


class Pollers:
    def __init__(self, invocations: Invocations, sqs: FakeSQS, *, jobs: str, reconcile: str, fate: Fates) -> None:
        """`jobs` and `reconcile` are the queues' URLs."""
        self._invocations = invocations
        self._clock = invocations.clock
        self._sqs = sqs
        self._jobs = jobs
        self._reconcile = reconcile
        self._fate = fate

    def deliver(self) -> bool:
        """One invocation with what is visible now; False: there is nothing, or nothing reaches its function."""
        return self._deliver_jobs() or self._deliver_reconcile()

    def next_instant(self) -> datetime | None:
        """When the next message that is hidden now can be seen."""
        now = self._clock()
        messages = (each for url in (self._jobs, self._reconcile) for each in self._sqs.queues[url].messages)
        return min((each.visible_at for each in messages if each.visible_at > now), default=None)

    def waiting(self) -> bool:
        """Whether there is any message, seen or hidden."""
        return any(self._sqs.queues[url].messages for url in (self._jobs, self._reconcile))

    def _deliver_jobs(self) -> bool:
        records = self._received(Function.INTAKE, self._jobs, JOB_BATCH)
        if not records:
            return False
        fate = self._fate_of_messages(Channel.JOBS, self._jobs, records)
        if fate is Fate.DELAYED:
            return True
        try:
            answer = self._invocations.invoke(Function.INTAKE, {"Records": records})
        except Crashed:
            return True
        if fate is Fate.UNANSWERED:
            return True
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self._delete(self._jobs, [record for record in records if record["messageId"] not in failed])
        return True

    def _deliver_reconcile(self) -> bool:
        records = self._received(Function.RECONCILE, self._reconcile, 1)
        if not records:
            return False
        fate = self._fate_of_messages(Channel.RECONCILE, self._reconcile, records)
        if fate is Fate.DELAYED:
            return True
        if self._invocations.attempt(Function.RECONCILE, {"Records": records}) and fate is not Fate.UNANSWERED:
            self._delete(self._reconcile, records)
        return True

    def _fate_of_messages(self, channel: Channel, url: str, records: Sequence[Mapping[str, Any]]) -> Fate | None:
        """What becomes of messages that were just received: DELAYED, and they come later; UNANSWERED, and they come
        again; anything else, and they are delivered now."""
        fate, queue = self._fate(channel), self._sqs.queues[url]
        received = {record["receiptHandle"] for record in records}
        given = [message for message in queue.messages if message.receipt in received]
        match fate:
            case None | Fate.UNANSWERED:
                return fate
            case Fate.DOUBLED:
                if not queue.fifo:
                    queue.messages += [replace(each, visible_at=self._clock(), receipt="") for each in given]
                    return None
                return Fate.UNANSWERED
            case Fate.REORDERED:
                if not queue.fifo:
                    queue.messages.reverse()
                return None
            case Fate.DELAYED | Fate.LOST:
                for each in given:
                    each.receives -= 1
                    each.visible_at = self._clock() + DELAY
                return Fate.DELAYED

    def _received(self, function: Function, url: str, most: int) -> list[dict[str, Any]]:
        """Messages as Lambda's poller hands them over; none while nothing reaches the function."""
        queue = self._sqs.queues[url]
        now = self._clock()
        if function in self._invocations.held or not any(message.visible_at <= now for message in queue.messages):
            return []
        given = self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most)["Messages"]
        return [
            {
                **{"messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"]},
                **{"body": message["Body"], "attributes": message["Attributes"]},
            }
            for message in given
        ]

    def _delete(self, url: str, records: Sequence[Mapping[str, Any]]) -> None:
        for record in records:
            self._sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
