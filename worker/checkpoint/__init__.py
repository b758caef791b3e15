"""A job's checkpoint directory in the stack's bucket: complete saves, only what changed, the newest lease wins.

    checkpoints/<pool>/<job>/data/<fence>-<number>             contents of files, each written once
    checkpoints/<pool>/<job>/saves/<fence>-<number>.json.gz    one save: which file is which bytes of which data

A save is its manifest, and that is written last: until then nothing can see it. The newest save is the last key in the
order of their text, fence first. An attempt begins by publishing, under its own fence, the save that it restored (or an
empty one); from then on nothing that an older attempt still publishes can count, whatever is cut off, late or repeated.

Contents are cut into pieces; a piece whose hash the last save holds is not uploaded again. Small pieces share a data
object. Data that no save needs is deleted, but only once a heartbeat that began after the newest save was published has
confirmed the lease: a later attempt then sees that save or a newer one, and never one that needed what is deleted.

`Checkpoint` (checkpoint.py) keeps this order. `saves.py` is the manifest, `scan.py` reads a directory, `uploads.py`
takes what is new to the bucket, `restoring.py` brings it back.
"""

from __future__ import annotations

from worker.checkpoint.checkpoint import Checkpoint, Report
from worker.checkpoint.uploads import PIECE_BYTES, UPLOADS, Store

__all__ = ["PIECE_BYTES", "UPLOADS", "Checkpoint", "Report", "Store"]
