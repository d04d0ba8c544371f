"""Until when a request may be answered: the database's clock, and deadlines as providers write them."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from django.conf import settings
from django.db import connection
from django.utils import timezone

CARRYING_S = 3  # room between the end of an undo window and the last moment at which a decision may leave
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
EPOCH_MILLISECONDS_FROM = 100_000_000_000  # as seconds this is the year 5138


def now() -> datetime:
    """The database's clock. SQLite has its host's, which is ours."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC)


def margin() -> timedelta:
    """A decision needs at least this long before the deadline."""
    return timedelta(seconds=settings.DEADLINE_MARGIN_S)


def parse(text: str) -> datetime | None:
    """A provider's deadline: ISO 8601, seconds or milliseconds since 1970, or an HTTP date; without zone UTC.

    None where it is none of these; AG-UI says that an unparsable one does not expire (spec 1.0, interrupt-resume).
    """
    text = text.strip()
    for read in (_epoch, datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return min(zoned.astimezone(UTC), LATEST)
        except (ValueError, TypeError, OverflowError, OSError):
            continue
    return None


def _epoch(text: str) -> datetime:
    if not (text.isascii() and text.isdigit()) or len(text) < 9:  # shorter ones are dates: 20261201
        raise ValueError(text)
    count = int(text)
    return datetime.fromtimestamp(count / 1000 if count >= EPOCH_MILLISECONDS_FROM else count, tz=UTC)


def last_call(deadline: datetime) -> datetime:
    """The last moment at which a decision may start to leave."""
    return deadline - margin() - timedelta(seconds=CARRYING_S)


def leaves_at(at: datetime, *, undo_s: int, deadline: datetime | None) -> datetime:
    """When a decision made `at` leaves: after its undo window, which ends early enough before the deadline."""
    wished = at + timedelta(seconds=undo_s)
    return wished if deadline is None else max(at, min(wished, last_call(deadline)))
