"""No function makes an AWS call that no scenario makes. How that is known: tests/crash/sites.py."""

import pytest

from lowtide.sim.functions import Function
from tests.crash import course, sites
from tests.crash.scenarios import SCENARIOS
from tests.crash.sites import Site

ALL = tuple(Function)
_READING = "the ledger's reading side, which only the command line calls"
_NAMESAKE = "another class's method of that name is called"
IN_NAME_ONLY: dict[str, tuple[tuple[Function, ...], str]] = {
    "ledger:_listed": (ALL, _READING),
    "ledger:_running_attempt": (ALL, _READING),
    "ledger:attempts": (ALL, _READING),
    "ledger:_put": ((Function.RECONCILE,), _NAMESAKE + ": Terms.accept, where Ledger.accept puts"),
    "ledger:job": ((Function.INTAKE,), _READING),
    "ledger:jobs": (ALL, _READING),
    "parked:delete": (ALL, _NAMESAKE + ": Table.delete"),
    "parked:put": ((Function.RECONCILE,), _NAMESAKE + ": Table.put, Metrics.put"),
    "parked:record": ((Function.RECONCILE,), _NAMESAKE + ": LaunchTable.record"),
    "leases:of": ((Function.RECONCILE,), _NAMESAKE + ": Images.of"),
    "leases:waiting": ((Function.RECONCILE,), "claims ask, passes do not"),
    "pool_config:history": (ALL, "only the command line calls"),
    "pool_config:pool": (
        (Function.RECONCILE, Function.WORKER_API, Function.CATALOGUE, Function.TEARDOWN),
        "attributes named `pool`",
    ),
    "pool_config:_records": ((Function.TICK, Function.RECONCILE), "fields named `pools`, as PoolConfig.pools is"),
    "decisions:in_force": ((Function.RECONCILE,), _NAMESAKE + ": schedules.in_force"),
    "decisions:over": ((Function.RECONCILE,), _NAMESAKE + ": over in urgency.py"),
    "ec2:spot_prices": ((Function.TICK, Function.TEARDOWN), "fields named `spot_prices`, of the deadline game"),
    "ledger:learned": ((Function.RECONCILE,), _NAMESAKE + ": Terms.accept, where Ledger.accept asks"),
    "observations:_count_one": ((Function.TEARDOWN,), "teardown takes only the protocol Fleet from observe"),
    "observations:count_clean": ((Function.TEARDOWN,), "teardown takes only the protocol Fleet from observe"),
    "observations:_update": ((Function.TEARDOWN,), "teardown takes only the protocol Fleet from observe"),
    "queues:_mark": ((Function.TEARDOWN,), "teardown rings for no pool"),
    "queues:_send": ((Function.TEARDOWN,), "teardown rings for no pool"),
    "queues:ring": ((Function.TEARDOWN,), "teardown rings for no pool"),
    "queues:_hasten": (
        (Function.TEARDOWN, Function.RECONCILE),
        "teardown rings for no pool; a pass has just taken the mark off the one pool that it rings for",
    ),
}
"""Sites that a function reaches by name and never calls, with the reason."""


@pytest.fixture(scope="module")
def ran() -> set[tuple[Function, Site]]:
    return {each for scenario in SCENARIOS for each in course.recorded(scenario)[1]}


def _in_name_only(function: Function, site: Site) -> bool:
    key = f"{site.module.rpartition('.')[2]}:{site.function}"
    return key in IN_NAME_ONLY and function in IN_NAME_ONLY[key][0]


def test_every_call_that_a_function_can_make_is_a_crash_point(ran: set[tuple[Function, Site]]) -> None:
    missing = {
        f"{function} {site}"
        for function in Function
        for site in sites.reachable(function)
        if (function, site) not in ran and not _in_name_only(function, site)
    }
    assert missing == set(), "add a scenario in which it is made, or say in IN_NAME_ONLY why it never is"
    called_after_all = {f"{function} {site}" for function, site in ran if _in_name_only(function, site)}
    assert called_after_all == set(), "IN_NAME_ONLY is wrong about these"


def test_what_ran_was_thought_to_be_reachable(ran: set[tuple[Function, Site]]) -> None:
    assert {f"{function} {site}" for function, site in ran if site not in sites.reachable(function)} == set()


def test_every_exception_is_still_needed() -> None:
    named = {
        f"{site.module.rpartition('.')[2]}:{site.function}"
        for function in Function
        for site in sites.reachable(function)
        if _in_name_only(function, site)
    }
    assert named == IN_NAME_ONLY.keys()
