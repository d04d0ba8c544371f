"""Threads by purpose: each keeps its connection to a file, and none that something was wrong with."""

import sqlite3
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, connections

from streams import offload
from streams.offload import Pool

pytestmark = pytest.mark.django_db(transaction=True)
sqlite_only = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="it is about a file")


@pytest.fixture(autouse=True)
def _as_in_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "KEEPS_SERVERS", True)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool("test", 1)
    yield made
    made.close()


def opened() -> object:
    """This thread's connection, used."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return connection.connection


def broken() -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    return None


async def test_a_thread_keeps_its_connection(pool: Pool) -> None:
    assert await pool.run(opened) is await pool.run(opened)


async def test_not_for_ever(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "KEEP_S", 0.0)
    assert await pool.run(opened) is not await pool.run(opened)


async def test_not_after_an_error(pool: Pool) -> None:
    before = await pool.run(opened)
    with pytest.raises(DatabaseError):
        await pool.run(broken)
    assert await pool.run(opened) is not before


@sqlite_only
async def test_a_closed_pool_leaves_no_connection() -> None:
    pool = Pool("test", 2)
    kept = await pool.run(opened)
    assert isinstance(kept, sqlite3.Connection)
    pool.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        kept.execute("SELECT 1")


async def test_a_server_that_was_restarted_fails_no_call(pool: Pool) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("there is no server")

    def backend() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def end(pid: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            assert cursor.fetchone() == (True,)

    before = await pool.run(backend)
    other = Pool("other", 1, keeps=False)
    await other.run(end, before)
    other.close()
    assert await pool.run(backend) != before


async def test_a_server_is_asked_on_a_new_connection_where_waiting_is_worse() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("there is no server")
    pool = Pool("test", 1, keeps=False)
    await pool.run(opened)
    assert await pool.run(lambda: connections["default"].connection) is None
    pool.close()


async def test_a_pool_that_was_closed_begins_anew(pool: Pool) -> None:
    await pool.run(opened)
    pool.close()
    assert await pool.run(opened) is not None
