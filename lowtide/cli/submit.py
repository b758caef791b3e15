"""`lowtide submit`: jobs from the command line, a file or a pipe, checked as the stack would check them, then sent.

Sending the same JSON to the queue with any SQS client does the same; this adds an answer before anything leaves, and
ids by which the same submission again submits nothing twice.
"""

import sys
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console

from lambdas import names
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lowtide import jobfile, sending
from lowtide.cli import deadline_words
from lowtide.cli.connection import Deployment, utc_now
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.moments import later
from lowtide.cli.options import DEFAULT_STACK, Stack
from lowtide.cli.output import console
from lowtide.cli.waiting import bar, ledger_of, wait_for
from lowtide.jobfile import Job, Message, Wrong
from lowtide.workdir import LARGEST_MIB, Archive, TooLarge, Unpackable, pack, upload

_CLOCKS_DIFFER = timedelta(seconds=10)
"""By so much this machine's clock may be ahead of SQS's."""


def submit(
    command: Annotated[list[str] | None, typer.Argument(help="What to run, after --.", metavar="-- COMMAND...")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="JSON lines, one job each; - reads them from a pipe.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Pool to run in; for lines of --file that name none.")] = None,
    slots: Annotated[int | None, typer.Option(help="GPUs (or CPU slots) to hold; default 1.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Your own id: the same id twice is one job.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Although the same job was submitted before.")] = False,
    workdir: Annotated[Path | None, typer.Option(help="Directory to upload and start in.", file_okay=False)] = None,
    workdir_limit: Annotated[int, typer.Option(help="Largest packed directory, MiB.", min=1)] = LARGEST_MIB,
    image: Annotated[str | None, typer.Option(help="Run in this container.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    priority: Annotated[int | None, typer.Option(help="-100 to 100, higher first.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Running time over all attempts, such as 2h30m.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Tries if the job itself fails.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="To be finished by then: 2026-11-24T09:00:00Z, or 6h from now.")
    ] = None,
    estimate: Annotated[str | None, typer.Option(help="Running time it needs on one instance, such as 2h30m.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if all succeeded.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Submit one job, or every job of a file. The same submission again submits nothing twice."""
    given: dict[str, Any] = {
        **{"pool": pool, "slots": slots, "image": image, "priority": priority, "timeout": timeout},
        **{
            "estimated_duration": estimate,
            "max_attempts": max_attempts,
            "env": _pairs("--env", env),
            "tags": _pairs("--tag", tag),
        },
    }
    defaults: Message = {key: value for key, value in given.items() if value not in (None, {})}
    if bool(command) == (file is not None):
        raise Misuse("give a command after --, or jobs with --file: one of them")
    if file is not None and (job_id or again):
        raise Misuse("--id and --again are for one job: write the ids into the lines of the file")
    deployment = Deployment(stack)
    deployment.announce()
    if deadline is not None:
        defaults["deadline"] = to_text(later("--deadline", deadline, deployment.now()))
    if workdir is not None:
        archive = _packed(workdir, workdir_limit)
        bucket = deployment.output(names.OUTPUT_BUCKET_NAME)
        defaults["inputs"] = [{"s3": f"s3://{bucket}/{archive.key}", "path": ".", "sha256": archive.sha256}]
        jobs = _jobs(deployment, command, file, job_id, defaults, again=again)
        upload(deployment.s3, bucket, archive, utc_now())
    else:
        jobs = _jobs(deployment, command, file, job_id, defaults, again=again)
    began_at = deployment.now()
    _send(deployment, jobs)
    if wait:
        raise typer.Exit(wait_for(deployment, [job.job_id for job in jobs], sent_since=began_at - _CLOCKS_DIFFER))


def _jobs(
    deployment: Deployment,
    command: Sequence[str] | None,
    file: Path | None,
    job_id: str | None,
    defaults: Message,
    *,
    again: bool,
) -> list[Job]:
    """Everything that is to be there in the end. Raises Misuse where the stack would park one of them."""
    pools = {each.name: each for each in PoolConfig(deployment.table).pools()}
    if file is None:
        if "pool" not in defaults:
            raise Misuse("no pool is given: name one with --pool (`lowtide pools list` shows them)")
        own_id = {"id": job_id or str(uuid.uuid4())} if job_id or again else {}
        jobs, wrong = jobfile.checked([(1, {**own_id, **defaults, "command": list(command or ())})], pools)
    else:
        with _opened(file) as lines:
            jobs, wrong = jobfile.checked(jobfile.read_lines(lines, defaults), pools)
    if wrong:
        raise Misuse(f"{_told(wrong, file)}; nothing was submitted")
    if not jobs:
        raise Misuse(f"{file} has no jobs: write one JSON object a line")
    return jobs


def _told(wrong: Sequence[Wrong], file: Path | None) -> str:
    return wrong[0].reason if file is None else f"{file}: {jobfile.told(wrong)}"


@contextmanager
def _opened(file: Path) -> Generator[IO[str]]:
    if str(file) == "-":
        yield sys.stdin
        return
    try:
        with file.open(encoding="utf-8") as lines:
            yield lines
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Misuse(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _send(deployment: Deployment, jobs: Sequence[Job]) -> None:
    """Sends what the ledger does not have, and prints every id."""
    there = ledger_of(deployment).found(job.job_id for job in jobs)
    for job in jobs:
        if job.job_id in there and there[job.job_id].content != job.content:
            raise Misuse(f"id {job.job_id} is that of a job with other content: give it another; nothing was submitted")
    new = [job for job in jobs if not _is_known(there.get(job.job_id))]
    with bar("jobs sent", len(new)) as progress:
        try:
            sending.send(
                deployment.sqs,
                deployment.output(names.OUTPUT_JOB_QUEUE_URL),
                new,
                sent=lambda count: progress.advance(progress.task_ids[0], count),
            )
        except sending.NotTaken as error:
            raise Failure(f"{error}: submit again, what was taken is not submitted twice") from error
    for job in jobs:
        console().print(job.job_id, markup=False)
    _tell(jobs, new, there)
    for line in deadline_words.submitted(deployment.table, deployment.settings, new, deployment.now()):
        _say(line)


def _is_known(job: JobRecord | None) -> bool:
    """A parked job is sent again: it is revived where it can be a job now."""
    return job is not None and job.state is not JobState.PARKED


def _tell(jobs: Sequence[Job], new: Sequence[Job], there: dict[str, JobRecord]) -> None:
    known = len(jobs) - len(new)
    if not known:
        return
    if len(jobs) == 1:
        state = there[jobs[0].job_id].state.value
        said = f"submitted before, and {state}: --again runs it once more under a new id"
        said += f"; `lowtide jobs retry {jobs[0].job_id}` under this one" if state in ("failed", "cancelled") else ""
    else:
        said = f"{len(new)} submitted, {known} were there already"
    _say(said)


def _say(said: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(said, markup=False)


def _packed(workdir: Path, limit: int) -> Archive:
    try:
        archive = pack(workdir, largest_mib=limit)
    except (TooLarge, Unpackable, NotADirectoryError) as error:
        raise Misuse(str(error)) from error
    if not archive.files:
        raise Misuse(f"{workdir} has no files to upload")
    return archive


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Misuse(f"{option} {text!r} is not NAME=VALUE: write for example {option} SEED=1")
        if name in pairs:
            raise Misuse(f"{option} names {name} twice: give it once")
        pairs[name] = value
    return pairs
