"""DynamoDB's expressions, parsed and evaluated: conditions, updates and key conditions, on items in wire form.

    condition  = or ; or = and {OR and} ; and = not {AND not} ; not = [NOT] test
    test       = "(" or ")" | function | operand (comparator operand | BETWEEN .. AND .. | IN (..))
    operand    = path | :value | size(path)
    update     = {SET a = value, .. | REMOVE path, .. | ADD path :value, .. | DELETE path :value, ..}

A parsed expression is a closure over a `Scope` and is kept, since product code has few expressions and many calls.
What DynamoDB answers with ValidationException is raised here as `Invalid`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from lowtide.sim.reserved_words import RESERVED_WORDS

Wire = dict[str, Any]
"""One attribute value as the API writes it: `{"S": "text"}`, `{"N": "1"}`."""
WireItem = dict[str, Wire]
Path = tuple[str | int, ...]
Operand = Callable[["Scope"], Wire | None]
Test = Callable[["Scope"], bool]

_NUMBERS = Context(prec=38)
"""DynamoDB's numbers have 38 digits."""
_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>+\-(),.\[\]])|([:#]?[A-Za-z_][A-Za-z0-9_]*|[:#][A-Za-z0-9_]+)|(\d+))")


class Invalid(Exception):
    """The expression or its values are wrong: DynamoDB answers ValidationException."""


@dataclass
class Scope:
    """What an expression is evaluated against."""

    item: WireItem
    names: dict[str, str]
    values: dict[str, Wire]

    def resolve(self, path: Path) -> Path:
        return tuple(self.names[part] if isinstance(part, str) and part.startswith("#") else part for part in path)

    def at(self, path: Path) -> Wire | None:
        """The value at a path; None where there is none."""
        first, *rest = self.resolve(path)
        found = self.item.get(str(first))
        for part in rest:
            if found is None:
                return None
            if isinstance(part, int):
                held = found.get("L", [])
                found = held[part] if part < len(held) else None
            else:
                found = found.get("M", {}).get(part)
        return found


@dataclass
class Parsed:
    """An expression's parts and every placeholder it uses."""

    test: Test = lambda _: True
    actions: list["Action"] = field(default_factory=list["Action"])
    key: tuple["KeyTerm", ...] = ()
    placeholders: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Action:
    """One clause of an update."""

    verb: str
    path: Path
    value: Operand | None


@dataclass(frozen=True)
class KeyTerm:
    """One term of a key condition: `operator` is a comparator, `begins_with` or `between`."""

    path: Path
    operator: str
    operands: tuple[Operand, ...]


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.position = 0
        self.placeholders: set[str] = set()

    # --- tokens ---

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def word(self) -> str:
        return self.peek().upper()

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def expect(self, token: str) -> None:
        if self.word() != token:
            raise Invalid(f"Syntax error; token: {self.peek() or '<EOF>'!r}, expected {token!r}")
        self.position += 1

    def end(self) -> None:
        if self.peek():
            raise Invalid(f"Syntax error; token: {self.peek()!r}")

    # --- paths and operands ---

    def path(self) -> Path:
        parts: list[str | int] = [self.name()]
        while self.peek() in (".", "["):
            if self.take() == ".":
                parts.append(self.name())
            else:
                parts.append(int(self.take()))
                self.expect("]")
        return tuple(parts)

    def name(self) -> str:
        token = self.take()
        if token.startswith("#"):
            self.placeholders.add(token)
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", token):
            raise Invalid(f"Syntax error; token: {token or '<EOF>'!r}")
        elif token.upper() in RESERVED_WORDS:
            raise Invalid(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        return token

    def operand(self) -> Operand:
        token = self.peek()
        if token.startswith(":"):
            self.placeholders.add(self.take())
            return lambda scope: scope.values[token]
        if token.lower() == "size" and self.tokens[self.position + 1 : self.position + 2] == ["("]:
            self.take()
            self.expect("(")
            path = self.path()
            self.expect(")")
            return lambda scope: _size(scope.at(path))
        path = self.path()
        return lambda scope: scope.at(path)

    def operands(self) -> list[Operand]:
        found = [self.operand()]
        while self.peek() == ",":
            self.take()
            found.append(self.operand())
        return found

    # --- conditions ---

    def either(self) -> Test:
        tests = [self.both()]
        while self.word() == "OR":
            self.take()
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda scope: any(test(scope) for test in tests)

    def both(self) -> Test:
        tests = [self.negated()]
        while self.word() == "AND":
            self.take()
            tests.append(self.negated())
        return tests[0] if len(tests) == 1 else lambda scope: all(test(scope) for test in tests)

    def negated(self) -> Test:
        if self.word() != "NOT":
            return self.test()
        self.take()
        test = self.negated()
        return lambda scope: not test(scope)

    def test(self) -> Test:
        if self.peek() == "(":
            self.take()
            inner = self.either()
            self.expect(")")
            return inner
        if self.peek().lower() in _FUNCTIONS:
            return self.function()
        return self.comparison()

    def function(self) -> Test:
        judge, arguments = _FUNCTIONS[self.take().lower()]
        self.expect("(")
        operands = self.operands()
        self.expect(")")
        if len(operands) != arguments:
            raise Invalid(f"Incorrect number of operands for operator or function; number of operands: {len(operands)}")
        return lambda scope: judge(*(operand(scope) for operand in operands))

    def comparison(self) -> Test:
        left, operator = self.operand(), self.take().upper()
        if operator == "BETWEEN":
            low = self.operand()
            self.expect("AND")
            high = self.operand()
            return lambda scope: compare(left(scope), ">=", low(scope)) and compare(left(scope), "<=", high(scope))
        if operator == "IN":
            self.expect("(")
            choices = self.operands()
            self.expect(")")
            return lambda scope: any(compare(left(scope), "=", choice(scope)) for choice in choices)
        if operator not in _COMPARATORS:
            raise Invalid(f"Syntax error; token: {operator or '<EOF>'!r}")
        right = self.operand()
        return lambda scope: compare(left(scope), operator, right(scope))

    def key_terms(self) -> tuple[KeyTerm, ...]:
        terms = [self.key_term()]
        while self.word() == "AND":
            self.take()
            terms.append(self.key_term())
        return tuple(terms)

    def key_term(self) -> KeyTerm:
        if self.peek().lower() == "begins_with":
            self.take()
            self.expect("(")
            path = self.path()
            self.expect(",")
            operand = self.operand()
            self.expect(")")
            return KeyTerm(path, "begins_with", (operand,))
        path, operator = self.path(), self.take().lower()
        low = self.operand()
        if operator != "between":
            return KeyTerm(path, operator, (low,))
        self.expect("AND")
        return KeyTerm(path, "between", (low, self.operand()))

    # --- updates ---

    def actions(self) -> list[Action]:
        found: list[Action] = []
        seen: set[str] = set()
        while self.peek():
            verb = self.take().upper()
            if verb not in _VERBS or verb in seen:
                raise Invalid(f"Syntax error; token: {verb!r}")
            seen.add(verb)
            found.append(self.action(verb))
            while self.peek() == ",":
                self.take()
                found.append(self.action(verb))
        return found

    def action(self, verb: str) -> Action:
        path = self.path()
        if verb == "REMOVE":
            return Action(verb, path, None)
        if verb == "SET":
            self.expect("=")
            return Action(verb, path, self.sum())
        return Action(verb, path, self.operand())

    def sum(self) -> Operand:
        left = self.new_value()
        if self.peek() not in ("+", "-"):
            return left
        sign, right = 1 if self.take() == "+" else -1, self.new_value()
        return lambda scope: _sum(left(scope), sign, right(scope))

    def new_value(self) -> Operand:
        name = self.peek().lower()
        if name not in ("if_not_exists", "list_append"):
            operand = self.operand()
            return lambda scope: _present(operand(scope))
        self.take()
        self.expect("(")
        first = self.operand() if name == "if_not_exists" else self.new_value()
        self.expect(",")
        second = self.new_value()
        self.expect(")")
        if name == "if_not_exists":
            return lambda scope: found if (found := first(scope)) is not None else second(scope)
        return lambda scope: {"L": [*_typed(first(scope), "L"), *_typed(second(scope), "L")]}


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise Invalid(f"Syntax error; token: {text[position:].strip()[0]!r}")
        found.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    if not found:
        raise Invalid("The expression can not be empty;")
    return found


@lru_cache(maxsize=512)
def condition(text: str) -> Parsed:
    parser = _Parser(text)
    test = parser.either()
    parser.end()
    return Parsed(test=test, placeholders=frozenset(parser.placeholders))


@lru_cache(maxsize=512)
def update(text: str) -> Parsed:
    parser = _Parser(text)
    actions = parser.actions()
    return Parsed(actions=actions, placeholders=frozenset(parser.placeholders))


@lru_cache(maxsize=512)
def key_condition(text: str) -> Parsed:
    parser = _Parser(text)
    terms = parser.key_terms()
    parser.end()
    return Parsed(key=terms, placeholders=frozenset(parser.placeholders))


def check_placeholders(used: frozenset[str], names: dict[str, str], values: dict[str, Wire]) -> None:
    """Raises Invalid unless exactly the given names and values are used, as DynamoDB insists."""
    given = {**dict.fromkeys(names), **dict.fromkeys(values)}
    if missing := used - set(given):
        kind = "name" if min(missing).startswith("#") else "value"
        raise Invalid(f"An expression attribute {kind} used in expression is not defined: {min(missing)}")
    if unused := set(given) - used:
        kind = "Names" if min(unused).startswith("#") else "Values"
        raise Invalid(f"Value provided in ExpressionAttribute{kind} unused in expressions: keys: {{{min(unused)}}}")


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
            return _added(old, _present(value))
        case _:
            return _without(old, _present(value))


def _added(old: Wire | None, value: Wire) -> Wire:
    kind = _kind(value)
    if kind == "N":
        return _sum({"N": "0"} if old is None else old, 1, value)
    if kind not in ("SS", "NS"):
        raise Invalid(f"Incorrect operand type for operator or function; operator: ADD, operand type: {kind}")
    return {kind: sorted({*(_typed(old, kind) if old else []), *value[kind]})}


def _without(old: Wire | None, value: Wire) -> Wire | None:
    if old is None:
        return None
    kind = _kind(value)
    left = sorted(set(_typed(old, kind)) - set(value[kind]))
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


# --- values ---


def compare(left: Wire | None, operator: str, right: Wire | None) -> bool:
    """False where either is missing or the types differ, save that `<>` is then true (as DynamoDB has it)."""
    if left is None or right is None or _kind(left) != _kind(right):
        return operator == "<>"
    kind = _kind(left)
    a, b = _comparable(kind, left[kind]), _comparable(kind, right[kind])
    match operator:
        case "=":
            return a == b
        case "<>":
            return a != b
        case _ if kind not in ("S", "N", "B"):
            raise Invalid(
                f"Incorrect operand type for operator or function; operator: {operator}, operand type: {kind}"
            )
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case _:
            return a >= b


def _comparable(kind: str, value: Any) -> Any:
    if kind == "N":
        return Decimal(value)
    if kind == "NS":
        return {Decimal(n) for n in value}
    if kind == "M":
        return {name: _comparable_wire(inner) for name, inner in value.items()}
    if kind == "L":
        return [_comparable_wire(inner) for inner in value]
    return set(value) if kind in ("SS", "BS") else value


def _comparable_wire(value: Wire) -> tuple[str, Any]:
    kind = _kind(value)
    return kind, _comparable(kind, value[kind])


def _kind(value: Wire) -> str:
    return next(iter(value))


def _size(value: Wire | None) -> Wire | None:
    if value is None:
        return None
    kind = _kind(value)
    held = value[kind]
    if kind in ("N", "BOOL", "NULL"):
        raise Invalid(
            f"Invalid operand type for operator or function; operator or function: size, operand type: {kind}"
        )
    return {"N": str(len(held.encode()) if kind == "S" else len(held))}


def _sum(left: Wire | None, sign: int, right: Wire | None) -> Wire:
    a, b = (Decimal(_typed(_present(value), "N")) for value in (left, right))
    return {"N": number_text(_NUMBERS.add(a, b if sign > 0 else -b))}


def number_text(value: Decimal) -> str:
    """As DynamoDB gives numbers back: no exponent, no trailing zeros."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _typed(value: Wire | None, kind: str) -> Any:
    if value is None or kind not in value:
        given = "missing" if value is None else _kind(value)
        raise Invalid(f"An operand in the update expression has an incorrect data type: {given}")
    return value[kind]


def _present(value: Wire | None) -> Wire:
    if value is None:
        raise Invalid("The provided expression refers to an attribute that does not exist in the item")
    return value


def _exists(value: Wire | None) -> bool:
    return value is not None


def _missing(value: Wire | None) -> bool:
    return value is None


def _begins_with(value: Wire | None, prefix: Wire | None) -> bool:
    return bool(value and prefix and "S" in value and "S" in prefix and value["S"].startswith(prefix["S"]))


def _contains(value: Wire | None, part: Wire | None) -> bool:
    if value is None or part is None:
        return False
    kind = _kind(value)
    if kind == "S":
        return "S" in part and part["S"] in value["S"]
    if kind in ("SS", "NS"):
        return part.get(kind[0]) in value[kind]
    return kind == "L" and any(compare(held, "=", part) for held in value["L"])


def _has_type(value: Wire | None, kind: Wire | None) -> bool:
    return bool(value and kind and _kind(value) == kind.get("S"))


_COMPARATORS = {"=", "<>", "<", "<=", ">", ">="}
_VERBS = {"SET", "REMOVE", "ADD", "DELETE"}
_FUNCTIONS: dict[str, tuple[Callable[..., bool], int]] = {
    "attribute_exists": (_exists, 1),
    "attribute_not_exists": (_missing, 1),
    "attribute_type": (_has_type, 2),
    "begins_with": (_begins_with, 2),
    "contains": (_contains, 2),
}
