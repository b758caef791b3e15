"""EC2's events on their way through EventBridge's rules to the function that hears news."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from lambdas.domain.instants import to_text
from lowtide.sim.agenda import Agenda
from lowtide.sim.fates import DELAY, Channel, Fate, Fates
from lowtide.sim.functions import ACCOUNT, Function
from lowtide.sim.invocations import Invocations

NEWS_RETRIES = (timedelta(minutes=1), timedelta(minutes=2))
"""An asynchronous invocation that failed is made again after these."""


class Bus:
    def __init__(self, invocations: Invocations, agenda: Agenda, fate: Fates) -> None:
        self.under_way = 0
        """Events that are still to be told."""
        self._invocations = invocations
        self._clock = invocations.clock
        self._agenda = agenda
        self._fate = fate

    def publish(self, kind: str, detail: Mapping[str, str], at: datetime) -> None:
        """`kind` and `detail` as EC2 gives them; `at` is when it happened."""
        event = {
            **{"id": self._invocations.new_event_id("event"), "source": "aws.ec2", "detail-type": kind},
            **{"account": ACCOUNT, "time": to_text(at), "resources": [], "detail": detail},
        }
        match self._fate(Channel.EVENTS):
            case Fate.LOST:
                return
            case Fate.DELAYED | Fate.REORDERED:
                self._send(event, DELAY)
            case Fate.DOUBLED | Fate.UNANSWERED:
                self._send(event)
                self._send(event)
            case None:
                self._send(event)

    def _send(self, event: Mapping[str, Any], late: timedelta = timedelta(0)) -> None:
        self.under_way += 1
        self._agenda.at(self._clock() + late, partial(self._tell, event, NEWS_RETRIES))

    def _tell(self, event: Mapping[str, Any], retries: Sequence[timedelta]) -> None:
        if Function.NEWS in self._invocations.held:
            self._agenda.at(self._clock() + timedelta(seconds=1), partial(self._tell, event, retries))
        elif self._invocations.attempt(Function.NEWS, event) or not retries:
            self.under_way -= 1
        else:
            self._agenda.at(self._clock() + retries[0], partial(self._tell, event, retries[1:]))
