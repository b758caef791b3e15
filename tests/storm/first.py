"""Plays stories one after the other until one breaks a law: `python -m tests.storm.first LAW MOST` prints its seed.

Exit 1: none of the first MOST did."""

import sys

from lowtide.sim.storm import played, told


def main() -> None:
    law, most = sys.argv[1], int(sys.argv[2])
    for seed in range(most):
        if any(violation.startswith(f"law {law}:") for violation in played(told(seed)).violations):
            print(seed)
            return
    sys.exit(1)


if __name__ == "__main__":
    main()
