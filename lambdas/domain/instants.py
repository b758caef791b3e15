"""One text form for instants: UTC, ISO 8601, microseconds always written, so that text order is time order."""

from datetime import UTC, datetime


def to_text(instant: datetime) -> str:
    """`2026-11-23T15:00:00.000000Z`. Raises ValueError for a naive datetime: an instant without a zone is a bug."""
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant!r}: instants carry a time zone")
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The aware instant of any ISO 8601 text with an offset (AWS's `2026-11-23T15:00:00Z` too). Raises ValueError."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write for example 2026-11-23T15:00:00Z")
    return instant.astimezone(UTC)
