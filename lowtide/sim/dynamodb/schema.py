"""The deployment's table, as CreateTable is asked for it."""

from typing import Any

from lambdas import names

SCHEMA: dict[str, Any] = {
    "KeySchema": [
        {"AttributeName": names.TABLE_PK, "KeyType": "HASH"},
        {"AttributeName": names.TABLE_SK, "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"}
        for name in (names.TABLE_PK, names.TABLE_SK, names.INDEX_PK, names.INDEX_SK)
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": names.INDEX,
            "KeySchema": [
                {"AttributeName": names.INDEX_PK, "KeyType": "HASH"},
                {"AttributeName": names.INDEX_SK, "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names.INDEX_ATTRIBUTES)},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
"""CreateTable's parameters for the deployment's table, without its name."""
