"""What an update makes of an item, action by action."""

from typing import Any

from lowtide.sim.dynamodb.expressions import Parsed, Path, Scope
from lowtide.sim.dynamodb.wire import Invalid, Wire, WireItem, kind_of, present, total, typed


def updated(parsed: Parsed, scope: Scope) -> WireItem:
    """A new item with the update made; every value is taken from the item as it was."""
    paths = [scope.resolve(action.path) for action in parsed.actions]
    _refuse_overlaps(paths)
    changes = [
        (action.verb, path, None if action.value is None else action.value(scope))
        for action, path in zip(parsed.actions, paths, strict=True)
    ]
    item: WireItem = dict(scope.item)
    for verb, path, value in changes:
        old = Scope(item, {}, {}).at(path)
        new = _applied(verb, old, value)
        _write(item, path, new)
    return item


def _refuse_overlaps(paths: list[Path]) -> None:
    for n, one in enumerate(paths):
        for other in paths[n + 1 :]:
            short = min(len(one), len(other))
            if one[:short] == other[:short]:
                raise Invalid("Two document paths overlap with each other; must remove or rewrite one of these paths")


def _applied(verb: str, old: Wire | None, value: Wire | None) -> Wire | None:
    """The attribute after one action; None: gone."""
    match verb:
        case "SET":
            return value
        case "REMOVE":
            return None
        case "ADD":
            return _added(old, present(value))
        case _:
            return _without(old, present(value))


def _added(old: Wire | None, value: Wire) -> Wire:
    kind = kind_of(value)
    if kind == "N":
        return total({"N": "0"} if old is None else old, 1, value)
    if kind not in ("SS", "NS"):
        raise Invalid(f"Incorrect operand type for operator or function; operator: ADD, operand type: {kind}")
    return {kind: sorted({*(typed(old, kind) if old else []), *value[kind]})}


def _without(old: Wire | None, value: Wire) -> Wire | None:
    if old is None:
        return None
    kind = kind_of(value)
    left = sorted(set(typed(old, kind)) - set(value[kind]))
    return {kind: left} if left else None


def _write(item: WireItem, path: Path, value: Wire | None) -> None:
    """Sets or removes one path in `item`, copying what lies above it."""
    first, *rest = path
    if not rest:
        if value is None:
            item.pop(str(first), None)
        else:
            item[str(first)] = value
        return
    if str(first) not in item:
        raise Invalid("The document path provided in the update expression is invalid for update")
    item[str(first)] = _inside(item[str(first)], rest, value)


def _inside(holder: Wire, path: list[str | int], value: Wire | None) -> Wire:
    first, *rest = path
    kind = "L" if isinstance(first, int) else "M"
    if kind not in holder:
        raise Invalid("The document path provided in the update expression is invalid for update")
    held: Any = dict(holder["M"]) if kind == "M" else dict(enumerate(holder["L"]))
    if rest:
        if first not in held:
            raise Invalid("The document path provided in the update expression is invalid for update")
        held[first] = _inside(held[first], rest, value)
    elif value is None:
        held.pop(first, None)
    else:
        held[first] = value
    return {"M": held} if kind == "M" else {"L": [held[n] for n in sorted(held)]}
