"""The laws of docs/architecture.md as functions of a world: each answers with the violations it finds.

`Audit` watches while the world goes on; `standing` is true at any instant between two invocations; `at_rest` and
`waited_at_most` hold at the end. All read the table through `ledger.py`.
"""

from lowtide.sim.laws.audit import UNKNOWN_MOST, Audit
from lowtide.sim.laws.rest import at_rest, waited_at_most
from lowtide.sim.laws.standing import Violation, standing

__all__ = ["UNKNOWN_MOST", "Audit", "Violation", "at_rest", "standing", "waited_at_most"]
