"""What applying a pool would change, line by line, and what it can cost."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import Pool
from lowtide.poolfile.resolve import most_per_hour

_NOT_THE_OWNERS = {"version", "applied_at", "images", "deleted", "machine"}
"""What the store and the control plane fill in, and what is shown field by field."""


SCRIPTS = ("startup_script", "container_startup_script")


def changes(old: Pool | None, new: Pool) -> list[str]:
    """`+ key: value` for a new pool, `key: old -> new` for a changed one; empty when nothing would change."""
    if old is None or old.deleted:
        return [
            *(
                f"+ {name}: {_shown(name, getattr(new, name))}"
                for name in _keys()
                if getattr(new, name) not in (None, "", ())
            ),
            *(f"+ {name}: {_of_machine(new, name)}" for name in new.machine.to_document()),
        ]
    return [
        f"{name}: {_shown(name, getattr(old, name))} -> {_shown(name, getattr(new, name))}"
        for name in _keys()
        if getattr(old, name) != getattr(new, name)
    ] + [
        f"{f.name}: {_of_machine(old, f.name)} -> {_of_machine(new, f.name)}"
        for f in fields(Machine)
        if getattr(old.machine, f.name) != getattr(new.machine, f.name)
    ]


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """A pool's document as people and programs are shown it: of its scripts, which may hold secrets, the size."""
    machine = {
        key: f"{len(value.encode())} bytes" if key in SCRIPTS and value else value
        for key, value in document["machine"].items()
    }
    return {**document, "machine": machine}


def _of_machine(pool: Pool, name: str) -> str:
    """A script as its size and digest: there may be secrets in it, and terminals are recorded."""
    value = getattr(pool.machine, name)
    if value is not None and name in SCRIPTS:
        return f"{len(value.encode())} bytes, sha256 {hashlib.sha256(value.encode()).hexdigest()[:12]}"
    return _shown(name, value)


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
