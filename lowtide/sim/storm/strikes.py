"""Faults of a story as they strike: at the functions' AWS calls, and at deliveries."""

from collections import Counter
from datetime import datetime, timedelta

from botocore.exceptions import ReadTimeoutError

from lowtide.sim.calls import Killed, Request, Resent, Response, aws_error
from lowtide.sim.fates import Channel, Fate
from lowtide.sim.functions import Function
from lowtide.sim.storm.story import Story, Strike
from lowtide.sim.world import World

SLOW = (timedelta(0), timedelta(seconds=1), timedelta(seconds=4), timedelta(seconds=18))
"""How long a slow call takes, one after the other. Without time, what is due at the very instant comes in between; 18 s
is what three attempts of the SDK's take, or one answer of CreateFleet."""
DEEPEST = 3
"""Invocations in the middle of one another."""
_UNWELL = {"dynamodb": "InternalServerError", "sqs": "InternalFailure", "ec2": "InternalError"}
_BUSY = {"dynamodb": "ThrottlingException", "sqs": "RequestThrottled", "ec2": "RequestLimitExceeded"}
_CONTENDED = "dynamodb.transact_write_items"


class Strikes:
    """The world's hook, and what it asks for the fate of deliveries."""

    def __init__(self, world: World, told: Story) -> None:
        self.calls = 0
        self.by_kind: Counter[str] = Counter()
        """Faults that met something, by kind."""
        self.out: dict[str, datetime] = {}
        """AWS services that answer no call until an instant."""
        self.unheard = False
        """True: no worker's call arrives."""
        self._world = world
        self._faults = dict(told.faults)
        self._fates = {(channel, number): fate for channel, number, fate in told.fates}
        self._apart = told.apart
        self._delivered: Counter[Channel] = Counter()
        self._after: tuple[Strike, int] | None = None

    def fate(self, channel: Channel) -> Fate | None:
        if self.unheard and channel is Channel.WORKERS:
            return Fate.LOST
        self._delivered[channel] += 1
        fate = self._fates.get((channel, self._delivered[channel]))
        if fate is not None:
            self.by_kind[f"{channel} {fate}"] += 1
        return fate

    # --- the hook -----------------------------------------------------------------------------------------------------

    def before(self, operation: str, request: Request) -> None:  # noqa: ARG002 - the hook's signature
        self._after = None
        if self._apart and not self._in_trouble():
            return
        self.calls += 1
        service = operation.split(".")[0]
        if self.out and self.out.get(service, self._world.clock()) > self._world.clock():
            self._met(f"{service} out")
            raise _error(operation, _UNWELL, "ServiceUnavailable", 503)
        strike = self._faults.get(self.calls)
        if strike is None:
            return
        self._met(strike)
        self._strike(strike, operation, self.calls)

    def _in_trouble(self) -> bool:
        """In a story for law 8, faults meet only the passes of the pools that trouble is about."""
        work = self._world.at_work[-1]
        return work.function is Function.RECONCILE and '"other"' not in work.event["Records"][0]["body"]

    def _strike(self, strike: Strike, operation: str, number: int) -> None:
        match strike:
            case Strike.KILLED_BEFORE:
                raise Killed(operation)
            case Strike.THROTTLED if operation == _CONTENDED and number % 2:
                raise _contended(operation)
            case Strike.THROTTLED:
                raise _error(operation, _BUSY, "ThrottlingException", 400)
            case Strike.FAILED:
                raise _error(operation, _UNWELL, "InternalError", 500)
            case Strike.SLOW_BEFORE:
                self._take(SLOW[number % len(SLOW)])
            case Strike.OVERTAKEN:
                if len(self._world.at_work) < DEEPEST:
                    self._world.meanwhile_again()
            case _:
                self._after = strike, number

    def after(self, operation: str, request: Request, response: Response) -> None:  # noqa: ARG002 - as above
        (strike, number), self._after = self._after or (None, 0), None
        match strike:
            case Strike.KILLED_AFTER:
                raise Killed(operation)
            case Strike.RESENT if operation != "ec2.create_fleet":
                raise Resent
            case Strike.LOST | Strike.RESENT:
                raise ReadTimeoutError(endpoint_url=operation)
            case Strike.SLOW_AFTER:
                self._take(SLOW[number % len(SLOW)])
            case _:
                return

    def _take(self, period: timedelta) -> None:
        """Other calls come in between: what is to become of this one is remembered by its caller."""
        if self._apart:
            period = min(period, SLOW[1])
        if len(self._world.at_work) < DEEPEST:
            self._world.meanwhile(period)
        self._after = None

    def _met(self, kind: str) -> None:
        self.by_kind[kind] += 1
        self._world.struck = True


def _error(operation: str, codes: dict[str, str], usual: str, status: int) -> Exception:
    return aws_error(operation, codes.get(operation.split(".")[0], usual), "A fault of the storm.", status=status)


def _contended(operation: str) -> Exception:
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    return aws_error(operation, "TransactionCanceledException", "A fault of the storm.", CancellationReasons=reasons)
