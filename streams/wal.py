"""SQLite's write-ahead log is emptied beside the writer, not by it.

By default whoever commits past 1,000 pages copies them into the database and waits for the disk, and while the journal
does that, no event is stored: 10 to 40 ms every second or two. So a thread of its own copies once a second, which
stops no writer, and a commit does so only past 8,000 pages (dashboard/settings.py): what is left by then is little, and
with all of it copied the log begins anew. What a power cut may take of
commits that did not wait for the disk is thereby one second of events; decisions always wait for it.
Source: sqlite.org/wal.html and pragma.html, "wal_checkpoint", read 2026-11.
"""

import asyncio
import logging

from django.db import DatabaseError, connection

from streams import offload

logger = logging.getLogger(__name__)

EVERY_S = 1.0


async def keep_short() -> None:
    """Copy until cancelled. With PostgreSQL there is nothing to do."""
    if connection.vendor != "sqlite":
        return
    pool = offload.Pool("wal", 1)
    try:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await pool.run(copy)
            except DatabaseError as exc:  # a later one, or a writer, does it
                logger.warning("wal: not copied now: %s", type(exc).__name__)
    finally:
        await asyncio.to_thread(pool.close)


def copy() -> tuple[int, int]:
    """Copy what no reader is in the way of. Returns pages in the log, and how many of them are in the database now."""
    with connection.cursor() as cursor:
        _, logged, copied = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return logged, copied
