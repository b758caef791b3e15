"""Every kind of incident, by its name in a story: each is a function of the world as it is at that second."""

from collections.abc import Callable

from lowtide.sim.storm import luck, market, owners, silence, users
from lowtide.sim.storm.stage import Stage
from lowtide.sim.storm.story import Incident

Kind = Callable[[Stage, Incident], object]

TROUBLE: dict[str, Kind] = {
    "no job": users.no_job,
    "one id twice": users.twice,
    "backlog": users.backlog,
    "jobs cancelled": users.cancel,
    "jobs retried": users.retry,
    "pool changed": owners.changed,
    "pool changed otherwise": owners.changed_otherwise,
    "schedule": owners.scheduled,
    "pool restored": owners.restored,
    "pool deleted for a while": owners.deleted,
    "pool misconfigured": owners.misconfigured,
    "instances drained": owners.drained,
    "zones run dry": market.dry,
    "prices rise": market.dear,
    "interrupted": market.interrupted,
    "worker dies": luck.worker_dies,
    "worker hangs": luck.worker_hangs,
    "ended by hand": luck.ended_by_hand,
}
"""What has to do with one pool alone."""
KINDS: dict[str, Kind] = {
    **TROUBLE,
    "parked redriven": users.redrive,
    "prices drift": market.drifting,
    "spot asked, on-demand given": market.slips,
    "strange instance": market.strangers,
    "clocks differ": luck.clocks,
    "function out": luck.out,
    "everything out": luck.all_out,
    "service out": luck.service_out,
}
APART: dict[str, Kind] = {**TROUBLE, "pool unreadable": owners.unreadable}
"""What may happen in a story for law 8, to pools that are not the one apart."""
SILENT: dict[str, Kind] = {
    "long job": silence.long_job,
    "one kept idle": silence.one_kept_idle,
    "nobody answers": silence.nobody_answers,
}
"""What happens in a story for law 11 beside all the rest."""
EVERY: dict[str, Kind] = {**KINDS, **APART, **SILENT}
