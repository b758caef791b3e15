"""Backtests: pool files played over a recorded market and recorded jobs, by the control plane's own decisions."""
