"""How the domain's records are stored: one pair of functions per kind of item, nothing else.

Attributes are named as the dataclass fields are. Instants are text (instants.py), money is decimal text, requests are
JSON text.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.table import Item
from lambdas.domain.fleet import (
    Instance,
    InstanceState,
    Intention,
    LaunchRequest,
    Lease,
    OfferingMark,
    Override,
)
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs import QueuedJob, Resources
from lambdas.domain.pools import CapacityType
from lambdas.domain.reasons import Reason, ReasonClass

_INSTANTS = {
    Instance: {
        *("launched_at", "reported_at", "heartbeat_at", "idle_since", "draining_since", "ends_at", "rebalance_at"),
        *("observed_at", "termination_requested_at"),
    },
    Lease: {"claimed_at", "renewed_at", "submitted_at"},
    OfferingMark: {"until", "marked_at"},
    Reason: {"since", "last_seen", "next_attempt"},
    QueuedJob: {"submitted_at", "queued_at"},
}
_MONEY = {"price_limit", "last_price", "max_price"}
_ENUMS: dict[str, Any] = {"capacity_type": CapacityType, "reason_class": ReasonClass}


def _write(record: Any) -> Item:
    """A flat record's fields in stored form; None is left out."""
    stored: Item = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if value is not None:
            stored[f.name] = _stored(value)
    return stored


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    return str(value) if isinstance(value, Decimal) else value


def _read(kind: Any, item: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a flat record of this kind, from a stored item; what is not a field is passed over."""
    given: dict[str, Any] = {}
    for f in fields(kind):
        if (value := item.get(f.name)) is None:
            continue
        if f.name in _INSTANTS[kind]:
            value = from_text(value)
        elif f.name in _MONEY:
            value = Decimal(value)
        elif f.name in _ENUMS and kind is not Reason:
            value = _ENUMS[f.name](value)
        given[f.name] = value
    return given


def instance_item(instance: Instance) -> Item:
    """A new instance's item. `leases` and `used_slots` are the ledger's counters; they begin at 0."""
    return {
        **_write(instance),
        **{"pk": keys.pool(instance.pool), "sk": keys.instance(instance.instance_id)},
        **{"gpk": keys.FLEET, "gsk": instance.instance_id, "leases": 0, "used_slots": 0, "used_aux": 0},
    }


def instance_from(item: Mapping[str, Any]) -> Instance:
    given = _read(Instance, item)
    given["state"] = InstanceState(given["state"])
    return Instance(**given)


def lease_item(lease: Lease) -> Item:
    return {**_write(lease), "pk": keys.pool(lease.pool), "sk": keys.lease(lease.instance_id, lease.job_id)}


def lease_from(item: Mapping[str, Any]) -> Lease:
    return Lease(**_read(Lease, item))


def mark_item(pool: str, mark: OfferingMark) -> Item:
    """Goes by itself (TTL) a day after its cool-down ended; until then its strikes are remembered."""
    return {
        **_write(mark),
        **{"pk": keys.pool(pool), "sk": keys.mark(mark.capacity_type, mark.instance_type, mark.zone)},
        "expires_at": int(mark.until.timestamp()) + 86_400,
    }


def mark_from(item: Mapping[str, Any]) -> OfferingMark:
    return OfferingMark(**_read(OfferingMark, item))


def request_to_json(request: LaunchRequest) -> str:
    """The exact request, keys sorted, so that equal requests are equal text."""
    overrides = [{f.name: _stored(getattr(o, f.name)) for f in fields(o)} for o in request.overrides]
    return json.dumps(
        {
            **{"capacity_type": request.capacity_type, "overrides": overrides, "count": request.count},
            "allocation_strategy": request.allocation_strategy,
        },
        sort_keys=True,
    )


def request_from_json(text: str) -> LaunchRequest:
    document = json.loads(text)
    return LaunchRequest(
        capacity_type=CapacityType(document["capacity_type"]),
        overrides=tuple(_override_from(o) for o in document["overrides"]),
        count=document["count"],
        allocation_strategy=document["allocation_strategy"],
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
    stored = {f.name: _stored(getattr(reason, f.name)) for f in fields(reason)}
    return {"class": stored.pop("reason_class"), **stored}


def reason_from(document: Mapping[str, Any]) -> Reason:
    given = _read(Reason, document)
    return Reason(reason_class=ReasonClass(document["class"]), **given)


def queue_item(pool: str, job: QueuedJob) -> Item:
    return {
        **{**_write(job), "resources": job.resources and job.resources.to_document()},
        **{"pk": keys.queue(pool, keys.shard(job.job_id))},
        **{"sk": keys.queue_entry(job.priority, job.submitted_at, job.job_id), "pool": pool},
    }


def queued_from(item: Mapping[str, Any]) -> QueuedJob:
    given = _read(QueuedJob, item)
    if (resources := item.get("resources")) is not None:
        given["resources"] = Resources.from_document(resources)
    return QueuedJob(**given)
