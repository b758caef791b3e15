"""From messages to jobs: each becomes a job or is parked with its reason, and no fault of ours parks anything.

A record of the batch: `{"messageId": "…", "body": "{…}", "attributes": {"SentTimestamp": "1767603600000"}}`.
What fails is left to SQS, which delivers it again; everything here may be repeated.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from lambdas.adapters.faults import Fault
from lambdas.adapters.ledger import TOGETHER_MOST, Accepted, Ledger
from lambdas.adapters.parked import Parked, ParkedMessage
from lambdas.adapters.pool_config import PoolConfig, PoolsByName
from lambdas.adapters.queues import LARGEST_MESSAGE, Queue
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.jobs import JobSpec, Rejection
from lambdas.domain.pools.pools import Pool

_ATTRIBUTES_MOST = 1_024
"""Bytes kept for the attributes of a parked message's copy; a body that leaves less room is copied without."""
_TOGETHER_BYTES = 1_048_576
"""Of bodies whose jobs one transaction takes, which carries 4 MB at most."""


class Bell(Protocol):
    def ring(self, pool: str, cause: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    message_id: str
    body: str
    sent_at: datetime

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Message":
        sent = int(record["attributes"]["SentTimestamp"])
        return cls(
            message_id=record["messageId"], body=record["body"], sent_at=datetime.fromtimestamp(sent / 1000, tz=UTC)
        )


@dataclass(slots=True)
class Taken:
    """What became of a batch."""

    new: int = 0
    repeated: int = 0
    parked: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Message id -> why it has to come again."""

    def to_response(self) -> dict[str, Any]:
        """Lambda's partial batch response."""
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in self.failed]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    config: PoolConfig
    ledger: Ledger
    parked: Parked
    parked_queue: Queue
    doorbell: Bell
    now: Callable[[], datetime]

    def take(self, messages: Sequence[Message]) -> Taken:
        """Every message accepted, parked or failed; then each pool that got a job is rung for, once."""
        taken = Taken()
        pools = PoolsByName(self.config)
        jobs: list[tuple[Message, JobSpec]] = []
        for message in messages:
            with _alone(message, taken):
                if (job := self._read(message, pools, taken)) is not None:
                    jobs.append((message, job))
        self._ring(self._accept(jobs, taken), taken)
        return taken

    def _read(self, message: Message, pools: Mapping[str, Pool], taken: Taken) -> JobSpec | None:
        """The message's job; None: it is none, and parked.

        Raises Unreadable for a message to a pool whose record nobody can read: that is no fault of the sender's."""
        read = parse_message(message.body, message_id=message.message_id, pools=pools)
        if not isinstance(read, Rejection):
            return read
        self._park(message, read, taken)
        return None

    def _accept(self, jobs: Sequence[tuple[Message, JobSpec]], taken: Taken) -> Mapping[str, Sequence[str]]:
        """The messages whose jobs wait now, by pool: those have to be looked at."""
        waiting: dict[str, list[str]] = {}
        together = self._together(jobs)
        for message, job in jobs:
            with _alone(message, taken):
                accepted = Accepted.NEW if together else self.ledger.accept(job, message.sent_at, self.now())
                if accepted is Accepted.OTHER:
                    self._park(message, _other_content(job), taken)
                    continue
                if accepted is Accepted.NEW:
                    taken.new += 1
                else:
                    taken.repeated += 1
                if accepted is not Accepted.KNOWN:
                    waiting.setdefault(job.pool, []).append(message.message_id)
        return waiting

    def _together(self, jobs: Sequence[tuple[Message, JobSpec]]) -> bool:
        """Whether one transaction has taken them all, as it does when all are new. If anything stands against it, each
        is taken by itself: what one message meets is nothing to the others."""
        ids = {job.job_id for _, job in jobs}
        size = sum(len(message.body.encode(errors="surrogatepass")) for message, _ in jobs)
        if not 1 < len(ids) == len(jobs) <= TOGETHER_MOST or size > _TOGETHER_BYTES:
            return False
        try:
            self.ledger.accept_new([(job, message.sent_at) for message, job in jobs], self.now())
        except Exception:  # whatever it was, the message that has it meets it again
            return False
        return True

    def _park(self, message: Message, why: Rejection, taken: Taken) -> None:
        """The record first, then the copy, then the note of the copy: whichever is missing is made up at the next
        delivery, and a record that has its copy is left alone."""
        record = self.parked.put(_record(message, why, self.now()))
        if record.copy_id is None:
            copy_id = self.parked_queue.send(message.body, attributes=_attributes(message, record))
            self.parked.copied(record.parked_id, copy_id)
        taken.parked += 1

    def _ring(self, waiting: Mapping[str, Sequence[str]], taken: Taken) -> None:
        for pool, message_ids in waiting.items():
            try:
                self.doorbell.ring(pool, f"message:{message_ids[0]}")
            except Fault as fault:
                taken.failed.update(dict.fromkeys(message_ids, str(fault)))


@contextmanager
def _alone(message: Message, taken: Taken) -> Generator[None, None, None]:
    """A fault, or a bug that this message alone meets, is its own: its neighbours go on, and SQS delivers it again."""
    try:
        yield
    except Exception as failure:
        taken.failed[message.message_id] = f"{type(failure).__name__}: {failure}"


def _other_content(job: JobSpec) -> Rejection:
    return Rejection(
        field="id",
        reason=f"id {job.job_id!r} belongs to a job with other content; send this one under an id of its own",
        job_id=job.job_id,
        pool=job.pool,
    )


def _record(message: Message, why: Rejection, now: datetime) -> ParkedMessage:
    return ParkedMessage(
        parked_id=f"{to_text(message.sent_at)}#{message.message_id}",
        reason=_writable(why.reason),
        field=why.field and _writable(why.field),
        job_id=why.job_id,
        pool=why.pool,
        sent_at=message.sent_at,
        parked_at=now,
        size=len(message.body.encode(errors="surrogatepass")),
        body=message.body,
    )


def _writable(text: str) -> str:
    """Without what UTF-8 or SQS do not take; a message may hold `\\ud800`, and its reason quotes it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _attributes(message: Message, record: ParkedMessage) -> dict[str, str]:
    if record.size + _ATTRIBUTES_MOST > LARGEST_MESSAGE:
        return {}
    return {"parked_id": record.parked_id, "message_id": message.message_id, "reason": record.reason[:400]}
