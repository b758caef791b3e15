"""The launch templates of pools that ask for more than a launch request can say: made before a launch, deleted when the
pool's current version does not need them any more (an older version's is made anew should it come back).

Nothing is left over: a template is noted in the table before it is made, and one whose note another pass has taken away
meanwhile is deleted by who made it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.launch_table import LaunchTable, Superseded
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.adapters.table import Fault
from lambdas.control.outcomes import Outcome, Result
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.machine import template_data, template_name
from lambdas.domain.pools.pools import CapacityType, Pool

UNUSED = "the pool does not use this launch template any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    ec2: LaunchTemplates
    table: LaunchTable
    stack: str
    bases: Mapping[CapacityType, LaunchTemplate]
    """The stack's own, one per capacity type."""
    now: Callable[[], datetime]
    _data: dict[LaunchTemplate, Mapping[str, Any]] = field(default_factory=dict[LaunchTemplate, Mapping[str, Any]])
    """Of the stack's own, as last read: a version never changes."""

    def of(self, snapshot: Snapshot, capacity_type: CapacityType) -> LaunchTemplate:
        """What to launch from, made if it does not exist yet. Raises Superseded, Fault, and ClientError for what EC2
        refuses."""
        pool, base = snapshot.pool, self.bases[capacity_type]
        name = self._name(pool, capacity_type)
        if name is None:
            return base
        if (found := self.ec2.find(name)) is not None:
            return found
        self.table.note_template(pool.name, name, snapshot.epoch, self.now())
        made = self.ec2.make(name, template_data(self._base_data(base), pool.machine), pool=pool.name)
        if not self.table.template_noted(pool.name, name):
            self.ec2.delete(name)
            raise Superseded(pool.name)
        return made

    def sweep(self, noted: tuple[str, ...], snapshot: Snapshot) -> Iterator[Outcome]:
        """Delete what is noted and not needed. Never while a launch is open: its call may be made again."""
        if snapshot.intentions:
            return
        needed = {self._name(snapshot.pool, kind) for kind in CapacityType} if not snapshot.pool.deleted else set()
        for name in noted:
            if name not in needed:
                yield self._deleted(snapshot, name)

    def _deleted(self, snapshot: Snapshot, name: str) -> Outcome:
        told = Outcome(action="deletetemplate", why=UNUSED, result=Result.DONE, detail=name, again=True)
        try:
            self.table.check_current(snapshot.pool.name, snapshot.epoch)
            self.ec2.delete(name)
            self.table.forget_template(snapshot.pool.name, name)
        except Superseded:
            return Outcome(action=told.action, why=UNUSED, result=Result.SUPERSEDED)
        except (Fault, ClientError) as error:
            detail = f"{name}: {type(error).__name__}: {error}"
            return Outcome(action=told.action, why=UNUSED, result=Result.FAILED, detail=detail)
        return told

    def _name(self, pool: Pool, capacity_type: CapacityType) -> str | None:
        base = self.bases[capacity_type]
        return template_name(
            pool.machine,
            stack=self.stack,
            pool=pool.name,
            capacity_type=capacity_type,
            base=f"{base.template_id}:{base.version}",
        )

    def _base_data(self, base: LaunchTemplate) -> Mapping[str, Any]:
        if base not in self._data:
            self._data[base] = self.ec2.data(base)
        return self._data[base]
