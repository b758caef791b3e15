"""Which lines of the control plane call AWS, which of them each function can reach, and which of them ran.

A *site* is a call of a method of the table, of a queue or of a boto3 client, found in the source text of
`lambdas/adapters` and `lambdas/control`: `Table`'s own methods are the one generic layer below and count where they are
called from, since "dynamodb.update_item in Table.update" would say nothing.

A function reaches a site if it imports its module (directly or not) and names, directly or through other functions of
those modules, the function that the site stands in: a method as an attribute of anything, a function of a module by its
name. Attributes are not told apart by class, so too much is reached rather than too little; nothing in `lambdas` looks
a method up by a computed name except `Table._ask` and `Ec2._asked`, which get it from a site. What is reached in name
only is listed by the test with its reason.

What ran is seen by the interpreter's own line trace while a function is at work.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import lambdas
from lowtide.sim.functions import Function
from lowtide.sim.world import World

ROOT = Path(lambdas.__file__).parent
GENERIC = ROOT / "adapters" / "table.py"
TABLE = {"get", "get_many", "put", "update", "delete", "transact", "query", "count"}
QUEUE = {"send", "send_in_group", "send_batch_in_groups"}
CLIENTS = {"self._client", "self.client", "self._ec2", "self._pricing"}
NAMED_OPERATIONS = {"self._asked", "self._all"}
"""Methods of Ec2 that take the operation's name."""


@dataclass(frozen=True)
class Site:
    module: str
    function: str
    operation: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.module}:{self.function} {self.operation}"


@dataclass(frozen=True)
class Source:
    """One module's functions (by unqualified name; a class's name stands for its `__init__`) and imports."""

    path: Path
    module: str
    imports: frozenset[str]
    names_by_function: dict[str, frozenset[str]]
    """What each function names: attributes with a dot before them."""
    methods: frozenset[str]
    """Which of the functions are methods."""
    sites: tuple[Site, ...]


def _operation(call: ast.Call) -> str | None:
    if not isinstance(call.func, ast.Attribute):
        return None
    method, receiver = call.func.attr, ast.unparse(call.func.value)
    if receiver in ("self._table", "table") and method in TABLE:
        return f"table.{method}"
    if receiver in ("self._queue", "self.parked_queue") and method in QUEUE:
        return f"queue.{method}"
    if f"{receiver}.{method}" in NAMED_OPERATIONS and isinstance(call.args[0], ast.Constant):
        return f"ec2.{call.args[0].value}"
    return f"client.{method}" if receiver in CLIENTS else None


def _functions(tree: ast.Module) -> Iterator[tuple[str, bool, ast.AST]]:
    """Functions of the module and of its classes, and whether each is a method; a statement outside any is ''."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                name = getattr(inner, "name", "__init__")
                implicit = name.startswith("__")  # called by whoever names the class
                yield (node.name if implicit else name), not implicit, inner
        else:
            yield getattr(node, "name", ""), False, node


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lambdas"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def sources() -> dict[str, Source]:
    found: dict[str, Source] = {}
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(("lambdas", *path.relative_to(ROOT).with_suffix("").parts))
        tree = ast.parse(path.read_text())
        names: dict[str, set[str]] = {}
        sites: list[Site] = []
        methods: set[str] = set()
        for function, method, node in _functions(tree):
            used = {f".{n.attr}" for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            used |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            methods |= {function} if method else set()
            names.setdefault(function, set()).update(used)
            if path == GENERIC:
                continue
            for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
                if operation := _operation(call):
                    last = call.end_lineno or call.lineno
                    sites.append(Site(module, function, operation, call.lineno, last))
        functions = {name: frozenset(used) for name, used in names.items()}
        found[module] = Source(path, module, frozenset(_imports(tree)), functions, frozenset(methods), tuple(sites))
    return found


@cache
def reachable(function: Function) -> frozenset[Site]:
    """The sites that this function can reach."""
    modules = [sources()[name] for name in _imported(f"lambdas.handlers.{function}")]
    handler = sources()[f"lambdas.handlers.{function}"]
    used = set().union(*handler.names_by_function.values())
    while True:
        more = set(used)
        for source in modules:
            for name, names in source.names_by_function.items():
                if not name or _named(source, name, used):
                    more |= names
        if more == used:
            break
        used = more
    return frozenset(site for source in modules for site in source.sites if _named(source, site.function, used))


def _named(source: Source, name: str, used: set[str]) -> bool:
    return f".{name}" in used or (name not in source.methods and name in used)


def _imported(module: str) -> set[str]:
    seen, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in sources():
            continue
        seen.add(name)
        waiting.extend(sources()[name].imports)
    return seen


class Trace:
    """Remembers which sites ran under which function, from `start` to `stop`."""

    def __init__(self, world: World, ran: set[tuple[Function, Site]]) -> None:
        self._world = world
        self._ran = ran
        self._lines: dict[str, dict[int, list[Site]]] = {}
        for source in sources().values():
            by_line = self._lines.setdefault(str(source.path), {})
            for site in source.sites:
                for line in range(site.first, site.last + 1):
                    by_line.setdefault(line, []).append(site)

    def __enter__(self) -> "Trace":
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        return self._local if self._lines.get(frame.f_code.co_filename) else None

    def _local(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line" and self._world.current is not None:
            for site in self._lines[frame.f_code.co_filename].get(frame.f_lineno, ()):
                self._ran.add((self._world.current, site))
        return self._local
