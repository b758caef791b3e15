"""When an attempt's checkpoint is saved, how fast that goes, and what the job is told about it."""

from __future__ import annotations

import threading
import time
from typing import Callable

from worker.checkpoint import Checkpoint, Report
from worker.pace import Reserve
from worker.progress import Reached

MEASURABLE_BYTES = 2**20
"""A smaller save says nothing of the rate: it is requests, not bytes."""
HURRY_SECONDS = 1.0
"""From one save to the next between a notice and the job's end."""
GRACE_SECONDS = 0.25
"""For a save that sees its time is over to say so."""
LOOK_SECONDS = 0.25
"""How soon an end that is announced during the last save is heeded."""
CUT_OFF = "The last changes of the checkpoint could not be saved before the instance ends."
MARGIN = 1.5
"""The last save gets this times what the last measured one took: its changes may be more, the network busier."""


class Keeper:
    """Saves on a thread of its own: every `period` seconds, without a pause from `hurry` on, and a last time in `end`.
    A save that fails is told and made again at its next time; the job never waits for one."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        period: float,
        reserve: Reserve,
        reached: Callable[[], Reached | None],
        say: Callable[[str], None],
        told: Callable[..., None],
    ) -> None:
        """`reached`: how far the job is now; `say`: into the job's log; `told`: into the worker's."""
        self.checkpoint = checkpoint
        self.saved: Reached | None = None
        """How far the job was when the last save began that held something new; None: there was none yet."""
        self._reached = reached
        self._period = period
        self._reserve = reserve
        self._say = say
        self._told = told
        self._wake = threading.Event()
        self._hurried = self._over = self._abandoned = False
        self._until: float | None = None
        self._measured: float | None = None
        self._said = set[str]()
        self._thread = threading.Thread(target=self._keep, name="checkpoint", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """A notice came: what there is is saved now, beside the job."""
        self._hurried = True
        self._wake.set()

    def abandon(self) -> None:
        """The lease is lost: nothing is published any more."""
        self._abandoned = True
        self._wake.set()

    def finish_within(self, seconds: float | None) -> None:
        """Nothing is published later than `seconds` from now. None: no end is announced."""
        if seconds is not None:
            self._until = time.monotonic() + seconds

    def end(self, seconds: float | None) -> None:
        """The job has ended: one last save, published within `seconds`, or what `finish_within` says meanwhile, or not
        at all. None: as long as it takes. It returns in time even if S3 holds up a call: how the job ended has to be
        told before the instance ends."""
        self.finish_within(seconds)
        self._over = True
        self._wake.set()
        while self._thread.is_alive() and (self._until is None or time.monotonic() < self._until + GRACE_SECONDS):
            self._thread.join(LOOK_SECONDS)
        if self._thread.is_alive():
            self._say(CUT_OFF)
            self.abandon()

    def reserve_seconds(self) -> float:
        """How long before the announced end the job must be gone, by what the last save took."""
        if self._measured is None:
            return (self._reserve.least + self._reserve.most) / 2
        return min(max(self._reserve.least, MARGIN * self._measured), self._reserve.most)

    def _keep(self) -> None:
        while not self._over and not self._abandoned:
            self._wake.wait(HURRY_SECONDS if self._hurried else self._period)
            if self._over or self._abandoned:
                break
            self._wake.clear()
            self._clear()
            self._save()
        if not self._abandoned:
            self._save()

    def _clear(self) -> None:
        """What no save needs goes while there is time for it; it keeps no save waiting once the end is announced, and
        where it fails, the next save comes all the same."""
        try:
            self.checkpoint.delete_old(lambda: not (self._hurried or self._over or self._abandoned))
        except OSError as error:
            self._told("checkpoint-uncleared", error=str(error)[:300])

    def _save(self) -> None:
        reached = self._reached()
        try:
            report = self.checkpoint.save(self._wanted)
        except OSError as error:
            self._told("checkpoint-unsaved", error=str(error)[:300])
            self._once("unsaved", f"The checkpoint could not be saved and will be tried again: {error}")
        except Exception as error:
            self._told("checkpoint-broken", error=repr(error)[:300])
            self._once("broken", f"The checkpoint could not be saved: {error!r}")
        else:
            if report is not None:
                self.saved = reached if report.files else self.saved
                self._learn(report)
            elif not self._wanted() and not self._abandoned:
                self._say(CUT_OFF)

    def _wanted(self) -> bool:
        return not self._abandoned and (self._until is None or time.monotonic() < self._until)

    def _learn(self, report: Report) -> None:
        if report.uploaded_bytes >= MEASURABLE_BYTES:
            self._measured = report.seconds
        if report.seconds > self._reserve.most and report.uploaded_bytes >= MEASURABLE_BYTES:
            self._once(
                "too-much",
                f"Warning: saving {report.uploaded_bytes / 2**20:.0f} MiB of changes took {report.seconds:.0f} s "
                f"({report.uploaded_bytes / 2**20 / report.seconds:.0f} MiB/s). The last save before an interruption "
                f"has at most {self._reserve.most:.0f} s: as many changes would not fit into it. Write checkpoints "
                "less large, or into files that change less.",
            )
        if report.unsettled:
            names = ", ".join(report.unsettled[:3])
            self._once(
                f"unsettled {names}",
                f"Warning: {len(report.unsettled)} files change while they are being saved ({names}); their last "
                "saved contents are kept. Write to another name and rename.",
            )
        if report.foreign:
            self._once("foreign", f"Warning: {report.foreign} entries of the checkpoint directory are never saved.")

    def _once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(text)
