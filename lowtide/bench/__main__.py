"""python -m lowtide.bench [functions] [crash_points] [packing] [checkpoints] [peers] [calls] [latency] [claims]
[report]

Without a name, all of them; one whose recorded data is not there is left out with a word, and its last figures stay.
Each benchmark keeps its figures in .lowtide/bench/NAME.json; `report` makes docs/performance.md of what is kept there.
"""

import sys
from collections.abc import Callable, Mapping

from rich.console import Console

from lowtide.bench import calls, checkpoints, claims, crash_points, functions, latency, packing, peers
from lowtide.bench.results import ROOT, Absent, Result, kept
from lowtide.bench.stage import Stage

SEED = 1
REPORT = ROOT / "docs" / "performance.md"
ON_STAGE: Mapping[str, Callable[[Stage], Result]] = {
    "calls": calls.calls,
    "latency": latency.latency,
    "claims": claims.claims,
}
"""In this order: launches of the second are never ended, and the third has a table of its own."""
ALONE: Mapping[str, Callable[[], Result]] = {
    "functions": functions.functions,
    "crash_points": crash_points.crash_points,
    "packing": packing.packing,
    "checkpoints": checkpoints.checkpoints,
    "peers": peers.peers,
}


def main(wanted: list[str]) -> None:
    known = [*ON_STAGE, *ALONE, "report"]
    if unknown := set(wanted) - set(known):
        sys.exit(f"{', '.join(sorted(unknown))} is no benchmark; there are {', '.join(known)}.")
    chosen, console = wanted or known, Console(highlight=False)
    for name in filter(chosen.__contains__, ALONE):
        try:
            _keep(ALONE[name](), console)
        except Absent as absent:
            if wanted:
                sys.exit(f"{name}: {absent}.")
            console.print(f"{name} is left out: {absent}.")
    if on_stage := [name for name in ON_STAGE if name in chosen]:
        console.print("Deploying Lowtide into a calm local AWS…")
        with Stage(seed=SEED) as stage:
            for name in on_stage:
                _keep(ON_STAGE[name](stage), console)
    if "report" in chosen:
        REPORT.write_text(report(kept()), encoding="utf-8")
        console.print(f"{REPORT.relative_to(ROOT)} is made anew.")


def _keep(result: Result, console: Console) -> None:
    result.keep()
    result.show(console)


def report(results: list[Result]) -> str:
    """The text of docs/performance.md."""
    measured = sorted({f"{each.measured_on} on {each.machine}" for each in results})
    head = (
        "# Performance\n\nMade by `make bench`; do not edit. Figures of the local AWS, measured "
        f"{'; '.join(measured)}.\nThey say what costs what beside what, not how fast AWS is.\n"
    )
    return "\n".join([head, *(each.markdown() for each in results)])


if __name__ == "__main__":
    main(sys.argv[1:])
