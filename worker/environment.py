"""The variables of one attempt's processes, on the host or in a container. Nothing is started here."""

from __future__ import annotations

from pathlib import Path

from worker.isolation import base_environment
from worker.leases import Lease


def job_environment(
    lease: Lease, place: Path, rights: dict[str, str], *, gpus: int, devices: tuple[int, ...]
) -> dict[str, str]:
    """`rights` override the job's own variables, Lowtide's override both. `gpus`: of the instance; `devices`: the
    attempt's among them."""
    found = base_environment(place / "home", place / "tmp")
    if lease.image is not None:
        del found["PATH"]  # the image's own
        found["TINI_KILL_PROCESS_GROUP"] = "1"  # docker's init passes signals on to all of the group
    found.update(lease.env)
    found.update(rights)
    found.update(
        LOWTIDE_JOB_ID=lease.key.job_id,
        LOWTIDE_POOL=lease.pool,
        LOWTIDE_ATTEMPT=str(lease.attempt),
        LOWTIDE_CHECKPOINT_DIR=str(place / "checkpoint"),
        LOWTIDE_DONE_FILE=str(place / "done" / "done"),
        LOWTIDE_NOTICE_FILE=str(place / "notice" / "notice"),
        LOWTIDE_PROGRESS_FILE=str(place / "progress" / "progress"),
    )
    if gpus:
        found.update(_visible_gpus(devices, inside=lease.image is not None))
    return found


def _visible_gpus(devices: tuple[int, ...], *, inside: bool) -> dict[str, str]:
    """A container has only its own, which count from 0 there. One without any says so to NVIDIA's runtime, which
    would otherwise heed an image that asks for all."""
    if not inside:
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
    counted = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(len(devices))))}
    return counted if devices else {**counted, "NVIDIA_VISIBLE_DEVICES": "void"}
