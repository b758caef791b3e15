"""How the domain's records are stored: one pair of functions per kind of item, nothing else.

Attributes are named as the dataclass fields are. Instants are text (instants.py), money is decimal text, requests are
JSON text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.bill_items import tariff_attributes
from lambdas.adapters.flat import read, stored, written
from lambdas.domain.buying.bills import Tariff
from lambdas.domain.fleet.fleet import (
    BootFailure,
    Instance,
    Intention,
    LaunchRequest,
    Lease,
    OfferingMark,
    Override,
)
from lambdas.domain.fleet.snapshot import Stretch
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.fit import Used
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.plan.urgency import Verdict
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.refusals.shortages import Alarmed, Past


def instance_item(instance: Instance, tariff: Tariff | None = None) -> Item:
    """A new instance's item. `leases` and those of `used_from` are the ledger's counters; they begin at 0. Without a
    tariff here, the pool's next pass gives it one."""
    return {
        **written(instance),
        **(tariff_attributes(tariff) if tariff else {}),
        **{"pk": keys.pool(instance.pool), "sk": keys.instance(instance.instance_id)},
        **{"gpk": keys.FLEET, "gsk": instance.instance_id, "leases": 0, **used_attributes(Used())},
    }


def used_attributes(used: Used) -> Item:
    return {f"used_{each.name}": getattr(used, each.name) for each in fields(Used)}


def used_from(instance: Mapping[str, Any]) -> Used:
    """Of an INSTANCE item. One from before jobs took resources counts slots and auxiliary jobs alone."""
    return Used(
        slots=instance["used_slots"],
        vcpus=Decimal(instance.get("used_vcpus", 0)),
        memory_mib=instance.get("used_memory_mib", 0),
        gpus=instance.get("used_gpus", 0),
        aux=instance["used_aux"],
    )


def instance_from(item: Mapping[str, Any]) -> Instance:
    return Instance(**read(Instance, item))


def lease_item(lease: Lease) -> Item:
    return {**written(lease), "pk": keys.pool(lease.pool), "sk": keys.lease(lease.instance_id, lease.job_id)}


def lease_from(item: Mapping[str, Any]) -> Lease:
    return Lease(**read(Lease, item))


def mark_item(pool: str, mark: OfferingMark) -> Item:
    """Goes by itself (TTL) a day after its cool-down ended; until then its strikes are remembered."""
    return {
        **written(mark),
        **{"pk": keys.pool(pool), "sk": keys.mark(mark.capacity_type, mark.instance_type, mark.zone)},
        "expires_at": int(mark.until.timestamp()) + 86_400,
    }


def boot_item(pool: str, failure: BootFailure) -> Item:
    """Goes by itself (TTL) a day after the instance was ended."""
    return {
        **written(failure),
        **{"pk": keys.pool(pool), "sk": keys.boot(failure.instance_id)},
        "expires_at": int(failure.ended_at.timestamp()) + 86_400,
    }


def boot_from(item: Mapping[str, Any]) -> BootFailure:
    return BootFailure(**read(BootFailure, item))


def mark_from(item: Mapping[str, Any]) -> OfferingMark:
    return OfferingMark(**read(OfferingMark, item))


def request_to_json(request: LaunchRequest) -> str:
    """The exact request, keys sorted, so that equal requests are equal text."""
    overrides = [{f.name: stored(getattr(o, f.name)) for f in fields(o)} for o in request.overrides]
    return json.dumps(
        {
            **{"capacity_type": request.capacity_type, "overrides": overrides, "count": request.count},
            "allocation_strategy": request.allocation_strategy,
            "template": request.template,
        },
        sort_keys=True,
    )


def request_from_json(text: str) -> LaunchRequest:
    document = json.loads(text)
    template: list[str] | None = document.get("template")
    return LaunchRequest(
        capacity_type=CapacityType(document["capacity_type"]),
        overrides=tuple(_override_from(o) for o in document["overrides"]),
        count=document["count"],
        allocation_strategy=document["allocation_strategy"],
        template=(template[0], template[1]) if template else None,
    )


def _override_from(document: dict[str, Any]) -> Override:
    price: str | None = document.pop("max_price")
    return Override(**document, max_price=None if price is None else Decimal(price))


def intention_item(intention: Intention) -> Item:
    return {
        **{"pk": keys.pool(intention.pool), "sk": keys.intent(intention.intention_id), "pool": intention.pool},
        **{"gpk": keys.INTENT, "gsk": to_text(intention.not_after) + "#" + intention.intention_id},
        **{"intention_id": intention.intention_id, "decision": intention.intention_id},
        "request": request_to_json(intention.request),
        **{"created_at": to_text(intention.created_at), "not_after": to_text(intention.not_after)},
        **{"clean_observations": intention.clean_observations, "adopted": intention.adopted},
    }


def intention_from(item: Mapping[str, Any]) -> Intention:
    return Intention(
        intention_id=item["intention_id"],
        pool=item["pool"],
        request=request_from_json(item["request"]),
        created_at=from_text(item["created_at"]),
        not_after=from_text(item["not_after"]),
        clean_observations=item["clean_observations"],
        adopted=item["adopted"],
    )


def reason_document(reason: Reason) -> Item:
    """As `status --json` prints a reason (contract section 5): every key present, `class` for the class."""
    document = {f.name: stored(getattr(reason, f.name)) for f in fields(reason)}
    return {"class": document.pop("reason_class"), **document}


def reason_from(document: Mapping[str, Any]) -> Reason:
    given = read(Reason, document)
    return Reason(reason_class=ReasonClass(document["class"]), **given)


def queue_item(pool: str, job: QueuedJob) -> Item:
    """One with a deadline is in the list of these too, where it is found however far down the queue it stands."""
    listed = {"gpk": keys.deadlines_of(pool), "gsk": keys.deadline(job.deadline, job.job_id)} if job.deadline else {}
    return {
        **written(job),
        **listed,
        **{"pk": keys.queue(pool, keys.shard(job.job_id))},
        **{"sk": keys.queue_entry(job.priority, job.submitted_at, job.job_id), "pool": pool},
    }


def queued_from(item: Mapping[str, Any]) -> QueuedJob:
    given: dict[str, Any] = {"resources": None}
    return QueuedJob(**given | read(QueuedJob, item))


def alarmed_document(alarmed: Alarmed | None) -> Item | None:
    if alarmed is None:
        return None
    return {"since": to_text(alarmed.since), "class": alarmed.reason_class.value, "code": alarmed.code}


def alarmed_from(document: Mapping[str, Any] | None) -> Alarmed | None:
    if document is None:
        return None
    return Alarmed(
        since=from_text(document["since"]), reason_class=ReasonClass(document["class"]), code=document["code"]
    )


def past_document(past: Past) -> list[Any]:
    """`["price", "PriceAboveLimit", 420]`: class, code, whole seconds."""
    return [past.reason_class.value, past.code, int(past.lasted.total_seconds())]


def past_from(document: Sequence[Any]) -> Past:
    reason_class, code, seconds = document
    return Past(reason_class=ReasonClass(reason_class), code=code, lasted=timedelta(seconds=int(seconds)))


def stretch_document(stretch: Stretch) -> str:
    """`up 1767603600 420`: since when, in seconds of the epoch, and for how many; 20 bytes each."""
    lasted = int((stretch.until - stretch.since).total_seconds())
    return f"{'up' if stretch.up else 'down'} {int(stretch.since.timestamp())} {lasted}"


def stretch_from(document: str) -> Stretch:
    word, since, lasted = document.split()
    begin = datetime.fromtimestamp(int(since), tz=UTC)
    return Stretch(up=word == "up", since=begin, until=begin + timedelta(seconds=int(lasted)))


def verdicts_document(verdicts: Sequence[Verdict]) -> Item:
    """By job, as STATE's summary holds them."""
    told = {each.job_id: written(each) for each in verdicts}
    return {job_id: {name: value for name, value in each.items() if name != "job_id"} for job_id, each in told.items()}


def verdicts_from(summary: Mapping[str, Any]) -> dict[str, Verdict]:
    stored: Mapping[str, Mapping[str, Any]] = summary.get("deadlines", {})
    return {job_id: _verdict(job_id, each) for job_id, each in stored.items()}


def _verdict(job_id: str, document: Mapping[str, Any]) -> Verdict:
    given: dict[str, Any] = {f.name: None for f in fields(Verdict)} | read(Verdict, document) | {"job_id": job_id}
    return Verdict(**given)
