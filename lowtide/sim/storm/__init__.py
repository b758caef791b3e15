"""Seeded storms over a whole simulated deployment, held against the laws.

`story.py` draws a story from its seed, with `arrivals.py` for its jobs. `play.py` plays it on a stage (`stage.py`, with
the pools of `pools.py`) and ends it (`calm.py`). What may happen has its name in `incidents.py`, and is done in a file
for each who does it: `users.py`, `owners.py`, `market.py`, `luck.py`, `silence.py`. Faults at calls and deliveries
strike in `strikes.py`. `bulk.py` plays many.
"""

from lowtide.sim.storm.play import Outcome, played, told
from lowtide.sim.storm.story import Story, shortened

__all__ = ["Outcome", "Story", "played", "shortened", "told"]
