"""Why a job failed, as a reason with what to do, in the shape that a pool's reasons have."""

from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.reasons import Reason, ReasonClass
from lowtide.cli.remedies import Remedy

STOPPED_EARLY = "JobStoppedEarly"
_OTHERS = {
    "timeout": ("JobTimedOut", "Give it a longer timeout, or let it save its work more often"),
    "out_of_memory": ("JobOutOfMemory", "Ask for more memory with resources, or for a larger type's slots"),
    "interrupted": ("JobInterrupted", "Raise its max_interruptions, or let its pool fall back to on-demand"),
}
_FAILED = "JobFailed", "See how it ended, and mend the cause"
_POISON = "See how it ended, and mend its command, inputs or image: it fails wherever it begins"


def job_reason(job: JobRecord) -> Reason | None:
    """None: it has not failed."""
    if job.state is not JobState.FAILED:
        return None
    why = job.reason or ""
    code, mend = (STOPPED_EARLY, _POISON) if why.startswith("stopped early") else _OTHERS.get(why, _FAILED)
    at = job.finished_at or job.queued_at
    return Reason(
        reason_class=ReasonClass.CAPACITY if why == "interrupted" else ReasonClass.CONFIGURATION,
        code=code,
        message=why,
        remedy=f"{mend}; its last output: `lowtide jobs logs {job.job_id}`. To run it again: "
        f"`{job_remedy(job).command}`.",
        since=at,
        last_seen=at,
        count=max(1, job.failures),
    )


def job_remedy(job: JobRecord) -> Remedy:
    return Remedy(command=f"lowtide jobs retry {job.job_id}" if job.state is JobState.FAILED else None)
