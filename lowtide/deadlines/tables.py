"""python -m lowtide.deadlines.tables: makes the tables of Lowtide's own policy anew (about a minute).

Backward induction over time left, for all models at once and on the lattice that ticks and restarts span, so that no
value is interpolated. A state is the age class of the running stretch, what is held and the work left. On-demand is
never lost, so its restart is charged as work at once; a restart on spot is gone through tick by tick, because it may be
lost before it ends. For several zones the running stretch is that of the one whose spot has lasted longest, and without
spot that of the one that lost it last (zones.py).
"""

import textwrap
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from zlib import compress

import numpy as np
from numpy.typing import NDArray

from lambdas.domain.deadlines import models
from lambdas.domain.deadlines.advice import Question, encoded
from lambdas.domain.deadlines.models import AGES, DOWN, MODELS, SEVERAL, UP, Tick
from lowtide.deadlines.zones import MIDDLES, others, rates

Array = NDArray[np.floating]
"""[model, age class, …, work left in units]"""

PLACES = {1: Path(models.__file__).with_name("tables.py"), SEVERAL: Path(models.__file__).with_name("zone_tables.py")}
"""By the number of zones."""

NEVER = np.float32(1e5)
"""The cost of what cannot be in time."""

MADE = "Made by python -m lowtide.deadlines.tables; do not edit."
HEADS = {1: "", SEVERAL: " for several zones"}


def differences(tick: Tick, restart_hours: float, price_ratio: float, zones: int = 1) -> Array:
    """[age class, work, slack, question, model], in hours of on-demand per hour of restart."""
    found = np.zeros((len(AGES), len(tick.works), len(tick.slacks), len(Question), len(MODELS)), np.float32)
    wanted: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for i, work in enumerate(tick.works):
        for j, slack in enumerate(tick.slacks):
            wanted[round(tick.restart * (work + slack + 1))].append((i, j, round(tick.restart * work)))
    costs = _Costs(tick, restart_hours, price_ratio, zones)
    for left in range(1, max(wanted) + 1):
        compared = costs.step(left)
        for i, j, work in wanted.get(left, ()):
            for question, difference in compared.items():
                found[:, i, j, question] = difference[:, :, work].T / tick.restart
    return found


def _hazards(rates: NDArray[np.float64], hours: float) -> Array:
    """[model, age class]: the probability that a stretch ends within a tick of so many hours."""
    return (1 - np.exp(-hours * rates)).astype(np.float32)[:, :, None, None]


class _Costs:
    """Cost to go at the start of a tick, once it is known whether there is spot. The unit of cost is one of on-demand.

    What is held with spot: nothing, on-demand, spot by the ticks of restart that are left; without: nothing, on-demand.
    """

    def __init__(self, tick: Tick, restart_hours: float, price_ratio: float, zones: int) -> None:
        hours = restart_hours * tick.length
        beside = [others(zones, *paces) for paces in MODELS]
        come = np.array([each.come for each in beside])
        self._ends_up = _hazards(np.array([rates(UP, up, MIDDLES) for up, _ in MODELS]), hours)
        self._ends_down = _hazards(np.array([rates(DOWN, down, MIDDLES) for _, down in MODELS]) + come, hours)
        self._alone = zones == 1
        self._none = np.array([each.none for each in beside], np.float32)[:, :, None, None]
        self._next_best = np.array([each.next_best for each in beside], np.float32)
        ageing = np.minimum(1, hours / np.diff([*AGES, 2 * AGES[-1]]))
        ageing[-1] = 0
        self._ageing = ageing.astype(np.float32)[None, :, None, None]
        self._tick, self._restart = tick.tick, tick.restart
        self._spot_cost = np.float32(price_ratio * tick.tick)
        self._works = np.arange(round(tick.works[-1] * tick.restart) + 1)
        self._restarts = -(-tick.restart // tick.tick)
        """Ticks that a restart takes a part of."""
        self._before = [self._too_late()] * tick.tick
        """Costs with spot and without; one tick later first."""

    def _too_late(self) -> tuple[Array, Array]:
        shape = (len(MODELS), len(AGES))
        up = np.full((*shape, 2 + self._restarts, self._works.size), NEVER, np.float32)
        down = np.full((*shape, 2, self._works.size), NEVER, np.float32)
        up[..., 0] = down[..., 0] = 0
        return up, down

    def step(self, left: int) -> Mapping[Question, Array]:
        """With `left` units before the deadline; says what the choices cost beside each other: [model, age, work]."""
        up, down = self._before.pop(0)
        lost = self._with_spot_lost(down)[:, :1]
        if not self._alone:
            lost = self._none * lost + np.einsum(
                "mab,mbhw->mahw", self._next_best, self._with_spot_lost(up), optimize=True
            )
        up, down = self._after(self._ends_up, up, lost), self._after(self._ends_down, down, up[:, :1, :2])
        keep, keep_down = (self._run(costs[:, :, 1], 0, left) + self._tick for costs in (up, down))
        start, start_down = (self._start(costs[:, :, 1], left) + self._tick for costs in (up, down))
        spot = [self._on_spot(up, ticks, left) + self._spot_cost for ticks in range(self._restarts + 1)]
        idle, idle_down = up[:, :, 0], down[:, :, 0]
        best = np.minimum(np.minimum(idle, start), spot[-1])
        best_down = np.minimum(idle_down, start_down)
        new_up = np.stack([best, *(np.minimum(costs, best) for costs in (keep, *spot[:-1]))], axis=2)
        new_down = np.stack([best_down, np.minimum(keep_down, best_down)], axis=2)
        for new in (new_up, new_down):
            np.minimum(new, NEVER, out=new)
            new[..., 0] = 0
        self._before.append((new_up, new_down))
        return {
            Question.DOWN_IDLE_OR_START: idle_down - start_down,
            Question.DOWN_IDLE_OR_KEEP: idle_down - keep_down,
            Question.UP_SPOT_OR_KEEP: spot[-1] - keep,
            Question.UP_SPOT_OR_IDLE: spot[-1] - idle,
            Question.UP_ON_DEMAND_OR_IDLE: start - idle,
        }

    def _with_spot_lost(self, costs: Array) -> Array:
        """By what was held with spot: who held spot holds nothing."""
        return np.concatenate([costs[:, :, :2], np.repeat(costs[:, :, :1], self._restarts, axis=2)], axis=2)

    def _after(self, ends: Array, stays: Array, other: Array) -> Array:
        """The mean over what the market does: the stretch ends and another begins, or it lasts and grows older."""
        older = np.concatenate([stays[:, 1:], stays[:, -1:]], axis=1)
        lasts = stays + self._ageing * (older - stays)
        return lasts + ends * (other - lasts)

    def _run(self, costs: Array, restart: int, left: int) -> Array:
        """After a tick of which so many units of restart come first; done within it where the time suffices."""
        progress = max(0, self._tick - restart)
        worked = np.empty_like(costs)
        worked[..., progress:] = costs[..., : costs.shape[-1] - progress]
        if progress:
            done = self._works[: progress + 1] + restart <= left
            worked[..., : progress + 1] = np.where(done, np.float32(0), NEVER)
        return worked

    def _start(self, costs: Array, left: int) -> Array:
        """After a tick of on-demand that was started. Work beyond the tables costs what it costs on on-demand."""
        restart = np.arange(1, self._restart + 1, dtype=np.float32)
        extended = np.concatenate([costs, costs[..., -1:] + restart], axis=-1)
        worked = np.empty_like(extended)
        worked[..., self._tick :] = extended[..., : extended.shape[-1] - self._tick]
        worked[..., : self._tick + 1] = 0
        late = np.arange(extended.shape[-1]) > left
        worked[..., late] = NEVER
        return worked[..., self._restart :]

    def _on_spot(self, costs: Array, ticks: int, left: int) -> Array:
        """After a tick on spot with so many ticks of restart before it."""
        restart = max(0, self._restart - (self._restarts - ticks) * self._tick) if ticks else 0
        return self._run(costs[:, :, 2 + max(0, ticks - 1)], restart, left)


def packed(price_ratio: float, zones: int) -> str:
    """Every restart and tick, as advice.py reads them."""
    raw = bytearray()
    for restart_hours in models.RESTARTS:
        for tick in models.TICKS:
            raw += bytes(map(encoded, differences(tick, restart_hours, price_ratio, zones).ravel().tolist()))
    return "\n".join(textwrap.wrap(b64encode(compress(raw, 9)).decode("ascii"), 116))


def main() -> None:
    for zones, place in PLACES.items():
        head = f'"""The tables of Lowtide\'s own policy{HEADS[zones]}. {MADE}"""'
        tables = (f'    {ratio}: """\\\n{packed(ratio, zones)}\n""",\n' for ratio in models.PRICE_RATIOS)
        place.write_text(f"{head}\n\nPACKED = {{\n{''.join(tables)}}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
