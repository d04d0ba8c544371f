"""What a run told after a seq, as its open pages ask for it many times a second.

SQL of its own, one of the few places: for a question of two parameters the ORM takes a millisecond to say it, and the
database 50 us to answer.
"""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection


class Told(NamedTuple):
    """A stored event, as much of it as a page needs."""

    seq: int
    source: str
    kind: str
    payload: str
    received_at: datetime
    ordinal: int | None = None
    marked: bool = False
    left_out: int = 0  # characters of a payload that is too large to be read for the page


_SQL = (
    "SELECT seq, source, kind, CASE WHEN LENGTH(payload) <= %s THEN payload ELSE '' END, received_at, ordinal, marked, "
    "CASE WHEN LENGTH(payload) <= %s THEN 0 ELSE LENGTH(payload) END "
    "FROM streams_event WHERE run_id = %s AND seq > %s ORDER BY seq LIMIT %s"
)


def after(run_id: UUID, seq: int, *, most: int, read_most: int) -> list[Told]:
    """The next events of a run, at most so many. Payloads of over `read_most` characters are left out."""
    is_file = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [read_most, read_most, run_id.hex if is_file else run_id, seq, most])
        found = [Told(*row) for row in cursor.fetchall()]
    if is_file:  # moments are kept in UTC, and do not say so
        return [told._replace(received_at=told.received_at.replace(tzinfo=UTC)) for told in found]
    return found
