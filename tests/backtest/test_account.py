"""What is asked of EC2 for a backtest: every page of the price history, and no more than it keeps."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lowtide.backtest.account import LONGEST, recorded_prices
from lowtide.backtest.recorded import market_of
from lowtide.market.model import Offering

NOW = datetime(2026, 3, 31, tzinfo=UTC)


class Paged:
    """EC2 with a price change a day, newest first, three rows a page."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.rows = [
            {
                **{"InstanceType": "c7i.large", "AvailabilityZone": "us-west-2a", "SpotPrice": f"0.0{n + 1}"},
                "Timestamp": NOW - timedelta(days=n),
            }
            for n in range(8)
        ]

    def describe_spot_price_history(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        first = int(request.get("NextToken", "0"))
        more = first + 3 < len(self.rows)
        page = self.rows[first : first + 3]
        return {"SpotPriceHistory": page, "NextToken": str(first + 3) if more else ""}


def test_every_page_is_read() -> None:
    ec2 = Paged()
    (track,) = recorded_prices(ec2, ["c7i.large"], NOW - timedelta(days=10), NOW)
    assert len(ec2.asked) == 3
    assert all(each["ProductDescriptions"] == ["Linux/UNIX"] for each in ec2.asked)
    market, offering = market_of([track]), Offering("c7i.large", "us-west-2a")
    days = [market.price(offering, NOW - timedelta(days=n)) for n in range(8)]
    assert days == [Decimal(f"0.0{n + 1}") for n in range(8)]


def test_ec2_is_asked_for_ninety_days_at_most() -> None:
    ec2 = Paged()
    recorded_prices(ec2, ["c7i.large"], NOW - timedelta(days=400), NOW)
    assert ec2.asked[0]["StartTime"] == NOW - LONGEST
