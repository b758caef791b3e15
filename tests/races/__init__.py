"""Faults and races that strike a whole simulated deployment; the laws hold all the same."""
