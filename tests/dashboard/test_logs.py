"""What stands in the log: a line for what was refused, a traceback for what broke."""

import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from django.test import Client

from dashboard import panels
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the configured handler writes."""
    handler = next(one for one in logging.getLogger().handlers if one.name == "stderr")
    assert isinstance(handler, logging.StreamHandler)
    written = StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


@pytest.fixture
def reader(client: Client) -> Client:
    """Staff without any right to change something."""
    client.force_login(factories.user(username="ada", is_staff=True))
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize(
    ("path", "status", "host"),
    [
        ("/admin/dashboard/user/add/", 403, "testserver"),
        ("/admin/auth/group/", 403, "testserver"),
        ("/no/such/page/", 404, "testserver"),
        ("/requests/00000000-0000-0000-0000-000000000000/", 404, "testserver"),
        ("/", 400, "evil.example"),
    ],
)
def test_what_is_refused_is_one_line(reader: Client, log: StringIO, path: str, status: int, host: str) -> None:
    assert reader.get(path, headers={"host": host}).status_code == status
    said = log.getvalue()
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


def test_what_breaks_says_where(reader: Client, log: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("it broke here")

    monkeypatch.setattr(panels, "sight", broken)
    assert reader.get("/").status_code == 500
    said = log.getvalue()
    assert "Traceback" in said
    assert "it broke here" in said
