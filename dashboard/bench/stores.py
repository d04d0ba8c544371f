"""Databases that a bench makes for itself and drops again, so that nothing it does meets anybody's data."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dj_database_url
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import sql

from dashboard import env


class NotThere(Exception):
    """No PostgreSQL that a database can be made on; the message says why."""


@contextmanager
def sqlite() -> Iterator[Path]:
    """A migrated file, as the product sets one up, in place of the default database; yields its folder."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        options = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000; "
            "PRAGMA wal_autocheckpoint=8000;",
        }
        with _default(ENGINE="django.db.backends.sqlite3", NAME=f"{folder}/bench.sqlite3", OPTIONS=options):
            yield Path(folder)


@contextmanager
def postgresql() -> Iterator[None]:
    """A migrated database of its own, in place of the default one. Raises NotThere."""
    url = env.text("COUNTERSIGN_TEST_DATABASE_URL") or settings.DATABASE_URL
    if not url:
        raise NotThere("no PostgreSQL: COUNTERSIGN_TEST_DATABASE_URL is not set")
    name = f"countersign_bench_{uuid4().hex[:12]}"
    try:
        server = psycopg.connect(url, autocommit=True)
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as exc:
        raise NotThere(f"no PostgreSQL: {type(exc).__name__}") from exc
    with server:
        try:
            with _default(**{**dj_database_url.parse(url), "NAME": name}):
                yield
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _default(**database: Any) -> Iterator[None]:
    """Every thread that connects from now on connects to this one."""
    before = connections.settings[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS].close()
    connections.settings |= connections.configure_settings({DEFAULT_DB_ALIAS: database})
    del connections[DEFAULT_DB_ALIAS]
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
        connections.settings[DEFAULT_DB_ALIAS] = before
        del connections[DEFAULT_DB_ALIAS]
