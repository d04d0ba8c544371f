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


def test_what_a_first_copy_could_not_take_is_copied_by_a_second_so_that_the_log_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copying, took = wal._copy, []
    monkeypatch.setattr(wal, "LONG_PAGES", 1)
    factories.run()
    with sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM streams_run").fetchone()
        factories.run()

        def copied_beside_a_reader(how: str) -> tuple[int, int] | None:
            if how == "FULL":
                reader.execute("COMMIT")
            took.append((how, copying(how)))
            return took[-1][1]

        monkeypatch.setattr(wal, "_copy", copied_beside_a_reader)
        logged, copied = wal.copy()
    reader.close()
    assert [how for how, _ in took] == ["PASSIVE", "PASSIVE", "FULL"]
    assert all(found is not None and found[0] > found[1] for _, found in took[:2])
    assert logged == copied


def test_somebody_who_writes_without_end_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "LONG_PAGES", 1)
    factories.run()
    with sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        logged, copied = wal.copy()
        writer.execute("COMMIT")
    writer.close()
    assert logged == copied > 1


def test_no_connection_of_ours_copies_at_its_commits_before_that_is_needed() -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA wal_autocheckpoint").fetchone() == (8_000,)


def test_a_connection_keeps_few_pages_of_its_own() -> None:
    """There are a dozen of them: with SQLite's default each takes 2 MB in time."""
    connection.close()
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA cache_size").fetchone() == (-512,)


async def test_it_goes_on_where_a_copy_was_not_possible_and_ends_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied, tries = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    def copy() -> tuple[int, int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OperationalError("database is locked")
        loop.call_soon_threadsafe(copied.set)
        return 0, 0

    monkeypatch.setattr(wal, "copy", copy)
    monkeypatch.setattr(wal, "EVERY_S", 0.01)
    monkeypatch.setattr(wal, "LEAST_S", 0.01)
    task = asyncio.create_task(wal.keep_short())
    async with asyncio.timeout(20):
        await copied.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
