"""How numbers are said in sentences that people read."""

from decimal import Decimal


def several(count: int, noun: str) -> str:
    """`1 instance`, `3 instances`: for nouns whose plural only adds an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def dollars(price: Decimal) -> str:
    """`$0.41`, `$2.2421`: at least two decimals, no zero after them."""
    whole, _, decimals = f"{price:f}".partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"
