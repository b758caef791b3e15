"""The dry run of each pool by the stack's own function, with its rights: the last word on whether it could launch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lambdas.adapters.items import reason_from
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import Reason, ReasonClass
from lowtide.doctor.findings import Cause, Finding, Status, fine
from lowtide.doctor.place import Place, Stack

CHECK = "dry-run"
_PASSES = frozenset({ReasonClass.THROTTLING, ReasonClass.TRANSIENT})
"""What says nothing about a launch some minutes from now."""
_SHOWN = 300
"""Characters of an error that the function ended with."""


def dry_run(place: Place, stack: Stack, pool: Pool, *, stored: bool) -> Iterator[Finding]:
    """`stored`: by its name, as the stack has it; else as it is given here. A pool's scripts are never sent: they may
    hold secrets, and EC2 has no opinion on them."""
    asked: Any = pool.name if stored else without_scripts(pool).to_document()
    answer = place.client("lambda").invoke(FunctionName=stack.reconcile, Payload=json.dumps({"dry_run": asked}))
    said: Mapping[str, Any] = json.loads(answer["Payload"].read() or b"null") or {}
    if "FunctionError" in answer or "shapes" not in said:
        yield _no_answer(pool, said)
        return
    for shape in said["shapes"]:
        yield from _of_shape(pool, shape)
    for note in said["notes"]:
        yield Finding(
            check=CHECK,
            status=Status.WARNING,
            what=note,
            why="the dry run did not ask for everything that a launch asks for",
            remedy="lowtide doctor",
            pool=pool.name,
            cause=Cause(reason_class=ReasonClass.TRANSIENT, code="NotAsked"),
        )


def without_scripts(pool: Pool) -> Pool:
    return replace(pool, machine=replace(pool.machine, startup_script=None, container_startup_script=None))


def _of_shape(pool: Pool, shape: Mapping[str, Any]) -> Iterator[Finding]:
    kind, works = shape["capacity_type"], shape["works"]
    reasons = [reason_from(reason) for reason in shape["reasons"]]
    if works and not reasons:
        yield fine(CHECK, f"{kind}: EC2 would have carried out the launch ({shape['calls']} dry runs)", pool=pool.name)
    for reason in reasons:
        yield Finding(
            check=CHECK,
            status=Status.WARNING if works or reason.reason_class in _PASSES else Status.FAILURE,
            what=f"{kind}: {reason.message}",
            why=f"{'some instances' if works else 'instances'} could not be launched{_where(reason)}",
            remedy=reason.remedy,
            pool=pool.name,
            told=(reason,),
        )


def _where(reason: Reason) -> str:
    where = [text for text in (reason.instance_type, reason.availability_zone) if text]
    return f" ({' in '.join(where)})" if where else ""


def _no_answer(pool: Pool, said: Mapping[str, Any]) -> Finding:
    """A function of an older deployment takes the question for a message of its queue."""
    kind, message = said.get("errorType"), str(said.get("errorMessage") or said.get("error") or "no answer")
    old = kind == "KeyError" and "Records" in message
    return Finding(
        check=CHECK,
        status=Status.WARNING if old else Status.FAILURE,
        what="the deployed function knows no dry run"
        if old
        else f"the function that launches failed: {': '.join(filter(None, (kind, message[:_SHOWN])))}",
        why="whether a launch would work is known only in part",
        remedy="cdk deploy" if old else "read its last error in the control log group, then lowtide doctor",
        pool=pool.name,
        cause=Cause(reason_class=ReasonClass.CONFIGURATION, code="NoDryRun"),
    )
