"""A launch was carried out, but the pass never heard: it is repeated, adopted, and its intention closed."""

from botocore.exceptions import ReadTimeoutError

from lambdas.adapters import keys
from lowtide.sim.calls import FailNext
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE, NOW, intentions, next_tick, only_tick, passes
from tests.crash.scenarios.launches import prepare_launch
from tests.crash.scenarios.scenario import Scenario


def prepare_lost_answer() -> World:
    """A launch was carried out, but the pass never heard; the pass to come repeats the call."""
    made = prepare_launch()
    made.hook = FailNext(lost={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]})
    made.held.discard(Function.RECONCILE)
    assert made.run(lambda: intentions(made) == 1, NOW)
    made.hook = None
    return made


def prepare_adoption() -> World:
    """A launch whose pass died right after the call; nothing but time has passed since. Its workers are not heard."""
    made = prepare_lost_answer()
    made.held |= {Function.RECONCILE, Function.TICK, Function.WORKER_API, Function.NEWS}
    made.run_for(2 * MINUTE)
    return made


def adopt(of: World) -> None:
    of.held -= {Function.RECONCILE, Function.TICK, Function.NEWS}
    next_tick(of)


def adopt_alone(of: World) -> None:
    of.held -= {Function.TICK, Function.NEWS}
    only_tick(of)


def prepare_closing() -> World:
    """The instances are adopted; one more clean look and the intention is closed."""
    made = prepare_adoption()
    made.held.clear()
    assert made.run(lambda: _clean_observations(made) == 1, 4 * MINUTE)
    passes(made)
    return made


def _clean_observations(of: World) -> int:
    found = [item for item in of.stored() if item["sk"].startswith(keys.INTENT_PREFIX)]
    return max((item["clean_observations"] for item in found), default=0)


def prepare_warned_unknown() -> World:
    made = prepare_adoption()
    made.market.interrupt(made.alive("cpu")[0].instance_id, made.clock(), lead=5 * MINUTE)
    return made


SCENARIOS: dict[str, Scenario] = {
    "lost answer": Scenario(prepare_lost_answer, passes),
    "adoption": Scenario(prepare_adoption, adopt),
    "closing": Scenario(prepare_closing, next_tick),
    "warned before known": Scenario(prepare_warned_unknown, adopt_alone),
}
