"""Sockets end to end: who is let in, what arrives, what a page may say, and when it is over."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest
from dashboard import hub, live, server
from dashboard.asgi import application
from dashboard.models import User
from dashboard.rooms import KEPT_ENTRIES
from streams import announce, events
from streams.models import Event, Run
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
IN_TIME_S = 10


class Socket:
    """A page's socket in this test."""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.wire: Any = WebsocketCommunicator(application, path, headers=headers)  # type: ignore[no-untyped-call]

    async def connect(self) -> bool:
        connected, _ = await self.wire.connect(IN_TIME_S)
        return bool(connected)

    async def until(self, *wanted: str) -> str:
        """Frames until one holds all of these."""
        async with asyncio.timeout(IN_TIME_S):
            while True:
                frame: str = await self.wire.receive_from(IN_TIME_S)
                if all(one in frame for one in wanted):
                    return frame

    async def code(self) -> int:
        """The code it is closed with; frames before that are skipped."""
        async with asyncio.timeout(IN_TIME_S):
            while True:
                said = await self.wire.receive_output(IN_TIME_S)
                if said["type"] == "websocket.close":
                    return int(said["code"])

    async def say(self, **frame: Any) -> None:
        await self.wire.send_to(json.dumps(frame))


def make_user(**fields: Any) -> User:
    from dashboard import access

    access.create_groups()  # a transactional test begins with empty tables
    user = factories.user(**fields)
    user.groups.add(Group.objects.get(name="Reviewer"))
    return user


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def connection(client: Client, path: str, origin: bytes = b"http://localhost") -> Socket:
    cookie = "; ".join(f"{name}={value.value}" for name, value in client.cookies.items())
    headers = [(b"host", b"localhost"), (b"origin", origin), (b"cookie", cookie.encode())]
    return Socket(path, headers)


@asynccontextmanager
async def opened(client: Client, path: str) -> AsyncIterator[Socket]:
    socket = connection(client, path)
    assert await socket.connect()
    try:
        yield socket
    finally:
        await socket.wire.disconnect()


def store(run: Run, kind: str, payload: Any) -> None:
    text = json.dumps(payload)
    seq = Event.objects.filter(run=run).count() + 1
    Event.objects.create(
        run=run, seq=seq, kind=kind, payload=text, sha256=events.sha256(text), received_at=timezone.now()
    )
    announce.changed(announce.run_topic(run.pk))


def decide(asked: ApprovalRequest, by: User) -> None:
    decisions.decide(asked.pk, verdict="reject", by=by, seen_sha256=asked.input_sha256, undo_s=60)


async def test_only_who_is_signed_in_gets_a_socket() -> None:
    run = await sync_to_async(factories.run)()
    for path in ("/ws/inbox/", f"/ws/runs/{run.pk}/"):
        assert not await connection(Client(), path).connect()


@pytest.mark.parametrize("origin", [b"null", b"http://localhost:81", b"https://localhost", b"http://evil.example", b""])
async def test_only_pages_of_this_very_origin_get_a_socket(origin: bytes) -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    assert not await connection(client, "/ws/inbox/", origin).connect()


async def test_the_inbox_hears_of_a_new_request() -> None:
    user = await sync_to_async(make_user)()
    client = await sync_to_async(sign_in)(user)
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="rail-inbox"', ">0<")
        asked = await sync_to_async(factories.request)()
        await sync_to_async(announce.changed)(announce.INBOX)
        assert "hx-swap-oob" in await socket.until('id="waiting"', f"{asked.pk}.t2", 'data-total="1"')


async def test_a_row_says_what_became_of_it() -> None:
    user = await sync_to_async(make_user)()
    client, asked = await sync_to_async(sign_in)(user), await sync_to_async(factories.request)()
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until(f"t-{asked.pk}", 'data-status="pending"')
        await sync_to_async(decide)(asked, user)
        await socket.until(f"t-{asked.pk}", 'data-status="held"', "rejected")


async def test_a_filter_in_the_url_narrows_what_is_heard() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    await sync_to_async(factories.request)(tool="send_email")
    asked = await sync_to_async(factories.request)(tool="refund")
    async with opened(client, "/ws/inbox/?tool=refund") as socket:
        frame = await socket.until('id="waiting"')
        assert f'data-waiting="{asked.pk}.t2 "' in frame


async def test_a_slip_learns_that_it_was_decided() -> None:
    user = await sync_to_async(make_user)()
    client, asked = await sync_to_async(sign_in)(user), await sync_to_async(factories.request)()
    async with opened(client, f"/ws/inbox/?request={asked.pk}") as socket:
        await socket.until('id="rev"', 'data-status="pending"')
        await sync_to_async(decide)(asked, user)
        await socket.until('id="rev"', 'data-status="held"', str(asked.pk))


async def test_a_page_can_watch_another_slip() -> None:
    user = await sync_to_async(make_user)()
    client = await sync_to_async(sign_in)(user)
    first, second = await sync_to_async(factories.request)(), await sync_to_async(factories.request)()
    async with opened(client, f"/ws/inbox/?request={first.pk}") as socket:
        await socket.until('id="rev"', str(first.pk))
        await socket.say(type="watch", request=str(second.pk))
        await socket.until('id="rev"', str(second.pk))


async def test_a_run_grows_entry_by_entry() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    run = await sync_to_async(factories.run)()
    await sync_to_async(store)(run, "chunk", {"content": "Hel"})
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        await socket.until('id="e-1"', "Hel")
        await sync_to_async(store)(run, "chunk", {"content": "lo"})
        frame = await socket.until('id="e-1"', "Hello")
        assert "2 parts joined" in frame
        assert 'data-seq="2"' in frame
        await sync_to_async(store)(run, "tool_executing", {"tool_name": "look", "tool_input": {}})
        frame = await socket.until('id="e-3"')
        assert 'id="e-1"' not in frame, "only what is new"


async def test_after_a_reconnect_a_run_tells_what_was_missed() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    run = await sync_to_async(factories.run)()
    for name in ("one", "two", "three"):
        await sync_to_async(store)(run, "tool_executing", {"tool_name": name, "tool_input": {}})
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        await socket.until('id="e-3"')
        await socket.say(type="after", seq=2)
        frame = await socket.until('id="e-3"')
        assert 'id="e-2"' not in frame


async def test_a_page_that_says_what_it_has_is_not_told_everything_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "GREETS_S", 60.0)  # a machine that is slow must not take it for silent
    client = await sync_to_async(lambda: sign_in(make_user()))()
    run = await sync_to_async(factories.run)()
    for name in ("one", "two", "three"):
        await sync_to_async(store)(run, "tool_executing", {"tool_name": name, "tool_input": {}})
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        await socket.say(type="after", seq=2)
        frame = await socket.until('id="feed"')
        assert 'id="e-3"' in frame
        assert 'id="e-2"' not in frame


async def test_a_page_is_only_told_to_load_again_when_too_much_came() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    run = await sync_to_async(factories.run)()
    await sync_to_async(store)(run, "chunk", {"content": ""})  # makes no entry, and is no loss
    await sync_to_async(store)(run, "tool_executing", {"tool_name": "look", "tool_input": {}})
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        assert "data-missed" not in await socket.until('id="e-2"')
    for _ in range(KEPT_ENTRIES):
        await sync_to_async(store)(run, "tool_executing", {"tool_name": "look", "tool_input": {}})
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        assert "data-missed" in await socket.until('id="feed"')
        await socket.say(type="after", seq=KEPT_ENTRIES)
        assert "data-missed" not in await socket.until('id="feed"')


async def test_a_run_that_is_not_there_is_closed_and_stays_closed() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    socket = connection(client, "/ws/runs/00000000-0000-0000-0000-000000000000/")
    await socket.connect()
    assert await socket.code() == 4404


async def test_a_socket_ends_itself_before_the_server_would_so_that_its_page_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert live.LIFE_S < server.SOCKET_LIFE_S
    monkeypatch.setattr(live, "LIFE_S", 0.2)
    client = await sync_to_async(lambda: sign_in(make_user()))()
    async with opened(client, "/ws/inbox/") as socket:
        assert await socket.code() == live.COME_AGAIN
    assert not hub.here(live.admitted)._watchers


async def test_garbage_from_a_page_changes_nothing() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="waiting"')
        for text in (
            " ", "{", "[]", "null", "1e999", '"x"', "[" * 1_000, "x" * 5_000, '{"type": "nothing"}',
            '{"type": ["watch"]}',
            '{"type": "watch", "request": 7}', '{"type": "watch", "request": "x"}', '{"type": "after", "seq": -1}',
            '{"type": "after", "seq": "1"}', '{"type": "ack", "n": 99999999}', '{"type": "ack", "n": true}',
            '{"type": "decide", "verdict": "approve"}',
        ):  # fmt: skip
            await socket.wire.send_to(text)
        await socket.wire.send_input({"type": "websocket.receive", "bytes": b"\x00\xff"})
        asked = await sync_to_async(factories.request)()
        await sync_to_async(announce.changed)(announce.INBOX)
        await socket.until('id="waiting"', str(asked.pk))


async def test_a_page_that_says_too_much_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRAMES_S", 600)  # a slow machine takes its time
    client = await sync_to_async(lambda: sign_in(make_user()))()
    async with opened(client, "/ws/inbox/") as socket:
        for _ in range(live.FRAMES_MAX + 1):
            await socket.wire.send_to("{}")
        assert await socket.code() == live.TOO_MUCH


async def test_a_page_that_acknowledges_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENT_S", 0.2)
    client = await sync_to_async(lambda: sign_in(make_user()))()
    hub._hubs[asyncio.get_running_loop()] = hub.Hub(live.admitted, beat_s=0.05)
    async with opened(client, "/ws/inbox/") as socket:
        assert await socket.code() == hub.COME_LATER


async def test_a_page_that_asks_again_is_told_everything_and_counts_as_up_to_date() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="waiting"', 'data-whole="inbox"')
        await sync_to_async(factories.request)()  # and no hint says so
        await socket.say(type="again", seq=0)
        await socket.until('id="waiting"', 'data-whole="inbox"', 'data-total="1"')


async def test_a_socket_whose_handler_failed_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("the database is away")

    client = await sync_to_async(lambda: sign_in(make_user()))()
    socket = connection(client, "/ws/inbox/")
    assert await socket.connect()
    assert hub.here(live.admitted)._watchers
    monkeypatch.setattr(live.PageSocket, "watch_request", fail)
    await socket.say(type="watch", request="x")
    with pytest.raises(RuntimeError, match="away"):
        await socket.wire.wait(IN_TIME_S)
    assert not hub.here(live.admitted)._watchers


@pytest.mark.parametrize("how", ["sign-out", "password", "inactive"])
async def test_whose_session_ends_is_shown_out(how: str) -> None:
    user = await sync_to_async(make_user)()
    client = await sync_to_async(sign_in)(user)
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="waiting"')
        if how == "sign-out":
            await sync_to_async(client.post)("/accounts/logout/")
        elif how == "password":
            user.set_password("another long pass phrase")
            await sync_to_async(user.save)()
        else:
            user.is_active = False
            await sync_to_async(user.save)()
        await sync_to_async(announce.changed)(hub.SESSIONS)
        assert await socket.code() == hub.GONE


async def test_pushed_fragments_hold_no_form_and_no_agents_markup() -> None:
    client = await sync_to_async(lambda: sign_in(make_user()))()
    evil = "<img src=x onerror=alert(1)>"
    run = await sync_to_async(factories.run)(title=evil)
    await sync_to_async(store)(run, "tool_executing", {"tool_name": evil, "tool_input": {evil: evil}})
    await sync_to_async(factories.request)(run=run, tool=evil, arguments=json.dumps({evil: evil}))
    async with opened(client, f"/ws/runs/{run.pk}/") as socket:
        frame = await socket.until('id="e-1"')
        assert "<img" not in frame
        assert "<form" not in frame
