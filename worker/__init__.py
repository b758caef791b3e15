"""What runs on an instance: takes jobs through the worker API, runs them, reports how they ended.

Standard library only, Python 3.9, nothing imported from the rest of the project: the instance has this package and
whatever its image brings. `boot.py` travels in the user data and fetches the rest.
"""
