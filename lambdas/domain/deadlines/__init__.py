"""Policies for one job with a deadline: what to run it on in the next tick, from what has been seen so far.

Here live the terms of the game, the guard and the policies, pure and of the standard library alone, because they are
asked in Lambda. What plays them over recorded availability is in lowtide/deadlines.
"""
