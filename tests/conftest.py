"""Marks, order and fixtures for every test."""

import inspect
import os
from collections.abc import Iterator

import pytest

from tests.long_form import LONG
from tests.plugins.environment import DATA

REAL_PARTS = ("process", "browser")
MORE_TRIES = 2
"""Tests whose processes, sockets, event loops and browsers share a machine with others are tried again; the summary
names each that needed it (RERUN), and that one is to be understood. A test of pure code has one try."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the database is marked so, and runs on PostgreSQL too (test_postgres.py)."""
    for item in items:
        if not LONG and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="of the long form: COUNTERSIGN_TEST_LONG=1"))
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("django_db") or {"db", "transactional_db", "django_db_setup"} & set(fixtures):
            item.add_marker("database")
        if any(item.get_closest_marker(mark) for mark in REAL_PARTS) or _commits(item) or _is_async(item):
            item.add_marker(pytest.mark.flaky(reruns=MORE_TRIES))
    if os.environ.get("PYTEST_XDIST_WORKER", "").startswith("gw"):  # the long ones first, so that no worker ends alone
        items.sort(key=_length, reverse=True)


def _commits(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("django_db")
    return bool(mark and mark.kwargs.get("transaction"))


def _is_async(item: pytest.Item) -> bool:
    return inspect.iscoroutinefunction(getattr(item, "function", None))


def _length(item: pytest.Item) -> int:
    marks = ("process", "browser", "postgres")
    return max((place for place, mark in enumerate(marks, 1) if item.get_closest_marker(mark)), default=0)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite tests use a file (the journal writes from a thread of its own), one per worker."""
    from django.conf import settings

    default = settings.DATABASES["default"]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    if default["ENGINE"].endswith("sqlite3"):
        default["TEST"]["NAME"] = str(DATA / f"test-{worker}.sqlite3")
    else:
        default.setdefault("TEST", {})["NAME"] = f"countersign_test_{os.getpid()}_{worker}"


@pytest.fixture(autouse=True)
def _plain_static_files(settings) -> None:  # type: ignore[no-untyped-def]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def _flush_quickly() -> Iterator[None]:
    """A transactional test ends with a flush: ours goes past the audit triggers, and is not most of the test's time.

    For the whole session: a patch of one test would be undone before that test's flush.
    """
    from django.core.management.commands import flush

    from streams import offload
    from tests.emptying import empty

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush.Command, "handle", lambda *_, **options: empty())
        patch.setattr(offload, "KEEPS_SERVERS", False)  # a database that somebody is connected to cannot be dropped
        yield
