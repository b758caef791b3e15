"""Models of spot availability: how long it stays, how long it stays away.

A stretch that has lasted for `age` ends at the rate shape / (age + scale): the longer it has lasted, the longer it will
(Lomax). Lengths are told in restarts, so that one set of tables serves every restart. Made ahead, read in Lambda.
"""

UP_SHAPE = 1.0
DOWN_SHAPE = 1.2
"""Of greatest likelihood on the traces of the training part (0.5 to 3 tried); docs/deadlines.md has the figures."""

UP_SCALES = (0.3, 1.0, 3.0, 9.0, 27.0, 81.0)
DOWN_SCALES = (0.15, 0.5, 1.5, 4.5, 13.5, 40.5)
"""In restarts. A model is a pair; pairs are ordered by the first, then by the second."""

AGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Where each class of ages begins, in restarts."""

WORKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
SLACKS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 28.0, 42.0, 64.0)
"""Work left and slack at which the tables are kept, in restarts; between them is interpolated on logarithms."""

PRICE_RATIO = 0.318
"""Spot to on-demand, at which the tables were made: 0.2 to 0.45 is usual."""
