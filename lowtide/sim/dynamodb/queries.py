"""Queries: the rows that a key condition names, in their order, and how they are cut into pages."""

from bisect import bisect_left

from lowtide.sim.calls import Request, Response
from lowtide.sim.dynamodb import expressions
from lowtide.sim.dynamodb.expressions import Scope
from lowtide.sim.dynamodb.tables import Index, Order, Row, Table
from lowtide.sim.dynamodb.wire import Invalid, WireItem

PAGE_BYTES = 1_048_576
"""What one Query reads at most before it pages."""


def answered(table: Table, index: Index | None, request: Request, page_bytes: int) -> Response:
    """One page: as many items as `Limit` and the page's size allow, and where to go on. `index`: None for the table's
    own order. Raises Invalid for a condition that is not on the keys."""
    order, items = (table.keys, table.items) if index is None else (index.order, index.items)
    found = [items[(pk, sk)] for _, pk, sk in _matching(table, order, request)]
    page = _page(table, found, request.get("Limit"), page_bytes)
    shown: Response = {"Count": len(page), "ScannedCount": len(page)}
    if request.get("Select") != "COUNT":
        shown["Items"] = [_shown(item, index) for item in page]
    if (page and len(page) == request.get("Limit")) or len(page) < len(found):
        wanted = {table.keys.hash_name, table.keys.range_name, order.hash_name, order.range_name}
        shown["LastEvaluatedKey"] = {k: v for k, v in found[len(page) - 1].items() if k in wanted}
    return shown


def _page(table: Table, found: list[WireItem], limit: int | None, page_bytes: int) -> list[WireItem]:
    size = 0
    page: list[WireItem] = []
    for item in found:
        weight = table.sizes.get(table.keys.place(item) or ("", ""), 0)
        if len(page) == limit or (page and size + weight > page_bytes):
            break
        size += weight
        page.append(item)
    return page


def _shown(item: WireItem, index: Index | None) -> WireItem:
    if index is None or index.carried is None:
        return dict(item)
    return {k: v for k, v in item.items() if k in index.carried}


def _matching(table: Table, order: Order, request: Request) -> list[Row]:
    """The rows of a query in its direction, after its start key."""
    named, values = dict(request.get("ExpressionAttributeNames", {})), dict(request["ExpressionAttributeValues"])
    parsed = expressions.key_condition(request["KeyConditionExpression"])
    expressions.check_placeholders(parsed.placeholders, named, values)
    scope = Scope({}, named, values)
    terms = {str(scope.resolve(term.path)[0]): term for term in parsed.key}
    if order.hash_name not in terms or terms[order.hash_name].operator != "=" or len(terms) > 2:
        raise Invalid("Query condition missed key schema element, or its hash key is not compared with '='")
    if unknown := set(terms) - {order.hash_name, order.range_name}:
        raise Invalid(f"Query key condition not supported: {min(unknown)}")
    rows = order.rows.get(_operands(terms[order.hash_name], scope)[0], [])
    if (term := terms.get(order.range_name)) is not None:
        rows = _within(rows, term.operator, _operands(term, scope))
    rows = list(rows) if request.get("ScanIndexForward", True) else rows[::-1]
    return _after(rows, table, order, request)


def _operands(term: expressions.KeyTerm, scope: Scope) -> list[str]:
    given = [operand(scope) for operand in term.operands]
    if any(value is None or "S" not in value for value in given):
        raise Invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
    return [value["S"] for value in given if value is not None]


def _within(rows: list[Row], operator: str, values: list[str]) -> list[Row]:
    low, high = values[0], values[-1]
    first, past = bisect_left(rows, (low,)), bisect_left(rows, (high + "\0",))
    match operator:
        case "begins_with":
            return [row for row in rows[first:] if row[0].startswith(low)]
        case "between" | "=":
            return rows[first:past]
        case "<=":
            return rows[:past]
        case "<":
            return rows[:first]
        case ">=":
            return rows[first:]
        case ">":
            return rows[past:]
        case _:
            raise Invalid(f"Query key condition not supported: {operator}")


def _after(rows: list[Row], table: Table, order: Order, request: Request) -> list[Row]:
    start = request.get("ExclusiveStartKey")
    if start is None:
        return rows
    place = (start[order.range_name]["S"], start[table.keys.hash_name]["S"], start[table.keys.range_name]["S"])
    forward = request.get("ScanIndexForward", True)
    return [row for row in rows if (row > place if forward else row < place)]
