"""Follow a run of an emulated provider with our own holder and client, and see every byte that passes between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from streams import folding, providers
from streams.client import Exchange
from streams.events import Fact
from streams.journal import Stored
from streams.models import Event, Run
from streams.providers.base import Answer, Call
from streams.sse import Decoder, Frame
from tests.streams.holding import hold, in_database, lease, make_run, running


@dataclass(frozen=True)
class Sent:
    """A request of ours as it went over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(eq=False)
class Wire:
    """One connection of ours to the provider. `closed_by`: who ended it first; empty while it is open."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    closed_by: str = ""

    @property
    def sent(self) -> list[Sent]:
        """The requests on it, in order."""
        found, rest = [], bytes(self.up)
        while b"\r\n\r\n" in rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            method, path, _ = first.split(" ", 2)
            found.append(Sent(method, path, headers, rest[:length]))
            rest = rest[length:]
        return found

    @property
    def status(self) -> int:
        """Of the first answer."""
        return int(bytes(self.down).split(b" ", 2)[1])

    @property
    def answer_headers(self) -> dict[str, str]:
        """Of the first answer."""
        lines = bytes(self.down).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def answer(self) -> bytes:
        """The body of the first answer, as far as it came."""
        _, _, body = bytes(self.down).partition(b"\r\n\r\n")
        if self.answer_headers.get("transfer-encoding", "").lower() == "chunked":
            return _joined(body)
        length = self.answer_headers.get("content-length")
        return body if length is None else body[: int(length)]

    @property
    def frames(self) -> list[Frame]:
        """The first answer read as an event stream."""
        return Decoder().feed(self.answer)


def _joined(body: bytes) -> bytes:
    made = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        made, body = made + rest[:length], rest[length + 2 :]
    return made


class Tap:
    """Passes bytes on between us and a provider, both ways, and keeps them."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        self.url = ""
        self.wires: list[Wire] = []

    @property
    def sent(self) -> list[Sent]:
        """Every request, in the order of their connections."""
        return [sent for wire in self.wires for sent in wire.sent]

    def to(self, ending: str) -> list[Wire]:
        """The connections whose first request has a path (without its query) that ends so."""
        return [wire for wire in self.wires if wire.sent and wire.sent[0].path.partition("?")[0].endswith(ending)]

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire()
        self.wires.append(wire)
        try:
            theirs, to_them = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        except OSError:
            writer.close()
            return

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray, who: str) -> None:
            with suppress(ConnectionError):
                while chunk := await source.read(65_536):
                    kept += chunk
                    sink.write(chunk)
                    await sink.drain()
            wire.closed_by = wire.closed_by or who
            with suppress(ConnectionError, RuntimeError):
                sink.write_eof() if sink.can_write_eof() else sink.close()

        try:
            await asyncio.gather(
                pump(reader, to_them, wire.up, "us"),
                pump(theirs, writer, wire.down, "provider"),
                return_exceptions=True,
            )
        finally:
            writer.close()
            to_them.close()


@asynccontextmanager
async def tapped(behind: str) -> AsyncIterator[Tap]:
    """A tap in front of an address; its own address has the same path."""
    tap = Tap(behind)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await tap.pass_on(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    tap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(behind).path}"
    try:
        yield tap
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Following:
    """One run that our holder follows through a tap."""

    def __init__(self, run: Run, tap: Tap) -> None:
        self.run, self.tap = run, tap
        self.stored: list[Stored] = []
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def project(self, stored: Sequence[Stored]) -> None:
        """Inside the journal's transaction: what is here was committed."""
        transaction.on_commit(lambda: self._loop.call_soon_threadsafe(self._take, list(stored)))

    def _take(self, stored: list[Stored]) -> None:
        self.stored += stored
        self._news.set()

    # -- what was stored

    @property
    def events(self) -> list[tuple[str, str]]:
        """Kind and payload of what the provider sent."""
        return [(one.kind, one.payload) for one in self.stored if one.source == "provider"]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def marked(self) -> list[str]:
        """Kinds of what was not as its kind says."""
        return [one.kind for one in self.stored if one.source == "provider" and one.marked]

    def facts(self, kind: type[Any]) -> list[Any]:
        found: list[Fact] = [fact for one in self.stored for fact in one.facts if isinstance(fact, kind)]
        return found

    async def until(self, fits: Callable[[], Any]) -> Any:
        """Wait for something stored to make it true; the test's own limit ends it."""
        while not (found := fits()):
            assert self.task is not None
            self._news.clear()
            waiting = asyncio.create_task(self._news.wait())
            await asyncio.wait({self.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self.task.done() and not fits():
                await self.task
                raise AssertionError(f"the run was followed to its end, and it never came true: {self.stored}")
        return found

    async def comes(self, kind: str) -> Stored:
        """The first stored event of a kind, once it is there."""
        found: Stored = await self.until(lambda: next((one for one in self.stored if one.kind == kind), None))
        return found

    async def ended(self) -> Run:
        """The run once our holder is done with it."""
        assert self.task is not None
        await self.task
        return await self.fresh()

    async def fresh(self) -> Run:
        await in_database(self.run.refresh_from_db)
        return self.run

    async def in_order(self) -> list[tuple[str, str]]:
        """What the database has of the provider's stream, by seq."""

        def read() -> list[tuple[str, str]]:
            rows = Event.objects.filter(run=self.run, source="provider", ordinal__isnull=False).order_by("seq")
            return list(rows.values_list("kind", "payload"))

        return await in_database(read)

    # -- what is answered

    async def answer(self, answer: Answer) -> int:
        """Send one decision as the courier does; the status that came back."""

        def call() -> Call:
            held = folding.load(self.run.pk)
            state, _ = folding.resume(self.run.pk, held.adapter)
            return held.adapter.decision_call(held.account, held.view, state, [answer])

        exchange = Exchange()
        try:
            response = await exchange.send(await in_database(call))
            await exchange.read(response)
            return response.status_code
        finally:
            await exchange.aclose()


@asynccontextmanager
async def followed(
    base_url: str, kind: str, *, secret: str = "key-for-tests", **fields: Any
) -> AsyncIterator[Following]:
    """Start (or, with an `external_id`, watch) a run through a tap in front of a provider and follow it."""
    assert kind in providers.REGISTRY
    async with tapped(base_url) as tap:
        fields.setdefault("external_id", None)
        run = await in_database(make_run, tap.url, kind=kind, secret=secret, **fields)
        await in_database(lease, run)
        following = Following(run, tap)
        async with running(following.project) as tools:
            following.task = asyncio.create_task(hold(run, tools))
            try:
                yield following
            finally:
                following.task.cancel()
                await asyncio.wait([following.task])
