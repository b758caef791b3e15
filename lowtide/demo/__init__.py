"""The demo: Lowtide deployed into the local AWS, real jobs on its queue, a market with trouble in it, and a report."""
