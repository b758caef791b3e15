"""Small games, drawn or written out."""

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from lambdas.domain.deadlines.game import Terms
from lowtide.deadlines.play import Run

TERMS = Terms(gap_s=60, work_s=240, deadline_s=600, restart_s=30, on_demand_price=3.0)


def run(avail: str, terms: Terms = TERMS, *, past: str = "", price: float = 1.0) -> Run:
    spot = tuple({"S": price} if up == "1" else {} for up in avail)
    return Run(id="r", terms=terms, spot=spot, past={"S": past})


@st.composite
def drawn_terms(draw: st.DrawFn, *, most_ticks: int = 60, makeable: bool = True) -> Terms:
    gap = draw(st.sampled_from([10, 60, 195]))
    restart = draw(st.integers(0, 4 * gap))
    work = draw(st.integers(1, max(1, gap * most_ticks // 2)))
    slack = draw(st.integers(0, gap * most_ticks // 3))
    shortest = restart + work if makeable else 1
    deadline = max(1, min(shortest + slack, gap * most_ticks))
    return Terms(gap_s=gap, work_s=work, deadline_s=max(deadline, shortest), restart_s=restart, on_demand_price=3.0)


def drawn_avail(ticks: int) -> st.SearchStrategy[str]:
    """Runs of ones and zeros of any length."""
    stretch = st.tuples(st.sampled_from("01"), st.integers(1, 30)).map(lambda pair: pair[0] * pair[1])
    return st.lists(stretch, min_size=1, max_size=20).map(lambda parts: ("".join(parts) * ticks)[:ticks])


def zones(terms: Terms, avail: Mapping[str, str], prices: Mapping[str, Sequence[float]]) -> Run:
    spot = tuple({z: prices[z][t] for z in avail if avail[z][t] == "1"} for t in range(terms.ticks))
    return Run(id="z", terms=terms, spot=spot, past=dict.fromkeys(avail, ""), several=True)
