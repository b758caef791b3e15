"""`lowtide submit`: one job from the command line, checked here as the stack would check it, then sent to its queue.

Sending the same JSON to the queue with any SQS client does the same; this adds an answer before the message leaves.
"""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lambdas import names
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.job_message import parse_message
from lambdas.domain.jobs import Rejection
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.jobs import wait_for
from lowtide.cli.options import DEFAULT_STACK, Stack
from lowtide.cli.output import console
from lowtide.workdir import LARGEST_MIB, TooLarge, pack, upload


def submit(
    command: Annotated[list[str], typer.Argument(help="What to run, after --.", metavar="-- COMMAND...")],
    pool: Annotated[str, typer.Option(help="Pool to run in.")],
    slots: Annotated[int | None, typer.Option(help="GPUs (or CPU slots) to hold; default 1.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Your own id: the same id twice is one job.")] = None,
    workdir: Annotated[Path | None, typer.Option(help="Directory to upload and start in.", file_okay=False)] = None,
    workdir_limit: Annotated[int, typer.Option(help="Largest packed directory, MiB.", min=1)] = LARGEST_MIB,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    priority: Annotated[int | None, typer.Option(help="-100 to 100, higher first.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Running time over all attempts, such as 2h30m.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Tries if the job itself fails.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit as the job did.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Submit one job."""
    deployment = Deployment(stack)
    deployment.announce()
    given = {"slots": slots, "priority": priority, "timeout": timeout, "max_attempts": max_attempts}
    message: dict[str, Any] = {
        **{"id": job_id or str(uuid.uuid4()), "pool": pool, "command": command},
        **{key: value for key, value in given.items() if value is not None},
        **{key: pairs for key, pairs in (("env", _pairs("--env", env)), ("tags", _pairs("--tag", tag))) if pairs},
    }
    _check(deployment, message)
    if workdir is not None:
        message["inputs"] = [_uploaded(deployment, workdir, workdir_limit)]
    deployment.sqs.send_message(QueueUrl=deployment.output(names.OUTPUT_JOB_QUEUE_URL), MessageBody=json.dumps(message))
    console().print(message["id"], markup=False)
    if wait:
        raise typer.Exit(wait_for(deployment, [message["id"]]))


def _check(deployment: Deployment, message: dict[str, Any]) -> None:
    """Raises Misuse where the stack would park the message."""
    pools = {pool.name: pool for pool in PoolConfig(deployment.table).pools()}
    parsed = parse_message(json.dumps(message), message_id=message["id"], pools=pools)
    if isinstance(parsed, Rejection):
        raise Misuse(f"{parsed.reason}; nothing was submitted")


def _uploaded(deployment: Deployment, workdir: Path, limit: int) -> dict[str, str]:
    try:
        archive = pack(workdir, largest_mib=limit)
    except (TooLarge, NotADirectoryError) as error:
        raise Misuse(str(error)) from error
    if not archive.files:
        raise Misuse(f"{workdir} has no files to upload")
    place = upload(deployment.s3, deployment.output(names.OUTPUT_BUCKET_NAME), archive)
    return {"s3": place, "path": ".", "sha256": archive.sha256}


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Misuse(f"{option} {text!r} is not NAME=VALUE: write for example {option} SEED=1")
        if name in pairs:
            raise Failure(f"{option} names {name} twice: give it once")
        pairs[name] = value
    return pairs
