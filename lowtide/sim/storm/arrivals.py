"""When jobs come and how long they take, in the shape of recorded ones, pressed into the length of a storm.

Arrivals are those of the NASA Ames iPSC/860 log of 1993 (Parallel Workloads Archive, cleaned, 18,239 jobs of three
months): a day in which the busiest hour has twenty times as many as the quietest, and one arrival in three is followed
by others within a minute. Running times are those of Microsoft's Philly traces (83,154 jobs of 2017): a median of 20
minutes, and a tenth that take hours.
"""

from bisect import bisect_right
from itertools import pairwise
from random import Random

DAY = (
    *(0.19, 0.11, 0.15, 0.13, 0.08, 0.08, 0.18, 0.33, 0.52, 1.01, 1.59, 1.96),
    *(2.22, 2.05, 1.98, 2.00, 2.03, 1.86, 1.71, 1.30, 1.04, 0.77, 0.50, 0.22),
)
"""Jobs in each hour of the day, in the mean hour's; the first is the one that the log's clock calls 23 to 24."""
BURSTS = (0.688, 0.869, 0.935, 0.964, 0.978, 0.984, 0.988, 0.990, 0.995, 1.0)
"""Share of bursts, each job within a minute of the one before, of at most 1, 2, … 10 jobs (the longest had 20)."""
RUNTIMES = ((0.0, 20.0), (0.05, 48.0), (0.1, 61.0), (0.25, 131.0), (0.5, 1186.0), (0.75, 3342.0), (0.9, 12860.0))
"""(share of jobs, seconds that they take at most); the last tenth, up to weeks, is as the ninth here."""
PRESSED = 40.0
"""A storm's second stands for so many of the recorded ones, and so does a job's."""


def second(chance: Random, storm_seconds: int) -> int:
    """When a burst begins: the storm is one day long."""
    [hour] = chance.choices(range(24), weights=DAY)
    return int((hour + chance.random()) / 24 * storm_seconds)


def burst(chance: Random) -> int:
    """How many jobs come at once."""
    return bisect_right(BURSTS, chance.random()) + 1


def seconds(chance: Random) -> float:
    """How long a job takes: between half a second and five minutes."""
    share = chance.random()
    for (low, least), (high, most) in pairwise(RUNTIMES):
        if share < high:
            return round((least + (most - least) * (share - low) / (high - low)) / PRESSED, 1)
    return RUNTIMES[-1][1] / PRESSED
