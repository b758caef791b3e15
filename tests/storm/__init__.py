"""Seeded storms over a whole simulated deployment."""
