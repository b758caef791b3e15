"""Instances and their records on their way out: drain, terminate, forget; and whom one is kept for until then.

An instance that holds a lease is never ended here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lambdas.adapters.ec2 import Ec2, Ended
from lambdas.adapters.launch_table import LaunchTable
from lambdas.control.outcomes import Outcome, Result
from lambdas.domain.fleet.actions import Close, Drain, Forget, Keep, Move, Retire, Terminate
from lambdas.domain.fleet.fleet import BootFailure, Instance, InstanceState
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.refusals import rule_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Ender:
    table: LaunchTable
    ec2: Ec2
    now: Callable[[], datetime]

    def retire(self, action: Retire, snapshot: Snapshot) -> Outcome:
        """Raises Superseded. An instance that took a job since the snapshot goes on."""
        drained = self.table.drain(snapshot.pool.name, action.instance_ids, snapshot.epoch, action.why, self.now())
        kept = len(action.instance_ids) - len(drained)
        return self._terminate("retire", action.why, drained, snapshot, f"{kept} took a job meanwhile" if kept else "")

    def drain(self, action: Drain, snapshot: Snapshot) -> Outcome:
        """Raises Superseded. The jobs that these hold go on; they get no others."""
        pool, now = snapshot.pool.name, self.now()
        drained = self.table.stop_claims(pool, action.instance_ids, snapshot.epoch, action.why, now)
        result = Result.DONE if drained else Result.NOTHING
        return Outcome(action="drain", why=action.why, result=result, detail=", ".join(drained))

    def move(self, action: Move, snapshot: Snapshot) -> Outcome:
        """Raises Superseded. The jobs run on until their worker has heard of it."""
        pool, now = snapshot.pool.name, self.now()
        told = self.table.move(pool, action.instance_id, action.job_ids, snapshot.epoch, action.why, now)
        result = Result.DONE if told else Result.NOTHING
        return Outcome(action="move", why=action.why, result=result, detail=", ".join((action.instance_id, *told)))

    def keep(self, action: Keep, snapshot: Snapshot) -> Outcome:
        """Raises Superseded. Until then claims go on as before, so a smaller job may have slipped in."""
        kept = self.table.keep(snapshot.pool.name, action.instance_id, action.job_id, snapshot.epoch)
        result = Result.DONE if kept else Result.NOTHING
        return Outcome(action="keep", why=action.why, result=result, detail=action.instance_id)

    def terminate(self, action: Terminate, snapshot: Snapshot) -> Outcome:
        """Raises Superseded. What is not draining yet is drained first, so that it takes no job on its way out."""
        known = {instance.instance_id: instance for instance in snapshot.instances}
        awake = [i for i in action.instance_ids if i in known and known[i].state is not InstanceState.DRAINING]
        drained = set(
            self.table.drain(snapshot.pool.name, awake, snapshot.epoch, action.why, self.now()) if awake else ()
        )
        ready = [i for i in action.instance_ids if i in known and (i not in awake or i in drained)]
        self._note_boots(snapshot, [known[i] for i in awake if i in drained and known[i].reported_at is None])
        return self._terminate("terminate", action.why, ready, snapshot)

    def _note_boots(self, snapshot: Snapshot, failed: Sequence[Instance]) -> None:
        """Keep what is known of instances whose worker never called; of one of them what it wrote to its console, since
        those of one pass mostly fail alike and asking takes a second."""
        now = self.now()
        consoles = {each.instance_id: self.ec2.console(each.instance_id) for each in failed[:1]}
        failures = [
            BootFailure(
                instance_id=each.instance_id,
                instance_type=each.instance_type,
                zone=each.zone,
                launched_at=each.launched_at,
                ended_at=now,
                console=consoles.get(each.instance_id),
            )
            for each in failed
        ]
        self.table.put_boot_failures(snapshot.pool.name, failures)

    def _terminate(
        self, action: str, why: str, instance_ids: Sequence[str], snapshot: Snapshot, detail: str = ""
    ) -> Outcome:
        if not instance_ids:
            return Outcome(action=action, why=why, result=Result.NOTHING, detail=detail)
        ended = self.ec2.terminate(instance_ids)
        self.table.termination_requested(snapshot.pool.name, ended.accepted, self.now())
        before = {i.instance_id for i in snapshot.instances if i.termination_requested_at is not None}
        return Outcome(
            action=action,
            why=why,
            result=Result.REFUSED if ended.failures else Result.DONE,
            detail="; ".join(filter(None, [detail, _unknown(ended)])),
            ended=tuple(i for i in ended.accepted if i not in before),
            reasons=self._reasons(ended),
        )

    def _reasons(self, ended: Ended) -> tuple[Reason, ...]:
        now = self.now()
        rules = [(failure, rule_for(failure.code, failure.message)) for failure in ended.failures]
        return tuple(
            Reason(
                reason_class=rule.reason_class,
                code=failure.code,
                message=f"EC2 did not end instances that are no longer needed: {failure.message}",
                remedy=rule.remedy,
                since=now,
                last_seen=now,
            )
            for failure, rule in rules
        )

    def forget(self, action: Forget, snapshot: Snapshot) -> Outcome:
        kept = snapshot.settings.jobs_kept
        gone = self.table.forget(snapshot.pool.name, action.instance_id, self.now(), bill_kept=kept)
        return Outcome(
            action="forget",
            why=action.why,
            result=Result.DONE if gone else Result.NOTHING,
            detail=action.instance_id,
        )

    def close(self, action: Close) -> Outcome:
        closed = self.table.close(action.intention)
        return Outcome(
            action="close",
            why=action.why,
            result=Result.DONE if closed else Result.NOTHING,
            decision=action.intention.intention_id,
        )


def _unknown(ended: Ended) -> str:
    return f"EC2 does not know {', '.join(ended.unknown)} (gone, or launched a moment ago)" if ended.unknown else ""
