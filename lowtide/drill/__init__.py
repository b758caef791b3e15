"""Trouble on purpose, and how long recovery from it takes."""
