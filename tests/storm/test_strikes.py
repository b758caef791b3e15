"""What a storm's faults do to a world, one by one; and what its checks see that no seed has to show."""

from collections.abc import Callable
from datetime import timedelta

from lowtide.sim import laws
from lowtide.sim.calls import Request, Resent, Response
from lowtide.sim.fates import Channel, Fate
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE, SECOND, instance_of, jobs, running, send
from tests.crash.deployed import world as deployed
from worker.leases import Stop


class Once:
    """Does something in the middle of a function's first call, before or after its effect."""

    def __init__(self, before: Callable[[], object] | None = None, after: Callable[[], object] | None = None) -> None:
        self._before, self._after = before, after
        self.seen: list[str] = []

    def before(self, operation: str, request: Request) -> None:
        self.seen.append(operation)
        act, self._before = self._before, None
        if act is not None:
            act()

    def after(self, operation: str, request: Request, response: Response) -> None:
        act, self._after = self._after, None
        if act is not None:
            act()


def fated(of: World, channel: Channel, fate: Fate) -> None:
    """The channel's next delivery alone."""
    fates = [fate]
    of.fate = lambda asked: fates.pop() if fates and asked is channel else None


def test_a_call_that_is_slower_than_its_functions_time_ends_the_function() -> None:
    of = deployed()
    of.hook = Once(before=lambda: of.meanwhile(MINUTE))
    assert not of.tick()
    assert of.at_work == []


def test_the_world_goes_on_around_a_slow_call() -> None:
    of = deployed()
    send(of, seconds=1)
    of.hook = Once(before=lambda: of.meanwhile(20 * SECOND))
    before = of.clock()
    assert of.tick()
    assert of.clock() - before >= 20 * SECOND
    assert of.alive("cpu")


def test_a_call_whose_answer_is_lost_is_made_again_by_the_sdk() -> None:
    def lost() -> None:
        raise Resent

    of = deployed()
    hook = of.hook = Once(after=lost)
    assert of.tick()
    assert hook.seen[0] == hook.seen[1]


def test_a_message_that_was_served_and_not_deleted_comes_again_and_makes_no_second_job() -> None:
    of = deployed()
    fated(of, Channel.JOBS, Fate.UNANSWERED)
    send(of, seconds=1)
    of.run_for(SECOND)
    assert of.undelivered()
    assert of.run(lambda: jobs(of, "succeeded") == 1 and not of.undelivered(), 10 * MINUTE)


def test_a_doubled_message_makes_one_job() -> None:
    of = deployed()
    fated(of, Channel.JOBS, Fate.DOUBLED)
    send(of, seconds=1)
    assert of.settle()
    assert jobs(of, "succeeded") == 1
    assert laws.at_rest(of) == []


def test_a_lost_event_is_never_told_and_a_doubled_one_twice() -> None:
    for fate, times in ((Fate.LOST, 0), (Fate.DOUBLED, 2), (None, 1)):
        of = deployed()
        told: list[Function] = []
        of.invoke = lambda function, event, told=told: told.append(function)  # type: ignore[method-assign]
        if fate is not None:
            fated(of, Channel.EVENTS, fate)
        of.bus.publish("EC2 Spot Instance Interruption Warning", {"instance-id": "i-1"}, of.clock())
        of.run_for(timedelta(0))
        assert told == [Function.NEWS] * times


def test_a_job_whose_worker_hangs_is_given_to_another() -> None:
    of = running()
    of.hosts[instance_of(of)].hang()
    audit = laws.Audit(of)
    assert of.settle(timedelta(hours=1))
    assert jobs(of, "succeeded") == 1
    assert [*audit.violations, *laws.at_rest(of)] == []


def test_law_11_sees_a_worker_that_outlives_its_answers() -> None:
    of = running()
    audit = laws.Audit(of)
    of.hosts[instance_of(of)].answered_at = of.clock() - timedelta(hours=7)
    audit.ended(Function.TICK, crashed=False)
    assert [violation.law for violation in audit.violations] == [11]


def test_law_11_sees_a_worker_that_gives_up_too_early() -> None:
    of = running()
    audit, host = laws.Audit(of), of.hosts[instance_of(of)]
    audit.powered_off(host, "the control plane has not answered for too long")
    assert [violation.law for violation in audit.violations] == [11]


def test_a_worker_that_gives_up_in_time_breaks_no_law_even_if_its_results_are_taken_in_afterwards() -> None:
    of = running()
    audit, host = laws.Audit(of), of.hosts[instance_of(of)]
    host.answered_at = of.clock() - of.settings.running_power_off
    host.attempts[0].stop(Stop.INTERRUPTED)
    host.answered_at = of.clock()
    audit.powered_off(host, "the control plane has not answered for too long")
    assert audit.violations == []


def test_a_worker_that_came_back_has_its_time_anew_before_it_is_too_late() -> None:
    of = running()
    audit, host = laws.Audit(of), of.hosts[instance_of(of)]
    host.answered_at = of.clock() - timedelta(hours=7)
    host.hang()
    host.come_back()
    audit.look()
    assert audit.violations == []


def test_an_answer_to_a_worker_that_has_died_meanwhile_is_nobodys() -> None:
    of = running()
    host, long_ago = of.hosts[instance_of(of)], of.clock() - MINUTE
    restarted: list[str] = []

    class Restarts(Once):
        def before(self, operation: str, request: Request) -> None:
            super().before(operation, request)
            if host.due() is None and not restarted:  # it waits for an answer
                restarted.append(operation)
                host.restart()
                host.answered_at = long_ago

    of.hook = Restarts()
    assert of.run(lambda: bool(restarted), MINUTE)
    assert host.answered_at == long_ago


def test_law_4_sees_an_instance_powered_off_with_a_lease() -> None:
    of = running()
    audit = laws.Audit(of)
    audit.powered_off(of.hosts[instance_of(of)], "the control plane said so")
    assert [violation.law for violation in audit.violations] == [4]
