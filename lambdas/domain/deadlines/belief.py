"""What has been seen of spot availability, as a belief over models: Bayes, from finished and running stretches."""

from collections.abc import Sequence
from math import exp, log

from lambdas.domain.deadlines.models import DOWN_SCALES, DOWN_SHAPE, UP_SCALES, UP_SHAPE

USUAL_UP_HOURS = 0.9
USUAL_DOWN_HOURS = 0.4
"""Median lengths of a stretch before anything has been seen: the middle of the training traces."""

SPREAD = 0.7
"""Standard deviation of the logarithm of those medians from pool to pool."""

TRUST = 0.5
"""Power of the likelihood: markets change, so two stretches tell as much as one would if they did not."""


class Belief:
    """Follows one row of ticks. Lengths inside are in restarts."""

    def __init__(self, *, gap: float, restart_hours: float) -> None:
        self._gap = gap
        self._scales = (DOWN_SCALES, UP_SCALES)
        self._shapes = (DOWN_SHAPE, UP_SHAPE)
        usual = (USUAL_DOWN_HOURS, USUAL_UP_HOURS)
        self._finished = [
            [-(log(scale * restart_hours / usual[up]) ** 2) / (2 * SPREAD**2) for scale in self._scales[up]]
            for up in (0, 1)
        ]
        self._up: int | None = None
        self._ticks = 0
        self._whole = False
        """The running stretch was seen from its beginning."""

    def see(self, up: bool) -> None:
        """One more tick."""
        if self._up == up:
            self._ticks += 1
            return
        if self._up is not None:
            self._finish(self._up)
            self._whole = True
        self._up, self._ticks = int(up), 1

    def _finish(self, up: int) -> None:
        """A stretch of n ticks ended between n-1 and n ticks of age; one cut at its beginning lasted at least that."""
        shape, at_most, at_least = self._shapes[up], self._ticks * self._gap, (self._ticks - 1) * self._gap
        for number, scale in enumerate(self._scales[up]):
            survived = _survival(scale, shape, at_most)
            likelihood = _survival(scale, shape, at_least) - survived if self._whole else survived
            self._finished[up][number] += TRUST * log(max(likelihood, 1e-300))

    @property
    def age(self) -> float:
        """Of the running stretch, in restarts: the middle of the tick."""
        return (self._ticks - 0.5) * self._gap

    def weights(self) -> list[float]:
        """The probability of each model, in the order of models.py; they add up to 1."""
        down, up = self._side(0), self._side(1)
        return [one * other for one in up for other in down]

    def _side(self, up: int) -> list[float]:
        logs: Sequence[float] = self._finished[up]
        if self._up == up:
            lasted, shape = (self._ticks - 1) * self._gap, self._shapes[up]
            logs = [each + shape * log(s / (s + lasted)) for each, s in zip(logs, self._scales[up], strict=True)]
        most = max(logs)
        likely = [exp(each - most) for each in logs]
        total = sum(likely)
        return [each / total for each in likely]


def _survival(scale: float, shape: float, age: float) -> float:
    """The probability of lasting longer than `age`: (scale / (scale + age)) ** shape; 0.5 at 1, 1 and 1."""
    return (scale / (scale + age)) ** shape
