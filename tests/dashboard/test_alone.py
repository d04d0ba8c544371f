"""What stops a start: an old SQLite; without Redis another process that lives. One that was killed does not."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from dashboard import server
from streams.models import HolderProcess

pytestmark = pytest.mark.django_db


def holder(owner: str) -> None:
    now = timezone.now()
    HolderProcess.objects.create(owner=owner, started_at=now, seen_at=now)


def test_a_killed_process_is_waited_for_until_its_sign_of_life_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    holder("killed")
    looks: list[float] = []

    def age(seconds: float) -> None:
        looks.append(seconds)
        HolderProcess.objects.update(seen_at=timezone.now() - timedelta(seconds=settings.LEASE_TTL_S + 1))

    monkeypatch.setattr("time.sleep", age)
    server.check_alone()
    assert looks == [server.LOOK_S]


@pytest.mark.parametrize("sign", ["of the one that was seen", "of another one"])
def test_a_second_sign_of_life_stops_the_start(monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    holder("alive")

    def live(seconds: float) -> None:
        if sign == "of another one":
            holder("another")
        else:
            HolderProcess.objects.update(seen_at=F("seen_at") + timedelta(seconds=1))

    monkeypatch.setattr("time.sleep", live)
    with pytest.raises(server.CannotStart, match=r"^REDIS_URL: missing; (alive|another) runs too"):
        server.check_alone()


def test_an_old_sqlite_stops_the_start_and_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL asks nothing of it")
    server.check_database()
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 32, 3))
    monkeypatch.setattr("sqlite3.sqlite_version", "3.32.3")
    with pytest.raises(server.CannotStart, match=r"^this Python's SQLite is 3\.32\.3, and 3\.33 or newer is needed"):
        server.check_database()


def test_nobody_is_waited_for_where_nobody_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    server.check_alone()
