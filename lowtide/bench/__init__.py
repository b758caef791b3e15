"""Benchmarks: figures that people ask for, each measured by one command. Not tests: nothing here passes or fails."""
