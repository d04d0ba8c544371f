"""SQLite's log is copied beside the writers, who are not held up and lose nothing by it."""

import asyncio
import sqlite3

import pytest
from django.db import OperationalError, connection

from streams import wal
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


def test_what_was_committed_is_copied() -> None:
    factories.run()
    logged, copied = wal.copy()
    assert logged == copied > 0


def test_a_reader_in_the_way_is_no_failure_and_neither_is_a_writer() -> None:
    wal.copy()
    name = connection.settings_dict["NAME"]
    with sqlite3.connect(name, isolation_level=None) as reader, sqlite3.connect(name, isolation_level=None) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM streams_run").fetchone()
        factories.run()
        writer.execute("BEGIN IMMEDIATE")
        logged, copied = wal.copy()
        assert logged > copied  # what the reader does not see yet stays in the log
        writer.execute("COMMIT")
        reader.execute("COMMIT")
    reader.close()
    writer.close()
    logged, copied = wal.copy()
    assert logged == copied


def test_no_connection_of_ours_copies_at_its_commits_before_that_is_needed() -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA wal_autocheckpoint").fetchone() == (8_000,)


async def test_it_goes_on_where_a_copy_was_not_possible_and_ends_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied, tries = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    def copy() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OperationalError("database is locked")
        loop.call_soon_threadsafe(copied.set)

    monkeypatch.setattr(wal, "copy", copy)
    monkeypatch.setattr(wal, "EVERY_S", 0.01)
    task = asyncio.create_task(wal.keep_short())
    async with asyncio.timeout(20):
        await copied.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
