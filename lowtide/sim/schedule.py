"""What EventBridge starts by the clock: the tick and the worker API's own minute, and once a day the look at facts.

Nothing is made up for: a minute that is missed stays missed.
"""

from datetime import timedelta

from lowtide.sim.agenda import Agenda
from lowtide.sim.fates import DELAY, Channel, Fate, Fates
from lowtide.sim.functions import Function
from lowtide.sim.invocations import Invocations

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
_EVENT = {"source": "aws.events"}


class Schedule:
    def __init__(self, invocations: Invocations, agenda: Agenda, fate: Fates) -> None:
        """Its first minute is over in a minute, its first day in a day."""
        self._invocations = invocations
        self._clock = invocations.clock
        self._agenda = agenda
        self._fate = fate
        agenda.at(self._clock() + MINUTE, self._every_minute)
        agenda.at(self._clock() + DAY, self._every_day)

    def _every_minute(self) -> None:
        self._agenda.at(self._clock() + MINUTE, self._every_minute)
        self._tick()
        if Function.WORKER_API not in self._invocations.held:
            self._invocations.attempt(Function.WORKER_API, dict(_EVENT))

    def _tick(self) -> None:
        match self._fate(Channel.SCHEDULE):
            case None:
                self._invocations.tick()
            case Fate.LOST:
                pass
            case Fate.DELAYED:
                self._agenda.at(self._clock() + DELAY, self._invocations.tick)
            case _:
                event_id = self._invocations.new_event_id("tick")
                self._invocations.tick(event_id)
                self._invocations.tick(event_id)

    def _every_day(self) -> None:
        self._agenda.at(self._clock() + DAY, self._every_day)
        if Function.CATALOGUE not in self._invocations.held:
            self._invocations.attempt(Function.CATALOGUE, dict(_EVENT))
