"""The situations in which functions are killed: each is a world up to a point, and a short act from there on.

Every call of the act is a crash point, of whatever function. Acts are as short as they can be, and what is not the
matter is held off meanwhile. A scenario stands in the module that is named by what happens in it; what all of them
build on is in tests/crash/deployed.py.
"""

from tests.crash.scenarios import changes, deadlines, ends, intake, jobs, launches, looks, lost_launches, told
from tests.crash.scenarios.scenario import Scenario

PLACES = (intake, launches, lost_launches, jobs, ends, deadlines, looks, told, changes)
SCENARIOS: dict[str, Scenario] = {name: each for place in PLACES for name, each in place.SCENARIOS.items()}
