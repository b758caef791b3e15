"""A report's document as collect makes one, small and whole; tests change what they are about."""

from typing import Any

SINCE, UNTIL = "2026-01-05T08:00:00.000000Z", "2026-01-05T10:00:00.000000Z"


def at(minute: int) -> str:
    """So many minutes after SINCE."""
    return f"2026-01-05T{8 + minute // 60:02d}:{minute % 60:02d}:00.000000Z"


def point(minute: int, **changes: Any) -> dict[str, Any]:
    return {
        **{"at": at(minute), "desired": 0, "running_spot": 0, "running_on_demand": 0, "launching": 0, "draining": 0},
        **{"unfulfilled": 0, "queued_jobs": 0, "running_jobs": 0, "spot_price_usd": 0.03, "price_limit_usd": 0.05},
        **{"offering": "c7i.large in us-west-2a", **changes},
    }


def shortage(**changes: Any) -> dict[str, Any]:
    return {
        **{"class": "price", "code": "SpotMaxPriceTooLow", "message": "The cheapest offering is $0.41."},
        **{"remedy": "Raise spot_max_price.", "capacity_type": "spot", "count": 3, "since": at(20), "until": at(50)},
        **{"most_missing": 2, "seconds": 1800.0, **changes},
    }


def interruption(**changes: Any) -> dict[str, Any]:
    offering = {"instance_id": "i-1", "noticed": True, "offering": "c7i.large in us-west-2a", "jobs": 1}
    return {"at": at(70), **offering, **changes}


def pool(name: str = "cpu", **changes: Any) -> dict[str, Any]:
    counts = ("desired", "running", "launching", "draining", "idle", "unfulfilled", "queued_jobs", "running_jobs")
    return {
        **{"name": name, "kind": "spot", "limit": "$0.05 an hour", "types": ["c7i.large"]},
        **{"min_instances": 0, "max_instances": 3, "state": "active", "now": dict.fromkeys(counts, 0)},
        **{"sentence": f"{name}: nothing is missing", "decisions": 4, "decisions_without_snapshot": 0},
        "timeline": [
            point(10, desired=2, unfulfilled=2, queued_jobs=2, spot_price_usd=0.41),
            point(50, desired=2, launching=2, queued_jobs=2),
            point(55, desired=2, running_spot=1, running_on_demand=1, running_jobs=2),
            point(100),
        ],
        **{"interruptions": [interruption()], "shortages": [shortage()], **changes},
    }


def job(job_id: str = "train-1", **changes: Any) -> dict[str, Any]:
    attempts = [
        {"n": 1, "instance_id": "i-1", "outcome": "interrupted", "ended_at": at(72)},
        {"n": 2, "instance_id": "i-2", "outcome": "succeeded", "ended_at": at(95)},
    ]
    return {
        **{"id": job_id, "pool": "cpu", "state": "succeeded", "slots": 1, "submitted_at": at(10)},
        **{"waited_seconds": 2700.0, "ran_seconds": 1500.0, "attempts": attempts, "interruptions": 1},
        **{"cost_usd": 0.0125, "on_demand_cost_usd": 0.0417, "reason": None, **changes},
    }


def instance(instance_id: str = "i-1", **changes: Any) -> dict[str, Any]:
    return {
        **{"instance_id": instance_id, "pool": "cpu", "lifecycle": "spot", "instance_type": "c7i.large"},
        **{"availability_zone": "us-west-2a", "price_limit_usd": 0.05, "launched_at": at(50), "ready_seconds": 95.0},
        **{
            "ended_at": at(72),
            "end": "taken back by EC2, with notice",
            "cost_usd": 0.011,
            "seconds": 1320.0,
            **changes,
        },
    }


def document(**changes: Any) -> dict[str, Any]:
    points = [{"at": at(n), "spent_usd": 0.0002 * n, "on_demand_usd": 0.0007 * n} for n in range(0, 121, 10)]
    totals = {"spent_usd": points[-1]["spent_usd"], "on_demand_usd": points[-1]["on_demand_usd"]}
    return {
        **{"stack": "Lowtide", "region": "us-west-2", "since": SINCE, "until": UNTIL, "pools": [pool()]},
        "cost": {"points": points, **totals, "how": "Reckoned from the kept decisions."},
        "jobs": [job(), job("train-2", state="failed", reason="exit 3"), job("train-10", ran_seconds=30.0)],
        **{"pools_with_more_jobs": [], "instances": [instance(), instance("i-2", end="ended by Lowtide")]},
        **changes,
    }
