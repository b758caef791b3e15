"""The decision: what each part of a pass wants, deadlines included, and the plan made of it all (plan.py)."""
