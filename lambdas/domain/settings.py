"""Deploy settings: every period and rate of the control plane that is not a pool's own. Defaults are the product's.

`cdk deploy -c settings='{"lease": 300}'` changes them; they reach the functions as one JSON object of seconds and
numbers, and the workers through the worker API. The local AWS deploys the same stack with shorter ones.
"""

import json
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    heartbeat: timedelta = timedelta(seconds=30)
    """How often a worker with running jobs calls."""
    lease: timedelta = timedelta(seconds=300)
    """A lease expires this long after the last heartbeat that named it. At least five minutes in production."""
    poll_first: timedelta = timedelta(seconds=2)
    """An idle worker's first wait between claims; grows to `poll_most`."""
    poll_most: timedelta = timedelta(seconds=60)
    notice_poll: timedelta = timedelta(seconds=5)
    """How often a worker reads the instance metadata for a spot notice. AWS recommends every 5 s."""
    checkpoint: timedelta = timedelta(seconds=300)
    """How often a running job's checkpoint directory is saved: the most work that an interruption without a notice
    costs."""
    save_reserve_least: timedelta = timedelta(seconds=10)
    """So long before an announced end a job is gone at the latest, and its last save begins."""
    save_reserve_most: timedelta = timedelta(seconds=30)
    """At most so long before, when its saves take longer: a quarter of EC2's two minutes."""
    failed_at_once: timedelta = timedelta(seconds=60)
    """A job that fails so soon after its start on three instances in a row is stopped early (job_record.py). A training
    program that cannot start has loaded its libraries and said so by then."""
    idle_power_off: timedelta = timedelta(seconds=30 * 60)
    """Law 11: an idle worker without a successful answer for so long powers its instance off."""
    running_power_off: timedelta = timedelta(seconds=6 * 3600)
    """Law 11: the same for a worker that is running a job."""
    boot_power_off: timedelta = timedelta(seconds=30 * 60)
    """Law 11: the boot-time timer that ends an instance whose worker never started."""
    intent_life: timedelta = timedelta(seconds=60)
    """No EC2 call is made for an intention older than this."""
    observation_margin: timedelta = timedelta(seconds=60)
    """An observation counts for closing an intention only if it began this long after the intention's `not_after`.
    EC2's Describe may miss an instance for some 40 s after its launch."""
    unseen_grace: timedelta = timedelta(seconds=300)
    """An instance named by CreateFleet is not gone because Describe omits it in its first five minutes."""
    warning_memory: timedelta = timedelta(seconds=600)
    """How long a warning for an unknown instance id is kept, for adoption."""
    warning_lead: timedelta = timedelta(seconds=120)
    """How long after a spot warning EC2 ends the instance: the event names no end, EC2 promises two minutes."""
    teardown_look: timedelta = timedelta(seconds=10)
    """How often a stack that is being deleted looks whether its instances have ended."""
    look_again: timedelta = timedelta(seconds=60)
    """A pool that is not at rest is looked at again at least this often."""
    probe: timedelta = timedelta(seconds=15 * 60)
    """One real call per pool and capacity type is made this often even when prices say that it is hopeless."""
    capacity_cooldown: timedelta = timedelta(seconds=45)
    """An offering without capacity is left alone for so long: each tick asks again. On recorded days a longer rest
    saved nothing and made jobs wait (docs/performance.md). However many pools ask, the bucket below shares out what
    EC2 takes of their calls."""
    cooldown_scale: float = 1.0
    """Multiplies every other cool-down of the table of refusals."""
    interrupted_cooldown: timedelta = timedelta(seconds=180)
    """An interrupted offering is avoided for so long while another can be had."""
    ec2_bucket: float = 5.0
    """CreateFleet's request bucket: burst, shared by the account and Region."""
    ec2_refill_per_second: float = 2.0
    ec2_request_share: float = 1.0
    """The part of the account's bucket that this stack may use."""
    terminations_per_pass: float = 1.0
    """The share of a pool's instances that one pass may retire for idleness."""
    jobs_kept: timedelta = timedelta(days=90)
    decisions_kept: timedelta = timedelta(days=35)

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """The defaults with what `text` (a JSON object) changes. Raises ValueError naming a bad key or value."""
        given: dict[str, Any] = json.loads(text) if text else {}
        known = {f.name: f for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key not in known:
                raise ValueError(f"settings.{key} is not a setting; settings are {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ValueError(f"settings.{key} is {value!r}; it takes a number above 0 (seconds for periods)")
            default = known[key].default
            values[key] = timedelta(seconds=value) if isinstance(default, timedelta) else float(value)
        return cls(**values)

    def to_json(self) -> str:
        """What differs from the defaults, as `from_json` reads it."""
        default = type(self)()
        changed = {
            f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)
        }
        return json.dumps(
            {k: v.total_seconds() if isinstance(v, timedelta) else v for k, v in changed.items()}, sort_keys=True
        )

    def paced(self, pace: float) -> Self:
        """The same settings with every waiting period divided by `pace` (retention and rates as they are)."""
        kept = {"jobs_kept", "decisions_kept"}
        shorter = {
            f.name: getattr(self, f.name) / pace
            for f in fields(self)
            if isinstance(getattr(self, f.name), timedelta) and f.name not in kept
        }
        return replace(self, cooldown_scale=self.cooldown_scale / pace, **shorter)
