"""`lowtide parked`: messages that were no jobs, why, and what to do with them. Reads the records, never the queue."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from lambdas import names
from lambdas.adapters.parked import Parked, ParkedMessage
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.queues import Queue
from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.jobs import Rejection
from lambdas.domain.pools.pools import Pool
from lowtide.cli import changes
from lowtide.cli.asking import confirm
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack, Yes
from lowtide.cli.output import ago, console, print_json

app = typer.Typer(help="Messages that could not become jobs: list, show, redrive, delete.", no_args_is_help=True)

LIST_LIMIT = 100

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of parked messages.")]
OfPool = Annotated[str | None, typer.Option("--pool", help="Only those that named this pool.")]
OfJob = Annotated[str | None, typer.Option("--job", help="Only those that named this job id.")]
Every = Annotated[bool, typer.Option("--all", help="Every one (of --pool, where that is given).")]


@app.command("list")
def list_parked(
    pool: OfPool = None,
    job: OfJob = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = LIST_LIMIT,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Parked messages, the last parked first."""
    deployment = Deployment(stack)
    found = [message for _, message in zip(range(limit), _chosen(Parked(deployment.table), pool, job), strict=False)]
    if as_json:
        print_json([_summary(message) for message in found])
        return
    for message in found:
        where = f"pool {message.pool}, " if message.pool else ""
        console().print(f"{message.parked_id}  ({where}{ago(message.parked_at, deployment.now())} ago)", markup=False)
        console().print(f"  {message.reason}", markup=False)
    if not found:
        console().print("Nothing is parked.")


@app.command()
def show(
    parked_id: Annotated[str, typer.Argument(help="Id of the parked message.")],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """One parked message with its body."""
    deployment = Deployment(stack)
    message = _message(Parked(deployment.table), parked_id)
    document = {**_summary(message), "body": message.body, "place": None if message.body else _place(message)}
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        if value is not None and key != "body":
            console().print(f"{key.replace('_', ' '):<10} {value}", markup=False)
    if message.body is not None:
        console().print(f"\n{message.body}", markup=False)


@app.command()
def redrive(
    ids: Ids = None,
    every: Every = False,
    pool: OfPool = None,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """Send parked messages to the job queue again, and forget their records. What would only be parked again stays."""
    deployment = Deployment(stack)
    deployment.announce()
    parked, pools = Parked(deployment.table), {each.name: each for each in PoolConfig(deployment.table).pools()}
    queue = Queue(deployment.sqs, deployment.output(names.OUTPUT_JOB_QUEUE_URL))

    def sent(message: ParkedMessage) -> str:
        if why := _would_park(message, pools):
            raise Failure(f"{message.parked_id} would be parked again: {why}")
        queue.send(_with_its_id(message))
        parked.delete(message.parked_id)
        return "sent"

    _change(parked, sent, _wanted(parked, ids, pool, "Send", every=every, yes=yes))


@app.command()
def delete(
    ids: Ids = None,
    every: Every = False,
    pool: OfPool = None,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """Forget parked messages for good. Their copies in the parked queue go by themselves after 14 days."""
    deployment = Deployment(stack)
    deployment.announce()
    parked = Parked(deployment.table)

    def deleted(message: ParkedMessage) -> str:
        parked.delete(message.parked_id)
        return "deleted"

    _change(parked, deleted, _wanted(parked, ids, pool, "Delete", every=every, yes=yes))


def _change(parked: Parked, change: Callable[[ParkedMessage], str], wanted: list[str]) -> None:
    changes.make(lambda parked_id: change(_message(parked, parked_id)), wanted)


def _chosen(parked: Parked, pool: str | None, job: str | None = None) -> Iterator[ParkedMessage]:
    for message in parked.list():
        if pool in (None, message.pool) and job in (None, message.job_id):
            yield message


def _wanted(parked: Parked, ids: list[str] | None, pool: str | None, verb: str, *, every: bool, yes: bool) -> list[str]:
    """The ids given, or those of `--all`, asked about. Raises Misuse where neither or both were given."""
    if bool(ids) == every or (pool and not every):
        raise Misuse(f"name parked messages, or give --all (with --pool or without) to {verb.lower()} every one")
    wanted = list(dict.fromkeys(ids or [message.parked_id for message in _chosen(parked, pool)]))
    if not wanted:
        console().print("Nothing is parked.")
    elif every or len(wanted) > 1:
        confirm(f"{verb} {len(wanted)} parked messages?", yes=yes)
    return wanted


def _message(parked: Parked, parked_id: str) -> ParkedMessage:
    if (message := parked.record(parked_id)) is None:
        raise Failure(f"nothing is parked under {parked_id}: see `lowtide parked list`")
    return message


def _would_park(message: ParkedMessage, pools: Mapping[str, Pool]) -> str | None:
    """Why sending it again would not help; None: it would be a job now."""
    if message.body is None:
        return f"its body is not in the table ({_place(message)})"
    read = parse_message(_with_its_id(message), message_id=message.parked_id, pools=pools)
    return read.reason if isinstance(read, Rejection) else None


def _with_its_id(message: ParkedMessage) -> str:
    """The body, and where it names no id, that of the message it first came in: sent twice, it is one job."""
    assert message.body is not None
    try:
        read: Any = json.loads(message.body)
    except ValueError:
        return message.body
    if not isinstance(read, dict) or "id" in read:
        return message.body
    return json.dumps({"id": message.parked_id.partition("#")[2], **read})


def _place(message: ParkedMessage) -> str:
    return f"{message.size:,} bytes, in the parked queue as message {message.copy_id or 'not copied yet'}"


def _summary(message: ParkedMessage) -> dict[str, Any]:
    return {
        **{"id": message.parked_id, "job_id": message.job_id, "pool": message.pool, "field": message.field},
        **{"reason": message.reason, "sent_at": message.sent_at, "parked_at": message.parked_at},
        "size": message.size,
    }
