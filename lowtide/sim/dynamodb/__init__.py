"""DynamoDB in memory, held to the contract tests of the real one.

`client.py` answers the calls. Behind it: `tables.py` keeps the items and their indexes, `writes.py` says what a write
makes of an item and whether its condition holds, `queries.py` finds rows and cuts them into pages. `expressions.py`
parses conditions, updates and key conditions, `updates.py` applies an update, `wire.py` compares, adds and measures
values. `FakeDynamoDB` and the deployment's `SCHEMA` are all that others use.
"""

from lowtide.sim.dynamodb.client import FakeDynamoDB
from lowtide.sim.dynamodb.schema import SCHEMA

__all__ = ["SCHEMA", "FakeDynamoDB"]
