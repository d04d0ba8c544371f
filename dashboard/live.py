"""RunSocket, InboxSocket: announcement in, rendered fragment out. Nothing is decided over a socket."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.http import Http404, QueryDict
from django.urls import path
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from dashboard import access, hub
from dashboard.forms import InboxFilter
from dashboard.models import User
from dashboard.rooms import InboxRoom, RailRoom, RequestRoom, RunRoom
from dashboard.wire import EXTENSION, Frame, Wire
from streams import announce

logger = logging.getLogger(__name__)

FRAME_MAX = 2_000  # characters of a frame from a page
FRAMES_MAX, FRAMES_S = 1_000, 10.0  # of a page in a time: nobody who means well says so much
TOO_MUCH = 1008  # "policy violation": the page does not come back by itself
UNSEEN_FRAMES = 64  # sent and not acknowledged: then the page gets everything later instead
SILENT_S = 20.0  # something sent and nothing acknowledged
NO_SUCH = 4404
COME_AGAIN = 1012  # "service restart": the page connects anew and is told what it missed
GREETS_S = 1.0  # a run's page says at once what it has; who does not is sent everything
LIFE_S = 45 * 60  # Daphne ends a socket after an hour with 1000, after which no page comes back by itself

Key = tuple[str, int]  # session key, user id


def admitted(keys: Iterable[Hashable]) -> set[Hashable]:
    """Of these sessions those that may still watch: not over, signed in as before, and a person who may see."""
    wanted: set[Any] = set(keys)
    sessions = {
        row.session_key: row.get_decoded()
        for row in Session.objects.filter(session_key__in={key for key, _ in wanted}, expire_date__gt=timezone.now())
    }
    people = {user.pk: user for user in User.objects.filter(pk__in={user_id for _, user_id in wanted})}
    return {key for key in wanted if _fits(sessions.get(key[0]), people.get(key[1]))}


def _fits(session: dict[str, Any] | None, user: User | None) -> bool:
    if session is None or user is None or str(session.get(SESSION_KEY)) != str(user.pk) or not access.may_see(user):
        return False
    told = session.get(HASH_SESSION_KEY, "")
    known = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(told, one) for one in known)  # another one: the password was changed


def signed_out(**_: Any) -> None:
    """At sign-out: every hub looks at its sessions now."""
    announce.changed(hub.SESSIONS)


class PageSocket(AsyncWebsocketConsumer):
    """A page's socket: let in by its session, counted by what it has seen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.after = 0
        self.key: Key = ("", 0)
        self._sent = self._seen = 0
        self._unseen_since: float | None = None
        self._acknowledges = False
        self._said, self._said_from = 0, 0.0
        self._wire: Wire | None = None
        self._request: UUID | None = None
        self._age: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._greeting: asyncio.TimerHandle | None = None  # of a run's page: until it says what it has

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)  # type: ignore[no-untyped-call]
        finally:  # whatever ended it: a handler that failed is told of no disconnection
            self._left()

    async def connect(self) -> None:
        self.key = self.who()
        if not self.key[0]:
            await self.close(code=hub.GONE)  # type: ignore[no-untyped-call]
            return
        self.hub = self.find_hub()
        self._wire = self.scope.get("extensions", {}).get(EXTENSION)
        if self._wire is not None:
            self._wire.on_room = partial(self.hub.catch_up, self)
        await self.accept()  # type: ignore[no-untyped-call]
        life_s = LIFE_S * random.uniform(0.8, 1)  # noqa: S311 (so that pages opened together do not come back together)
        self._age = asyncio.get_running_loop().call_later(life_s, self._grown_old)
        await self.hub.enter(self)
        await self.begin()

    def who(self) -> Key:
        """Session and user; an empty session if they may not watch."""
        user, session = self.scope["user"], self.scope["session"]
        return (session.session_key, user.pk) if access.may_see(user) and session.session_key else ("", 0)

    async def begin(self) -> None:
        """Watch what the page is about."""
        self.hub.watch(self, "rail", RailRoom)

    def _grown_old(self) -> None:
        self.hub.leave(self)
        self._ending = asyncio.create_task(self._close(COME_AGAIN), name="socket grown old")

    def find_hub(self) -> hub.Hub:
        return hub.here(admitted)

    async def disconnect(self, code: int) -> None:
        self._left()

    def _left(self) -> None:
        if self._age is not None:
            self._age.cancel()
        if self.key[0]:
            self.hub.leave(self)

    # --- to the page ----------------------------------------------------------------------------------------------

    async def deliver(self, frame: Frame) -> bool:
        """A connection that is full, or a page that is far behind in what it has seen, gets everything later."""
        if self._wire is not None and self._wire.full:
            return False
        if self._acknowledges and self._sent - self._seen >= UNSEEN_FRAMES:
            return False
        if self._unseen_since is None:
            self._unseen_since = time.monotonic()
        self._sent += 1
        if self._wire is not None:
            self._wire.write(frame)
            return True
        try:
            await self.send(text_data=frame.text)  # type: ignore[no-untyped-call]
        except Exception:  # it is closing: disconnect() will say so
            logger.debug("socket: closed while sending")
        return True

    @property
    def silent(self) -> bool:
        return self._unseen_since is not None and time.monotonic() - self._unseen_since > SILENT_S

    async def shut(self, code: int) -> None:
        self.hub.leave(self)
        self._ending = asyncio.create_task(self._close(code), name="socket closing")

    async def _close(self, code: int) -> None:
        """In a task of its own: leaving may have ended the one that called shut()."""
        if self._wire is not None:
            self._wire.close(code)
        else:
            await self.close(code=code)  # type: ignore[no-untyped-call]

    # --- from the page --------------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Frames that are unknown or malformed are ignored; a page can only ask for what it may see anyway."""
        if self._ending is not None:
            return
        if self._says_too_much():
            await self.shut(TOO_MUCH)
            return
        if not text_data or len(text_data) > FRAME_MAX:
            return
        try:
            frame = json.loads(text_data)
        except (ValueError, RecursionError):
            return
        match frame:
            case {"type": "ack", "n": int(count)} if 0 <= count <= self._sent:
                self._acknowledges = True
                self._has(max(self._seen, count))
                self.hub.catch_up(self)
            case {"type": "again", "seq": int(seq)} if 0 <= seq < 2**63:
                self.after = seq
                self._has(self._sent)  # what was sent before does not matter any more
                self.hub.again(self)
            case {"type": "after", "seq": int(seq)} if 0 <= seq < 2**63:
                await self.go_on(seq)
            case {"type": "watch", "request": str(text)}:
                await self.watch_request(text)

    def _has(self, count: int) -> None:
        """The page has so many of the frames that were sent to it."""
        if count > self._seen or count == self._sent:
            self._unseen_since = None if count == self._sent else time.monotonic()
        self._seen = count

    def _says_too_much(self) -> bool:
        now = time.monotonic()
        if now - self._said_from > FRAMES_S:
            self._said, self._said_from = 0, now
        self._said += 1
        return self._said > FRAMES_MAX

    async def go_on(self, seq: int) -> None:
        """The page says what it has."""

    async def watch_request(self, text: str) -> None:
        """Watch one request, instead of the one before."""
        try:
            request_id = UUID(text)
        except ValueError:
            return
        if not await sync_to_async(_sees_request)(self.scope["user"], request_id):
            return
        if self._request is not None:
            self.hub.unwatch(self, ("request", self._request))
        self._request = request_id
        self.hub.watch(self, ("request", request_id), partial(RequestRoom.of, request_id))


class InboxSocket(PageSocket):
    """The inbox, by the filter in its URL; `?request=<id>`: one slip; `?rail=1`: nothing but the rail's numbers."""

    async def begin(self) -> None:
        await super().begin()
        asked = QueryDict(self.scope["query_string"][:4_000])
        if asked.get("request"):
            await self.watch_request(asked["request"])
        elif not asked.get("rail"):
            chosen = InboxFilter.read(asked)
            self.hub.watch(self, ("inbox", chosen), lambda: InboxRoom(filter=chosen))


class RunSocket(PageSocket):
    """One run's page."""

    async def begin(self) -> None:
        await super().begin()
        self._run_id: UUID = self.scope["url_route"]["kwargs"]["run_id"]
        if not await sync_to_async(_sees_run)(self.scope["user"], self._run_id):
            await self.shut(NO_SUCH)
            return
        self._greeting = asyncio.get_running_loop().call_later(GREETS_S, self._watch)

    async def go_on(self, seq: int) -> None:
        self.after = seq
        self._watch()

    def _watch(self) -> None:
        self._stop_waiting()
        self.hub.watch(self, ("run", self._run_id), partial(RunRoom.of, self._run_id))

    def _left(self) -> None:
        self._stop_waiting()
        super()._left()

    def _stop_waiting(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None


def _sees_run(user: User, run_id: UUID) -> bool:
    try:
        access.run_or_404(user, run_id)
    except Http404:
        return False
    return True


def _sees_request(user: User, request_id: UUID) -> bool:
    try:
        access.request_or_404(user, request_id)
    except Http404:
        return False
    return True


websocket_urlpatterns = [
    path("ws/inbox/", InboxSocket.as_asgi()),  # type: ignore[no-untyped-call]
    path("ws/runs/<uuid:run_id>/", RunSocket.as_asgi()),  # type: ignore[no-untyped-call]
]
