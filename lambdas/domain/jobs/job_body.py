"""A job as the body of a message again: what a parked job's record shows, and what is sent when it is redriven."""

import json
from typing import Any

from lambdas.domain.durations import format_duration
from lambdas.domain.jobs.jobs import JobSpec


def message_body(spec: JobSpec) -> str:
    """A body that `parse_message` reads back to the same job, its id included; fields at their default are left out."""
    plain = JobSpec(job_id="", pool="", command=()).to_document()
    told = {field: value for field, value in spec.to_document().items() if value != plain[field]}
    body: dict[str, Any] = {"id": told.pop("job_id"), **told}
    if spec.timeout is not None:
        body["timeout"] = format_duration(spec.timeout)
    if spec.estimated_duration is not None:
        body["estimated_duration"] = format_duration(spec.estimated_duration)
    if spec.resources is not None:
        body["resources"] = {**body["resources"], "vcpus": _number(body["resources"]["vcpus"])}
    return json.dumps(body)


def _number(text: str) -> float | int:
    return int(text) if text.isdigit() else float(text)
