"""SQLite's write-ahead log is emptied beside the writer, not by it.

By default whoever commits past 1,000 pages copies them into the database and waits for the disk, and while the journal
does that, no event is stored: 10 to 40 ms every second or two. So a thread of its own copies once a second, which
stops no writer, and a commit does so only past 8,000 pages (dashboard/settings.py). The log begins anew only once all
of it is copied, and under load something is written meanwhile: that little is copied with the writers waiting, a
moment. What a power cut may take of commits that did not wait for the disk is thereby one second of events;
decisions always wait for it.
Source: sqlite.org/wal.html and pragma.html, "wal_checkpoint", read 2026-11.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection

from streams import offload

logger = logging.getLogger(__name__)

EVERY_S, LEAST_S = 1.0, 0.2  # the more is written, the more often
LONG_PAGES = 2_000  # a log that is worth to begin anew
PATIENCE_MS = 20  # for the last of it: readers who are in the way hold writers up for so long at most


async def keep_short() -> None:
    """Copy until cancelled. With PostgreSQL there is nothing to do."""
    if connection.vendor != "sqlite":
        return
    pool = offload.Pool("wal", 1)
    try:
        while True:
            logged = 0
            try:
                logged, _ = await pool.run(copy)
            except DatabaseError as exc:  # a later one, or a writer, does it
                logger.warning("wal: not copied now: %s", type(exc).__name__)
            await asyncio.sleep(max(LEAST_S, min(EVERY_S, EVERY_S * LONG_PAGES / max(logged, 1))))
    finally:
        await asyncio.to_thread(pool.close)


def copy() -> tuple[int, int]:
    """Copy what no reader is in the way of. Returns pages in the log, and how many of them are in the database now."""
    logged, copied = _copy("PASSIVE") or (0, 0)
    if logged > LONG_PAGES:
        _copy("PASSIVE")  # what was written during the first
        with _patience(PATIENCE_MS):
            logged, copied = _copy("FULL") or (logged, copied)
    return logged, copied


@contextmanager
def _patience(at_most_ms: int) -> Iterator[None]:
    with connection.cursor() as cursor:
        (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={at_most_ms}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout={before}")


def _copy(how: str) -> tuple[int, int] | None:
    """None where somebody was in the way all the time."""
    with connection.cursor() as cursor:
        _, logged, copied = cursor.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    return None if logged < 0 else (logged, copied)
