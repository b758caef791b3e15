"""Plays the demo from beginning to end, through the doors that a user has: the command line and the queue."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.table import Table
from lowtide.cli.connection import settings_in
from lowtide.cli.output import plain
from lowtide.demo import report as reports
from lowtide.demo import screen
from lowtide.demo.bill import bill
from lowtide.demo.course import course
from lowtide.demo.watch import Moment, Record, look
from lowtide.demo.workload import SPOT_TYPE, TROUBLE, WAVES, bodies
from lowtide.local.complete import LocalAws
from lowtide.market.instances import Happening
from lowtide.market.model import PricePoint
from lowtide.report.collect import collect
from lowtide.report.page import page
from lowtide.workdir import pack, upload

HERE = Path(__file__).resolve().parent
POOLS = HERE / "pools.yaml"
PACE = 12.0
"""A minute of AWS passes in five seconds; a two-minute notice leaves ten."""
GIVE_UP_AFTER = timedelta(seconds=240)
"""The demo promises to be over in five minutes."""
LOOK_EVERY = 1.0
TELL_EVERY = timedelta(seconds=10)
QUIET_LOOKS = 3
"""Looks in a row at which everything is at rest, before the demo believes it."""


def run(*, seed: int, report_path: Path) -> bool:
    """Whether the demo showed everything that it has to. Leaves nothing running, also when interrupted."""
    console = Console(highlight=False)
    console.print("Starting the local AWS: an emulator, a spot market, and instances that are real processes.")
    with tempfile.TemporaryDirectory(prefix="lowtide-demo-") as folder, LocalAws(pace=PACE, random=Random(seed)) as aws:  # noqa: S311 - a seeded market is the purpose
        console.print(f"It answers at {aws.world.endpoint}. Deploying Lowtide into it with the CDK command line…")
        began = time.monotonic()
        outputs = aws.world.deploy(names.STACK)
        console.print(f"Deployed in {time.monotonic() - began:.0f} s. Applying the pools of {POOLS.name}.")
        _lowtide(aws, "pools", "apply", str(POOLS), "--yes")
        player = _Player(aws=aws, outputs=outputs, seed=seed, console=console, folder=Path(folder))
        report = player.play()
        document = player.document()
    report_path.write_text(json.dumps(report, indent=2, default=plain) + "\n", encoding="utf-8")
    page_path = report_path.with_name(report_path.name.removesuffix(".json") + ".html")
    page_path.write_text(page(document), encoding="utf-8")
    reports.print_report(report, console)
    console.print(f"The whole report is in {report_path}, the same period as a page in {page_path}.")
    return reports.passed(report)


def _lowtide(aws: LocalAws, *arguments: str) -> None:
    """A `lowtide` command as a user would type it, its output shown."""
    subprocess.run([sys.executable, "-m", "lowtide", *arguments], env=_environment(aws), check=True)


def _environment(aws: LocalAws) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **aws.world.environment()}


@dataclass(kw_only=True)
class _Player:
    aws: LocalAws
    outputs: Mapping[str, str]
    seed: int
    console: Console
    folder: Path
    record: Record = field(default_factory=Record)
    told_at: timedelta = -timedelta(minutes=1)
    began: datetime = field(init=False)
    """The first push."""
    ended: datetime = field(init=False)
    """The last look: what the report and its page are about ends here."""

    def __post_init__(self) -> None:
        client = self.aws.world.client
        self.table = Table(client("dynamodb"), self.outputs[names.OUTPUT_TABLE_NAME])
        self.ledger = Ledger(self.table, jobs_kept=settings_in(self.outputs).jobs_kept)
        self.sqs, self.cloudwatch = client("sqs"), client("cloudwatch")
        pools = yaml.safe_load(POOLS.read_text(encoding="utf-8"))["resource_pools"]
        self.minimums: dict[str, int] = {p["pool_name"]: p["provider"].get("min_instances", 0) for p in pools}
        self.total = sum(wave.jobs for wave in WAVES)

    def play(self) -> dict[str, Any]:
        waiting = self._messages()
        self.console.print(f"Pushing {self.total} jobs to the queue, in waves; then the market gets into trouble.\n")
        start = self.began = _now()
        self.aws.market.script(TROUBLE)
        with self._live() as live:
            last = self._until_rest(start, waiting, live)
        self.ended = _now()
        return reports.build(
            record=self.record,
            last=last,
            attempts={job.job_id: self.ledger.attempts(job) for job in last.jobs},
            minimums=self.minimums,
            bill=self._bill(),
            alarm=self._alarm_name(last),
            total=self.total,
            seconds=(self.ended - start).total_seconds(),
            seed=self.seed,
        )

    def document(self) -> dict[str, Any]:
        """What the page of the report is drawn from: everything since the first push."""
        return collect(
            self.table,
            self.ledger,
            stack=names.STACK,
            region=self.aws.world.region,
            since=self.began,
            until=self.ended,
            bill=course(self._happenings(), self._paid_prices(), pace=PACE, since=self.began, until=self.ended),
        )

    def _messages(self) -> list[tuple[float, str]]:
        """(seconds after the start, body), in order; the job's program is uploaded once."""
        archive = pack(HERE / "job")
        place = upload(self.aws.world.client("s3"), self.outputs[names.OUTPUT_BUCKET_NAME], archive, _now())
        inputs = [{"s3": place, "path": ".", "sha256": archive.sha256}]
        return sorted((wave.at_seconds, body) for wave, body in bodies(self.seed, inputs))

    def _until_rest(self, start: datetime, waiting: list[tuple[float, str]], live: Live | None) -> Moment:
        """The last look: at rest with everything done, or whatever was there when the time was over."""
        quiet = 0
        while True:
            elapsed = _now() - start
            self._push(waiting, elapsed)
            moment = self._look()
            quiet = quiet + 1 if self._is_over(moment, waiting) else 0
            self._show(moment, elapsed, live)
            if quiet >= QUIET_LOOKS or elapsed > GIVE_UP_AFTER:
                return moment
            time.sleep(LOOK_EVERY)

    def _show(self, moment: Moment, elapsed: timedelta, live: Live | None) -> None:
        """The live table; where there is no terminal, a line every so often."""
        if live is not None:
            live.update(screen.render(moment, total=self.total, elapsed=elapsed, prices=self._prices()))
        elif elapsed - self.told_at >= TELL_EVERY:
            self.told_at = elapsed
            self.console.print(screen.line(moment, total=self.total, elapsed=elapsed))

    def _push(self, waiting: list[tuple[float, str]], elapsed: timedelta) -> None:
        ready = [body for at, body in waiting if at <= elapsed.total_seconds()]
        del waiting[: len(ready)]
        for first in range(0, len(ready), 10):
            batch = ready[first : first + 10]
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)]
            self.sqs.send_message_batch(QueueUrl=self.outputs[names.OUTPUT_JOB_QUEUE_URL], Entries=entries)

    def _look(self) -> Moment:
        moment = look(self.table, self.ledger, self.cloudwatch, list(self.minimums), names.STACK, _now())
        self.record.add(moment)
        return moment

    def _is_over(self, moment: Moment, waiting: Iterable[Any]) -> bool:
        done = not list(waiting) and moment.ended() == self.total
        return done and reports.at_rest(moment, self.minimums) and "ALARM" not in moment.alarms.values()

    def _alarm_name(self, moment: Moment) -> str:
        return next((name for name in moment.alarms if names.ALARM_UNFULFILLED in name), names.ALARM_UNFULFILLED)

    def _prices(self) -> dict[str, Decimal]:
        offers = self.aws.market.prices(SPOT_TYPE)
        return {SPOT_TYPE: min(Decimal(offer["spot_price"]) for offer in offers)}

    def _bill(self) -> list[dict[str, Any]]:
        return bill(self._happenings(), self._paid_prices(), pace=PACE, now=self.ended)

    def _happenings(self) -> list[Happening]:
        """Up to the last look: what ended later is still there."""
        return [line for line in self.aws.market.history() if line.at <= self.ended]

    def _paid_prices(self) -> dict[tuple[str, str], list[PricePoint]]:
        """Of everything that was ever launched, from then on."""
        since: dict[tuple[str, str], datetime] = {}
        for line in self._happenings():
            if line.what == "launched":
                since.setdefault((line.instance_type, line.zone), line.at)
        return {place: self.aws.market.price_points(*place, begin) for place, begin in since.items()}

    def _live(self) -> AbstractContextManager[Live | None]:
        return Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else nullcontext()


def _now() -> datetime:
    return datetime.now(UTC)
