"""DynamoDB's expressions, parsed: conditions, updates and key conditions. Values
are in wire.py, what an update makes of an item is in updates.py.

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
from functools import lru_cache

from lowtide.sim.dynamodb.reserved_words import RESERVED_WORDS
from lowtide.sim.dynamodb.wire import FUNCTIONS, Invalid, Wire, WireItem, compare, present, size, total, typed

Path = tuple[str | int, ...]
Operand = Callable[["Scope"], Wire | None]
Test = Callable[["Scope"], bool]

_COMPARATORS = {"=", "<>", "<", "<=", ">", ">="}
_VERBS = {"SET", "REMOVE", "ADD", "DELETE"}
_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>+\-(),.\[\]])|([:#]?[A-Za-z_][A-Za-z0-9_]*|[:#][A-Za-z0-9_]+)|(\d+))")


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
            return lambda scope: size(scope.at(path))
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
        if self.peek().lower() in FUNCTIONS:
            return self.function()
        return self.comparison()

    def function(self) -> Test:
        judge, arguments = FUNCTIONS[self.take().lower()]
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
        return lambda scope: total(left(scope), sign, right(scope))

    def new_value(self) -> Operand:
        name = self.peek().lower()
        if name not in ("if_not_exists", "list_append"):
            operand = self.operand()
            return lambda scope: present(operand(scope))
        self.take()
        self.expect("(")
        first = self.operand() if name == "if_not_exists" else self.new_value()
        self.expect(",")
        second = self.new_value()
        self.expect(")")
        if name == "if_not_exists":
            return lambda scope: found if (found := first(scope)) is not None else second(scope)
        return lambda scope: {"L": [*typed(first(scope), "L"), *typed(second(scope), "L")]}


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
