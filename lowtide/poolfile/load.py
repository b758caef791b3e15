"""From a file's text to pool entries or to problems that name path, value and remedy. Nothing here asks AWS."""

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lowtide.poolfile.schema import (
    IGNORED_POOL,
    IGNORED_PROVIDER,
    IGNORED_TOP,
    OLD_AUX,
    TAG_KEY,
    UNSUPPORTED_PROVIDER,
    CustomTag,
    NetworkInterface,
    OnDemandFallback,
    PoolEntry,
    Provider,
    Schedule,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a file."""

    path: str
    """For example `resource_pools[0].provider.max_instances`; empty for the file as a whole."""
    message: str
    """A sentence with the value and the remedy."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFile:
    """What a file says. Use it only when `problems` is empty."""

    entries: tuple[PoolEntry, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What the reader should know and need not mend: ignored keys, differences from Determined."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice in one mapping, where PyYAML would silently keep the last."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    names = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for name, times in Counter(map(str, names)).items():
        if times > 1:
            line = node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(None, None, f"the mapping at line {line} has {name!r} twice")
    return loader.construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read(path: Path) -> PoolFile:
    """The pools of a YAML or JSON file. Raises OSError where it cannot be read; every other fault is a Problem."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> PoolFile:
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader, with one check more)
    except (yaml.YAMLError, RecursionError) as error:
        return _failed(Problem(path="", message=f"the file is neither YAML nor JSON: {_one_line(str(error))}"))
    if not isinstance(document, Mapping) or "resource_pools" not in document:
        return _failed(Problem(path="", message="the file has no resource_pools: begin it with a list of that name"))
    pools = document["resource_pools"]
    if not isinstance(pools, list) or not pools:
        return _failed(
            Problem(path="resource_pools", message=f"is {_shown(pools)}; it takes a list of at least one pool")
        )
    problems, notes = _unknown_keys(document, {"resource_pools"}, IGNORED_TOP, ""), _ignored(document, pools)
    entries: list[PoolEntry] = []
    for number, pool in enumerate(pools):
        entry, wrong, told = _entry(pool, f"resource_pools[{number}]")
        problems, notes = problems + wrong, notes + told
        entries += [entry] if entry else []
    problems += _doubled(pools)
    return PoolFile(entries=tuple(entries), problems=tuple(problems), notes=tuple(dict.fromkeys(notes)))


def _failed(problem: Problem) -> PoolFile:
    return PoolFile(problems=(problem,))


def _entry(pool: Any, path: str) -> tuple[PoolEntry | None, list[Problem], list[str]]:
    if not isinstance(pool, Mapping):
        return (
            None,
            [Problem(path=path, message=f"is {_shown(pool)}; it takes a mapping with pool_name and provider")],
            [],
        )
    problems = _unknown_keys(pool, {*PoolEntry.model_fields, OLD_AUX}, IGNORED_POOL, path)
    if isinstance(provider := pool.get("provider"), Mapping):
        problems += _provider_keys(provider, f"{path}.provider")
    try:
        entry = PoolEntry.model_validate(pool)
    except ValidationError as error:
        return None, problems + [_problem(path, detail) for detail in error.errors()], []
    return (None if problems else entry), problems, _differences(entry, path)


def _provider_keys(provider: Mapping[str, Any], path: str) -> list[Problem]:
    problems = _unknown_keys(provider, set(Provider.model_fields), IGNORED_PROVIDER, path)
    nested = {"network_interface": NetworkInterface, "on_demand_fallback": OnDemandFallback}
    for key, model in nested.items():
        if isinstance(inner := provider.get(key), Mapping):
            problems += _unknown_keys(inner, set(model.model_fields), frozenset(), f"{path}.{key}")
    for key, model in {"custom_tags": CustomTag, "schedules": Schedule}.items():
        if isinstance(rows := provider.get(key), list):
            for number, row in enumerate(rows):
                if isinstance(row, Mapping):
                    problems += _unknown_keys(row, set(model.model_fields), frozenset(), f"{path}.{key}[{number}]")
    return problems


def _unknown_keys(given: Mapping[Any, Any], known: set[str], ignored: frozenset[str], path: str) -> list[Problem]:
    return [
        Problem(path=f"{path}.{key}" if path else str(key), message=_unknown(str(key), known | ignored))
        for key in given
        if key not in known | ignored
    ]


def _unknown(key: str, known: set[str]) -> str:
    if (why := UNSUPPORTED_PROVIDER.get(key)) is not None:
        return f"is not supported: {why}"
    return f"is not a known key{_nearest(key, known)}"


def _ignored(document: Mapping[Any, Any], pools: Sequence[Any]) -> list[str]:
    """One sentence for each key of Determined's that has no meaning here, wherever and however often it is given."""
    places: dict[str, list[str]] = {}
    for path, given, ignored in _mappings(document, pools):
        for key in given:
            if key in ignored:
                places.setdefault(key, []).append(f"{path}{key}")
    return [
        f"{', '.join(where)}: ignored, since it belongs to Determined's master and agents and has no effect here"
        for where in places.values()
    ]


def _mappings(
    document: Mapping[Any, Any], pools: Sequence[Any]
) -> Iterator[tuple[str, Mapping[Any, Any], frozenset[str]]]:
    """(path, mapping, keys ignored in it) of the file, its pools and their providers."""
    yield "", document, IGNORED_TOP
    for number, pool in enumerate(pools):
        if isinstance(pool, Mapping):
            yield f"resource_pools[{number}].", pool, IGNORED_POOL
            if isinstance(provider := pool.get("provider"), Mapping):
                yield f"resource_pools[{number}].provider.", provider, IGNORED_PROVIDER


def _nearest(name: str, known: set[str] | frozenset[str]) -> str:
    (close,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"; did you mean {close}?"


def _problem(path: str, detail: Any) -> Problem:
    """pydantic's finding in this file's words: where, what was given, what is taken instead."""
    place = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _location(detail["loc"]))
    if detail["type"] == "missing":
        return Problem(path=place, message="is required; add it")
    if detail["type"] == "value_error":
        text = str(detail["ctx"]["error"])
        whole = isinstance(detail["input"], Mapping)
        return Problem(path=place, message=text if whole else f"{_shown(detail['input'])} {text}")
    return Problem(path=place, message=f"is {_shown(detail['input'])}; {_wanted(detail)}")


def _location(parts: Sequence[int | str]) -> list[int | str]:
    """Without the names of a union's branches, which pydantic puts at the end (`int`, `literal['never']`)."""
    return [part for part in parts if isinstance(part, int) or (part.isidentifier() and part not in {"int", "str"})]


def _wanted(detail: Any) -> str:
    patterns = {
        "pool_name": "lower-case letters, digits and hyphens, at most 63, the first a letter or digit",
        "instance_type": "an EC2 instance type such as g4dn.metal",
        "instance_types": "EC2 instance types such as g4dn.metal",
        "image_id": "an image id such as ami-0abc1234",
        "subnet_ids": "subnet ids such as subnet-0abc1234",
    }
    if detail["type"] == "string_pattern_mismatch":
        name = next((part for part in reversed(detail["loc"]) if isinstance(part, str)), "")
        return f"it takes {patterns.get(name, 'text of the form ' + str(detail['ctx']['pattern']))}"
    if (takes := _KINDS.get(detail["type"])) is not None:
        return f"it takes {takes}"
    text = str(detail["msg"])
    return "it" + text[5:].replace(" should be", " should be", 1) if text.startswith("Input") else _lower(text)


_KINDS = {"model_type": "a mapping of keys and values", "list_type": "a list", "too_short": "at least one"}
"""What pydantic's words for these say less plainly."""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _doubled(pools: Sequence[Any]) -> list[Problem]:
    times = Counter(str(pool["pool_name"]) for pool in pools if isinstance(pool, Mapping) and "pool_name" in pool)
    return [
        Problem(path="resource_pools", message=f"has {n} pools named {name!r}; give each pool a name of its own")
        for name, n in times.items()
        if n > 1
    ]


def _differences(entry: PoolEntry, path: str) -> list[str]:
    """Where this pool means something else than in Determined, and where it may mean less than its owner thinks."""
    provider, notes = entry.provider, list[str]()
    if provider.ssh_key_name is None:
        notes.append("ssh_key_name is optional here (Determined requires it); instances are reached through SSM")
    if provider.cpu_slots_allowed is provider.instance_slots is None and not any(map(_has_gpu, provider.types())):
        notes.append(
            "cpu_slots_allowed defaults to true here in a pool whose types have no GPU, one slot an instance "
            "(Determined's default is false, so that no default job could run there)"
        )
    if provider.spot_max_price is not None and not provider.spot:
        notes.append(f"{path}.provider.spot_max_price has no effect without spot: true; its instances are on-demand")
    if provider.tag_key is None and provider.tag_value is not None:
        notes.append(f'{path}.provider.tag_value is given without tag_key, whose default is "{TAG_KEY}"')
    return notes


def _has_gpu(name: str) -> bool:
    """By the family's first letter, without asking AWS: EC2's g and p families have GPUs, no other has."""
    return name[0] in "gp"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
