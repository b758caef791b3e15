"""The guard of the deadline: exact, and the same for every policy.

It keeps one promise from tick to tick: on-demand from now on is in time. A choice that would break the promise for the
tick after becomes on-demand. Where the job can be done on on-demand from its first tick, it is therefore done in time,
whatever the market does and whatever the policy says.
"""

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice, Situation, Terms


def overhead_of(terms: Terms, now: Situation, choice: Choice) -> int:
    """Seconds of restart that stand before progress if this is chosen."""
    return now.overhead_s if choice == now.held else terms.restart_s


def is_safe(terms: Terms, now: Situation, choice: Choice) -> bool:
    """Whether the deadline holds even if all spot is gone from the next tick on.

    In time: `elapsed + overhead + work <= deadline`. 1 h of work, restart 0.1 h, deadline 2 h, ticks of 0.25 h: idling
    is safe at 0.5 h (0.75 + 0.1 + 1 = 1.85) and not at 0.75 h (1.0 + 0.1 + 1 = 2.1).
    """
    if choice == ON_DEMAND:
        return True
    elapsed, after, work = now.tick * terms.gap_s, (now.tick + 1) * terms.gap_s, now.work_s
    if choice != IDLE:
        needed = overhead_of(terms, now, choice) + work
        if needed <= terms.gap_s:
            return elapsed + needed <= terms.deadline_s
        work -= max(0, terms.gap_s - overhead_of(terms, now, choice))
    return after + terms.restart_s + work <= terms.deadline_s


def guarded(terms: Terms, now: Situation, choice: Choice) -> Choice:
    return choice if is_safe(terms, now, choice) else ON_DEMAND
