"""One attempt's checkpoint: restored before the job, saved while it runs, cleared of what no save needs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable, NamedTuple

from worker.checkpoint import restoring, saves
from worker.checkpoint.saves import EMPTY, Damaged, Piece, Tree, Where
from worker.checkpoint.scan import Scan, Stamp
from worker.checkpoint.uploads import Store, Uploads

REWRITE_AFTER_SECONDS = 30 * 24 * 3600.0
"""Data is uploaded anew when it is so old, since the bucket deletes it by its age (infra/storage.py: 90 days)."""


class Report(NamedTuple):
    """What a save did."""

    files: int
    uploaded_bytes: int
    seconds: float
    unsettled: tuple[str, ...]
    """Files that changed whenever they were copied: their last saved contents, if any, were kept."""
    foreign: int
    """Files of other users and things that are neither file, link nor directory: never saved."""


class Checkpoint:
    """One attempt's. Its methods are called by one thread at a time, `confirm` by any.

    Every method raises OSError when S3 cannot be had; then the newest complete save is what it was before, and the
    next call goes on with what had been uploaded."""

    def __init__(
        self,
        store: Store,
        *,
        pool: str,
        job_id: str,
        fence: int,
        directory: Path,
        owner: int | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`owner`: the user whose files are saved; None: any."""
        self._store = store
        self._prefix = f"checkpoints/{pool}/{job_id}/"
        self._fence = fence
        self._directory = directory
        self._owner = owner
        self._clock = clock
        self._sleep = sleep
        self._saves = 0
        self._data = 0
        self._tree = EMPTY
        """Of the newest save."""
        self._known: dict[Piece, Where] = {}
        self._stamps: dict[str, Stamp] = {}
        self._published_at: float | None = None
        """Monotonic; None: nothing since data was last deleted."""
        self._confirmed_at = -1.0

    # --- before the job -----------------------------------------------------------------------------------------------

    def restore(self) -> tuple[int, list[str]]:
        """Fills the directory, which is empty, from the newest save that is whole, and makes that this attempt's own.

        The number of files, and what was wrong with newer saves. No save: 0 files."""
        wrong = list[str]()
        for key in reversed(self._store.keys(f"{self._prefix}saves/")):
            try:
                tree, places = self._read_save(key)
                restoring.fill(self._directory, tree, places, self._data_of)
            except Damaged as error:
                wrong.append(f"{key.rsplit('/', 1)[-1]}: {error}")
                restoring.clear(self._directory)
                continue
            self._tree, self._known = tree, places
            break
        self._publish(self._tree)
        return len(self._tree.files), wrong

    def settle(self) -> None:
        """What was restored is unchanged as it is now: to be called when its owners have been set."""
        self._stamps = {path: Stamp.of(os.lstat(self._directory / path)) for path in self._tree.files}

    def _read_save(self, key: str) -> tuple[Tree, dict[Piece, Where]]:
        body = self._store.get(key)
        if body is None:
            raise Damaged("it is gone")
        return saves.read(body)

    def _data_of(self, name: str) -> bytes | None:
        return self._store.get(f"{self._prefix}data/{name}")

    # --- while it runs ------------------------------------------------------------------------------------------------

    def save(self, wanted: Callable[[], bool] = lambda: True) -> Report | None:
        """Publishes the directory as it is. None: nothing has changed since the last save, or it is not `wanted` any
        more, which is asked before each upload and before the save is published."""
        begin = time.monotonic()
        with Uploads(self._store, f"{self._prefix}data/", self._next_data, self._clock, wanted) as uploads:
            try:
                found = self._scan(uploads)
                uploads.finish()
            finally:
                self._known.update(uploads.uploaded)
        if not wanted():
            return None
        changed = found.tree != self._tree
        if changed or uploads.sent:
            self._publish(found.tree)
        self._stamps = found.stamps
        if not changed and not uploads.sent:
            return None
        seconds = time.monotonic() - begin
        return Report(len(found.tree.files), uploads.sent, seconds, tuple(found.unsettled), found.foreign)

    def confirm(self, began_at: float) -> None:
        """A heartbeat that began at this instant (monotonic) was answered, and the lease was still ours."""
        self._confirmed_at = max(self._confirmed_at, began_at)

    def _scan(self, uploads: Uploads) -> Scan:
        scan = Scan(
            self._directory,
            owner=self._owner,
            last=self._tree,
            stamps=self._stamps,
            stored=self._stored,
            into=uploads,
            clock=self._clock,
            sleep=self._sleep,
        )
        scan.look()
        return scan

    def _stored(self, piece: Piece) -> bool:
        """Whether the bucket has it, and does not delete it before long."""
        known = self._known.get(piece)
        return known is not None and known.written_at > self._clock() - REWRITE_AFTER_SECONDS

    def _next_data(self) -> str:
        self._data += 1
        return f"{self._fence:08d}-{self._data:08d}"

    def _publish(self, tree: Tree) -> None:
        self._saves += 1
        self._store.put(self._save_key(self._saves), saves.written(tree, self._known))
        self._tree, self._published_at = tree, time.monotonic()

    def _save_key(self, number: int) -> str:
        return f"{self._prefix}saves/{self._fence:08d}-{number:08d}.json.gz"

    def delete_old(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Deletes what the newest save does not need, for as long as it is `wanted`: a thousand objects take half a
        minute, one by one. Safe only with the lease confirmed since the save was published, else nothing is deleted."""
        if self._published_at is None or self._confirmed_at < self._published_at:
            return
        used = saves.pieces_of(self._tree)
        self._known = {piece: where for piece, where in self._known.items() if piece in used}
        keep = {f"{self._prefix}data/{where.data}" for where in self._known.values()}
        keep.add(self._save_key(self._saves))
        ours = f"{self._fence + 1:08d}"
        gone = [key for key in self._store.keys(self._prefix) if key not in keep and key.rsplit("/", 1)[-1] < ours]
        for key in sorted(gone, key=lambda one: "/saves/" not in one):  # saves before the data that they need
            if not wanted():
                return
            self._store.delete(key)
        self._published_at = None
