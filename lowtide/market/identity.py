"""Ids as EC2 spells them, drawn from the source of chance that they are given."""

import random


def instance_id(chance: random.Random) -> str:
    """`i-0` and sixteen hexadecimal digits."""
    return f"i-0{chance.getrandbits(64):016x}"


def uuid(chance: random.Random) -> str:
    bits = f"{chance.getrandbits(128):032x}"
    return "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))


def letters(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(count))
