"""Points in time on the wire: epoch seconds, ISO 8601 or HTTP dates, as a shape asks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def parse(text: str) -> float:
    """Read an ISO 8601 or HTTP date as epoch seconds.

    Raises:
        ValueError: it is neither.
    """
    try:
        if RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
        return parsedate_to_datetime(text).timestamp()
    except (OverflowError, TypeError) as error:
        raise ValueError("not a date") from error


def write(moment: datetime | float, form: str) -> float | str:
    """Write a moment in one of the three formats of the service models, to the millisecond."""
    seconds = round(moment.timestamp() if isinstance(moment, datetime) else float(moment), 3)
    if form == "unixTimestamp":
        return seconds
    utc = datetime.fromtimestamp(seconds, UTC)
    if form == "iso8601":
        return iso(utc)
    return format_datetime(utc.replace(microsecond=0), usegmt=True)


def iso(utc: datetime) -> str:
    """Write a moment as people read it: 2026-11-24T08:30:00Z, or with its milliseconds."""
    text = utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds")
    return text.removesuffix("+00:00") + "Z"
