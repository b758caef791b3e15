"""What applying a pool would change, line by line, and what it can cost."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.pools import Pool
from lowtide.poolfile.resolve import most_per_hour

_NOT_THE_OWNERS = {"version", "applied_at", "images", "deleted"}
"""What the store and the control plane fill in."""


def changes(old: Pool | None, new: Pool) -> list[str]:
    """`+ key: value` for a new pool, `key: old -> new` for a changed one; empty when nothing would change."""
    if old is None or old.deleted:
        return [
            f"+ {name}: {_shown(name, getattr(new, name))}"
            for name in _keys()
            if getattr(new, name) not in (None, "", ())
        ]
    return [
        f"{name}: {_shown(name, getattr(old, name))} -> {_shown(name, getattr(new, name))}"
        for name in _keys()
        if getattr(old, name) != getattr(new, name)
    ]


def cost_line(pool: Pool) -> str:
    """The most that the pool's instances can cost in an hour, in words."""
    kind = "spot" if pool.spot else "on-demand"
    most = most_per_hour(pool)
    if most is None:
        return f"{kind}; at most {pool.max_instances} instances (the price list has no price for every type)"
    return f"{kind}; at most {pool.max_instances} instances, ${most:.2f} per hour"


def _keys() -> Iterator[str]:
    return (f.name for f in fields(Pool) if f.name not in _NOT_THE_OWNERS and f.name != "name")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if name == "spot_max_percent" and value is not None:
        return f"{value}%"
    if isinstance(value, Decimal):
        return f"${value}"
    if isinstance(value, tuple):
        return ", ".join(getattr(row, "name", None) or "=".join(map(str, row)) for row in value) or "-"  # pyright: ignore
    return "-" if value is None else str(value)
