"""Launching: a token, an intention, one call, a record (design: "Launching").

At every point at which this process may die, what EC2 did or may have done is counted against the pool's maximum:

    token taken         nothing asked; the token is lost and grows back
    intention written   the whole request counts as in flight; the next pass repeats the identical call
    call made           the same, and the repeated call (same token) launches nothing new
    instances recorded  each counts once: recording one and taking it off the intention is one transaction
    intention gone      the answer is recorded; only now may the rest of the request be asked for again
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import TypedDict

from botocore.exceptions import ClientError

from lambdas.adapters.ec2 import Answer, Ec2, Launched, Lost
from lambdas.adapters.launch_table import Closing, LaunchTable
from lambdas.adapters.request_bucket import RequestBucket
from lambdas.control.outcomes import Outcome, Result, soonest
from lambdas.control.quota_numbers import QuotaNumbers
from lambdas.control.templates import Templates
from lambdas.domain.buying.bills import tariff_of
from lambdas.domain.fleet.actions import Launch, Repeat
from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention, LaunchRequest
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.refusals.refusals import Consequences, Refusal, consequences, rule_for
from lambdas.domain.settings import Settings

SPOT_CAME_AS_ON_DEMAND = "SpotCameAsOnDemand"
NO_TURN = "RequestRateShared"
TURN_WAIT = timedelta(seconds=1)
"""Twice what a token takes to grow at EC2's rate. With a small `ec2_request_share` tokens are rarer than this, and the
tick serves who waits."""


class _Told(TypedDict):
    action: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    table: LaunchTable
    bucket: RequestBucket
    ec2: Ec2
    templates: Templates
    quotas: QuotaNumbers
    settings: Settings
    now: Callable[[], datetime]
    pause: Callable[[float], None]
    new_id: Callable[[], str]
    """A fresh decision id: at most 64 characters of ASCII, since it is EC2's client token."""

    def launch(self, action: Launch, snapshot: Snapshot) -> Outcome:
        """Raises Superseded when a later pass of the pool has begun: nothing was asked of EC2."""
        pool, told = snapshot.pool, _Told(action="launch", why=action.why)
        try:
            template = self.templates.of(snapshot, action.request.capacity_type)
        except ClientError as error:
            return self._no_template(told, action.request, error, snapshot)
        if (retry_at := self._turn(pool.name, replaces=action.replaces)) is not None:
            return self._throttled(told, action.request, retry_at)
        request = replace(action.request, template=(template.template_id, template.version))
        intention = self._intention(pool, request)
        try:
            self.table.intend(intention, snapshot.epoch)
        except Closing:
            return Outcome(**told, result=Result.NOTHING, detail="the stack is being deleted")
        return self._ask(told, intention, snapshot, repeated=False, kept_for=action.kept_for)

    def _turn(self, pool: str, *, replaces: bool) -> datetime | None:
        """Take a token, waiting for it where it comes within TURN_WAIT; else when to ask again."""
        retry_at = self.bucket.take(pool, replaces=replaces)
        if retry_at is None or (wait := retry_at - self.now()) > TURN_WAIT:
            return retry_at
        self.pause(max(wait.total_seconds(), 0.0))
        return self.bucket.take(pool, replaces=replaces)

    def hand_on(self) -> tuple[str, ...]:
        """The pools whose turn it is now that this one has made its calls. Where none has a token yet, it waits for one
        to grow, at most TURN_WAIT: whoever waits would otherwise wait for the next tick."""
        pools, seconds = self.bucket.next_in_turn()
        if pools or seconds is None or seconds > TURN_WAIT.total_seconds():
            return pools
        self.pause(seconds)
        return self.bucket.next_in_turn()[0]

    def repeat(self, action: Repeat, snapshot: Snapshot) -> Outcome:
        """Make an unanswered call again. A refusal of the repeated call says nothing of the first one: the intention
        stays open then."""
        intention, told = action.intention, _Told(action="repeat", why=action.why)
        if (retry_at := self._turn(snapshot.pool.name, replaces=True)) is not None:
            return self._throttled(told, intention.request, retry_at)
        if not self.table.mark_repeated(intention, self.now()):
            return Outcome(**told, result=Result.NOTHING, decision=intention.intention_id, detail="closed meanwhile")
        return self._ask(told, intention, snapshot, repeated=True)

    def _ask(
        self,
        told: _Told,
        intention: Intention,
        snapshot: Snapshot,
        *,
        repeated: bool,
        kept_for: Sequence[str] = (),
    ) -> Outcome:
        """`kept_for`: where its answer is lost, the next passes keep what comes (domain/plan/in_time.py)."""
        answer = self._call(intention)
        if isinstance(answer, Lost):
            return self._lost(told, intention, answer)
        if any(rule_for(r.code, r.message).reason_class is ReasonClass.THROTTLING for r in answer.refusals):
            self.bucket.emptied()
        return self._settle(told, intention, answer, snapshot, repeated=repeated, kept_for=kept_for)

    def _no_template(self, told: _Told, request: LaunchRequest, error: ClientError, snapshot: Snapshot) -> Outcome:
        """EC2 refused to make or show the pool's launch template: the same as if it had refused the launch."""
        details = error.response.get("Error", {})
        code, message = details.get("Code", "Unknown"), details.get("Message", str(error))
        refusal = Refusal(code=code, message=f"Launch template: {message}", capacity_type=request.capacity_type)
        follows = self._consequences([refusal], request, snapshot)
        self.table.put_marks(snapshot.pool.name, follows.marks)
        return Outcome(**told, result=Result.REFUSED, detail="no launch template", **_refused(follows))

    def _consequences(self, refusals: list[Refusal], request: LaunchRequest, snapshot: Snapshot) -> Consequences:
        return consequences(
            refusals,
            request=request,
            marks=snapshot.marks,
            now=self.now(),
            settings=self.settings,
            reasons=snapshot.reasons,
        )

    def _intention(self, pool: Pool, request: LaunchRequest) -> Intention:
        now = self.now()
        return Intention(
            intention_id=self.new_id(),
            pool=pool.name,
            request=request,
            created_at=now,
            not_after=now + self.settings.intent_life,
        )

    def _call(self, intention: Intention) -> Answer | Lost:
        """Never begun after `not_after`: from then on observations decide what there is."""
        if self.now() >= intention.not_after:
            return Lost(why="too late to call: observations will settle it")
        return self.ec2.create_fleet(intention.request, pool=intention.pool, decision=intention.intention_id)

    def _settle(
        self,
        told: _Told,
        intention: Intention,
        answer: Answer,
        snapshot: Snapshot,
        *,
        repeated: bool,
        kept_for: Sequence[str],
    ) -> Outcome:
        now = self.now()
        wrong = [launched for launched in answer.launched if not _as_asked(launched, intention.request)]
        refused = self.quotas.told(answer.refusals, intention.request, snapshot)
        refusals = [*refused, *map(_came_as_on_demand, wrong)]
        follows = self._consequences(refusals, intention.request, snapshot)
        instances = [
            replace(_instance(launched, intention, snapshot.pool, now), kept_for=job_id)
            for launched, job_id in zip_longest(answer.launched, kept_for[: len(answer.launched)])
        ]
        market = snapshot.market()
        tariffs = {each.instance_id: tariff_of(each, snapshot.pool, market) for each in instances}
        if not repeated:
            self.table.record(intention, instances, follows.marks, tariffs)
        elif answer.whole:
            self.table.put_marks(intention.pool, follows.marks)
        else:
            self.table.put_marks(intention.pool, follows.marks)
            self.table.record_repeated(intention, instances, now, tariffs)
        ended = self._end([launched.instance_id for launched in wrong], intention.pool, now)
        came = tuple(launched.instance_id for launched in answer.launched if launched not in wrong)
        return Outcome(
            **told,
            result=Result.REFUSED if follows.reasons else Result.DONE,
            detail=f"{len(came)} of {intention.request.count} {intention.request.capacity_type} came",
            decision=intention.intention_id,
            launched=came,
            ended=ended,
            **_refused(follows),
        )

    def _end(self, instance_ids: list[str], pool: str, now: datetime) -> tuple[str, ...]:
        """End what came on another lifecycle than asked for; the plan ends again what EC2 did not accept."""
        if not instance_ids:
            return ()
        ended = self.ec2.terminate(instance_ids).accepted
        self.table.termination_requested(pool, ended, now)
        return ended

    def _lost(self, told: _Told, intention: Intention, lost: Lost) -> Outcome:
        return Outcome(
            **told,
            result=Result.LOST,
            detail=lost.why,
            decision=intention.intention_id,
            in_flight=intention.request.count - intention.adopted if told["action"] == "launch" else 0,
            again=told["action"] == "launch",
            due=self.now() + self.settings.intent_life / 4,
        )

    def _throttled(self, told: _Told, request: LaunchRequest, retry_at: datetime) -> Outcome:
        now = self.now()
        reason = Reason(
            reason_class=ReasonClass.THROTTLING,
            code=NO_TURN,
            message="The stack's share of EC2's launch request rate is used up; other pools were served first.",
            remedy="Nothing to do: the pool is served in turn. If it lasts, give the stack a larger part of the "
            "account's rate: deploy with a higher `-c ec2_request_share`.",
            since=now,
            last_seen=now,
            capacity_type=request.capacity_type,
            next_attempt=retry_at,
        )
        return Outcome(**told, result=Result.THROTTLED, reasons=(reason,), due=retry_at)


class _Refused(TypedDict):
    reasons: tuple[Reason, ...]
    refused_classes: tuple[str, ...]
    unknown_codes: tuple[str, ...]
    due: datetime | None


def _refused(follows: Consequences) -> _Refused:
    """What an outcome says of refusals."""
    return _Refused(
        reasons=follows.reasons,
        refused_classes=tuple(dict.fromkeys(str(reason.reason_class) for reason in follows.reasons)),
        unknown_codes=follows.unknown_codes,
        due=soonest(reason.next_attempt for reason in follows.reasons),
    )


def _as_asked(launched: Launched, request: LaunchRequest) -> bool:
    return request.capacity_type is not CapacityType.SPOT or launched.capacity_type is CapacityType.SPOT


def _came_as_on_demand(launched: Launched) -> Refusal:
    return Refusal(
        code=SPOT_CAME_AS_ON_DEMAND,
        message=f"{launched.instance_id} was asked for as spot and came as on-demand; it is being ended.",
        capacity_type=CapacityType.SPOT,
        instance_type=launched.instance_type,
        zone=launched.zone,
    )


def _instance(launched: Launched, intention: Intention, pool: Pool, now: datetime) -> Instance:
    facts = pool.facts(launched.instance_type)
    asked = _as_asked(launched, intention.request)
    return Instance(
        instance_id=launched.instance_id,
        pool=pool.name,
        decision=intention.intention_id,
        state=InstanceState.LAUNCHING if asked else InstanceState.DRAINING,
        draining_since=None if asked else now,
        drain_reason=None if asked else "asked for as spot, came as on-demand",
        capacity_type=launched.capacity_type,
        instance_type=launched.instance_type,
        zone=launched.zone,
        slots=facts.slots if facts else 0,
        launched_at=now,
        price_limit=_limit(launched, intention.request),
    )


def _limit(launched: Launched, request: LaunchRequest) -> Decimal | None:
    offering = (launched.instance_type, launched.zone)
    return next((o.max_price for o in request.overrides if (o.instance_type, o.zone) == offering), None)
