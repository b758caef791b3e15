"""What people and drills do to the market: in-process, and as a small JSON API under `/_world/market/` of the world.

GET  history?since=N      what happened, from the N-th line on: {"next": N', "history": [...]}
GET  instances            what runs, with its price limit and its announced end
GET  prices?instance_type=T[&zone=Z]   price and capacity now
POST script               a list of entries (lowtide.market.script), seconds counted from now
POST price                {"instance_type": T, "zone": Z or "*", "usd": "2.0"}
POST capacity             {"instance_type": T or "*", "zone": Z or "*", "count": 0, "lifecycle": "spot"}
POST interrupt            {"instance_id": I, "notice": true, "lead": seconds or null}
POST release              ends every held price and capacity
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from urllib.parse import parse_qsl

from lowtide.local.ec2.service import LocalEc2
from lowtide.market import catalogue
from lowtide.market.fleet import Refused
from lowtide.market.instances import Happening, Instance
from lowtide.market.market import Market
from lowtide.market.model import ALL, Lifecycle, Offering, PricePoint, price_history
from lowtide.market.script import LIFECYCLES, parse

PREFIX = "/_world/market/"
MOST_BODY_BYTES = 256 * 1024
Document = dict[str, Any]


class Control:
    """Every method may be called from any thread."""

    def __init__(self, ec2: LocalEc2) -> None:
        self._ec2 = ec2

    def script(self, entries: Sequence[Mapping[str, object]]) -> None:
        """Lay scripted trouble on top, its seconds counted from now. Raises ValueError for a wrong entry."""
        self._ec2.during(lambda market, now: market.script(parse(entries, now), now))

    def set_price(self, instance_type: str, zone: str, usd: Decimal) -> None:
        self._ec2.during(lambda market, now: market.set_price(instance_type, zone, usd, now))

    def set_capacity(
        self, instance_type: str, zone: str, count: int, lifecycle: Lifecycle | None = Lifecycle.SPOT
    ) -> None:
        self._ec2.during(lambda market, now: market.set_capacity(instance_type, zone, count, now, lifecycle))

    def interrupt(self, instance_id: str, *, notice: bool | None = True, lead: timedelta | None = None) -> None:
        """Raises Refused for an instance that does not exist or is not spot."""
        self._ec2.during(lambda market, now: market.interrupt(instance_id, now, notice=notice, lead=lead))

    def release(self) -> None:
        self._ec2.during(lambda market, now: market.release(now))

    def history(self, since: int = 0) -> list[Happening]:
        """From line `since` on, oldest first. Lines are numbered from the market's beginning."""
        return self.history_page(since)[0]

    def history_page(self, since: int) -> tuple[list[Happening], int]:
        """The same, and the number of the line to come next."""
        return self._ec2.during(lambda market, _: (market.happenings(since), market.happened))

    def instances(self) -> list[Instance]:
        """The live ones, in the order of launching; also those that Describe does not list yet."""
        return self._ec2.during(lambda market, _: [i for i in market.instances.values() if i.alive])

    def price_points(self, instance_type: str, zone: str, since: datetime) -> list[PricePoint]:
        """The spot price in force at `since` and every change up to now, oldest first; nothing lags here."""
        offering = Offering(instance_type, zone)
        return self._ec2.during(lambda market, now: price_history(market.conditions, offering, since, now))

    def prices(self, instance_type: str) -> list[Document]:
        """One entry per zone: what the type costs there and how many could be had, now."""
        return self._ec2.during(lambda market, now: _prices(market, instance_type, now))


def _prices(market: Market, instance_type: str, now: datetime) -> list[Document]:
    return [
        {
            "instance_type": instance_type,
            "availability_zone": zone,
            "spot_price": str(market.conditions.price(Offering(instance_type, zone), now)),
            "on_demand_price": str(catalogue.on_demand_price(instance_type)),
            "capacity": market.conditions.capacity(Offering(instance_type, zone), Lifecycle.SPOT, now),
        }
        for zone in catalogue.offered(market.region).get(instance_type, ())
    ]


Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def control_app(control: Control) -> Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]:
    """An ASGI application for everything under `PREFIX`. Writing takes `application/json`, which no page of a browser
    can send here without asking first."""

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        name = str(scope["path"]).removeprefix(PREFIX)
        try:
            if scope["method"] == "GET":
                query = dict(parse_qsl(scope.get("query_string", b"").decode()))
                status, document = 200, _read(control, name, query)
            else:
                _require_json(scope)
                status, document = 200, _write(control, name, await _body(receive))
        except (ValueError, KeyError, InvalidOperation, Refused) as error:
            status, document = 400, {"error": _said(error)}
        except LookupError as error:
            status, document = 404, {"error": str(error)}
        payload = json.dumps(document, default=str).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    return app


def _read(control: Control, name: str, query: Mapping[str, str]) -> Document:
    match name:
        case "history":
            lines, following = control.history_page(int(query.get("since", "0")))
            return {"next": following, "history": [happening_document(line) for line in lines]}
        case "instances":
            return {"instances": [_instance_document(instance) for instance in control.instances()]}
        case "prices":
            found = control.prices(query["instance_type"])
            return {"prices": [p for p in found if query.get("zone") in (None, p["availability_zone"])]}
        case _:
            raise LookupError(f"{PREFIX}{name} is not there; see history, instances, prices")


def _write(control: Control, name: str, body: Any) -> Document:
    if name == "script":
        if not isinstance(body, list):
            raise ValueError("a script is a JSON list of entries")
        control.script(cast("list[Document]", body))
    elif name in _TROUBLES:
        if not isinstance(body, dict):
            raise ValueError(f"{name} takes a JSON object")
        _TROUBLES[name](control, cast(Document, body))
    else:
        raise LookupError(f"{PREFIX}{name} is not there; see script, {', '.join(_TROUBLES)}")
    return {"done": name}


def _hold_price(control: Control, body: Document) -> None:
    control.set_price(body["instance_type"], body.get("zone", ALL), Decimal(str(body["usd"])))


def _hold_capacity(control: Control, body: Document) -> None:
    lifecycle = LIFECYCLES[body.get("lifecycle", "spot")]
    control.set_capacity(body.get("instance_type", ALL), body.get("zone", ALL), int(body["count"]), lifecycle)


def _interrupt(control: Control, body: Document) -> None:
    lead = body.get("lead")
    asked = None if lead is None else timedelta(seconds=float(lead))
    control.interrupt(body["instance_id"], notice=body.get("notice", True), lead=asked)


_TROUBLES: Mapping[str, Callable[[Control, Document], None]] = {
    "price": _hold_price,
    "capacity": _hold_capacity,
    "interrupt": _interrupt,
    "release": lambda control, _: control.release(),
}


def happening_document(line: Happening) -> Document:
    """JSON values: instants as ISO 8601, money as text, what is empty left out."""
    values = {f.name: getattr(line, f.name) for f in fields(line)}
    values |= {"at": line.at.isoformat(), "price": None if line.price is None else str(line.price)}
    return {name: value for name, value in values.items() if value not in ("", None)}


def _instance_document(instance: Instance) -> Document:
    end = instance.interruption
    return {
        "instance_id": instance.instance_id,
        "instance_type": instance.offering.instance_type,
        "availability_zone": instance.offering.zone,
        "lifecycle": str(instance.lifecycle),
        "state": str(instance.state),
        "price_limit": None if instance.price_limit is None else str(instance.price_limit),
        "launched_at": instance.launched_at.isoformat(),
        "ends_at": end.ends_at.isoformat() if end else None,
    }


def _require_json(scope: Mapping[str, Any]) -> None:
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    if scope["method"] != "POST" or not kinds or not kinds[0].startswith(b"application/json"):
        raise ValueError("POST a JSON document with content-type application/json")


async def _body(receive: Receive) -> Any:
    received, more = b"", True
    while more:
        message = await receive()
        received += message.get("body", b"")
        more = message.get("more_body", False)
        if len(received) > MOST_BODY_BYTES:
            raise ValueError(f"the document is over {MOST_BODY_BYTES} bytes")
    return json.loads(received)


def _said(error: Exception) -> str:
    return f"{error.args[0]} is missing or not known" if isinstance(error, KeyError) else str(error)
