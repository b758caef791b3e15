"""Several records of one offering as one: files of one month each, a file and what EC2 tells, prices beside what could
be had. Pure. Without it the last file would stand for all, unsaid."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from lowtide.backtest.market_files import UNDATED
from lowtide.backtest.recorded import Steps, Track
from lowtide.backtest.wrong import WrongFile
from lowtide.market.model import ALL


def joined(tracks: Iterable[Track]) -> list[Track]:
    """At most one track of an offering with prices and one with capacity, in order of type and zone.

    Dated records of prices are put one after the other; where two have a price of the same instant, the one named later
    counts. A record of prices goes before the price that an availability record has beside it. Raises WrongFile where
    two records cannot both hold: two of what could be had, or two of prices without a date."""
    of: defaultdict[tuple[str, str], list[Track]] = defaultdict(list)
    for track in tracks:
        of[track.instance_type, track.zone].append(track)
    return [each for _, found in sorted(of.items(), key=lambda item: item[0]) for each in _of_one(found)]


def _of_one(found: Sequence[Track]) -> Iterator[Track]:
    held = [track for track in found if track.capacity is not None]
    prices = [track for track in found if track.capacity is None]
    if len(held) > 1:
        raise _contradiction(held, "what could be had")
    if len(prices) > 1 and any(track.begin == UNDATED for track in prices):
        raise _contradiction(prices, "the prices")
    yield from (replace(track, prices=None) if prices else track for track in held)
    if prices:
        yield replace(
            prices[0],
            prices=Steps.of(point for track in prices for point in _points(track)),
            on_demand_price=next((t.on_demand_price for t in prices if t.on_demand_price is not None), None),
            source=", ".join(track.source for track in prices),
        )


def _points(track: Track) -> Iterator[tuple[datetime, Decimal]]:
    steps = track.prices
    if steps is not None:
        for offset, value in zip(steps.offsets, steps.values, strict=True):
            yield steps.begin + timedelta(seconds=offset), value


def _contradiction(tracks: Sequence[Track], what: str) -> WrongFile:
    first, second = tracks[:2]
    kind = "any type" if first.instance_type == ALL else first.instance_type
    return WrongFile(
        f"{first.source} and {second.source} both say {what} of {kind} in {first.zone}: name one of them with "
        "--market, or tell their types apart with TYPE@ZONE=FILE"
    )
