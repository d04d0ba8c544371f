"""A TCP proxy that does what networks do: late, slow, cut, reset, silent or half-open, as told and while it runs.

    with proxy(agents.mindra) as between:              # a URL; `between.url` is the same by way of the proxy
        between.plan = cut(after=5_000)                # for the connections to come
        between.change(hole())                         # for them and for those that are open; PASS lifts it
        between.plan = random_cuts(seed=7, times=200)  # another fate for each connection, the same for each seed
        between.end("reset")                           # every open connection, at once
        between.refuse(); between.listen()             # nobody there; there again, on the same port

It runs in a thread of its own, so async tests, plain ones and other processes may use it; its methods return when what
they ask for is done. `after` counts the bytes the server sent on this connection, headers too; exactly so many pass.
After 0 means: when the first byte came, so the server has heard the request.
"""

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

End = Literal["cut", "reset", "hole", "half-open"]
"""cut: both sides see an orderly end. reset: both see RST. hole: nothing passes, nobody is told, and what was held
passes when the plan changes. half-open: the server's side is gone and the client is not told."""

PIECE_BYTES = 65536
CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """What befalls the bytes of one direction."""

    delay_s: float = 0.0  # before each piece
    bytes_per_s: float = 0.0  # 0: as fast as it goes
    piece_bytes: int = PIECE_BYTES  # no piece is larger: 1 splits everything
    after: int | None = None  # so many bytes pass, then `end` comes
    end: End = "cut"


@dataclass(frozen=True, slots=True)
class Plan:
    """The fate of one connection. Without `reach` it is accepted and the server never hears of it."""

    up: Way = Way()
    down: Way = Way()
    reach: bool = True


PASS = Plan()
Plans = Plan | Callable[[int], Plan]
"""One plan, or one for each connection by its number from 0."""


def cut(after: int) -> Plan:
    """An orderly end after so many bytes of the server's."""
    return Plan(down=Way(after=after, end="cut"))


def reset(after: int) -> Plan:
    """RST after so many bytes of the server's."""
    return Plan(down=Way(after=after, end="reset"))


def hole(after: int = 0) -> Plan:
    """The request arrives and so many bytes come back, then silence; 0: not even headers."""
    return Plan(down=Way(after=after, end="hole"))


def half_open(after: int) -> Plan:
    """After so many bytes the server's side is gone, and the client is not told."""
    return Plan(down=Way(after=after, end="half-open"))


DEAF = Plan(reach=False)
"""Accepted, then silence: a TLS handshake or a request that nobody hears."""


def slow(bytes_per_s: float) -> Plan:
    """The server's bytes at this rate."""
    return Plan(down=Way(bytes_per_s=bytes_per_s))


def late(delay_s: float) -> Plan:
    """Each piece later, both ways."""
    return Plan(up=Way(delay_s=delay_s), down=Way(delay_s=delay_s))


def random_cuts(
    seed: int, *, times: int, low: int = 1, high: int = 20_000, ends: tuple[End, ...] = ("cut", "reset")
) -> Callable[[int], Plan]:
    """Ends the first `times` connections after low..high bytes, each in one of these ways; lets the others pass."""

    def plan(number: int) -> Plan:
        if number >= times:
            return PASS
        chance = random.Random(f"{seed}:{number}")  # whatever the order in which they are asked for
        return Plan(down=Way(after=chance.randint(low, high), end=chance.choice(ends)))

    return plan


@dataclass(slots=True)
class Connection:
    """One connection of a client: when it came (monotonic seconds), what passed, how it ended ("" while open)."""

    number: int
    at_s: float
    plan: Plan
    up_bytes: int = 0
    down_bytes: int = 0
    ended: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # of this plan; another plan has another
    client: asyncio.StreamWriter | None = None
    server: asyncio.StreamWriter | None = None

    def alive(self) -> bool:
        return not self.ended

    def end(self, how: End) -> None:
        """End it now, from the proxy's loop."""
        if how == "hole":
            self.replan(hole(0))
            return
        self.ended = self.ended or how
        _close(self.server, hard=how == "reset")
        if how != "half-open":
            _close(self.client, hard=how == "reset")
        self.changed.set()

    def replan(self, plan: Plan) -> None:
        """Another fate from now on; its bytes are counted from the connection's begin."""
        self.plan, before, self.changed = plan, self.changed, asyncio.Event()
        before.set()


class Proxy:
    """A running proxy; `proxy()` makes one."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        assert self._target.hostname, f"not a URL with a host: {target}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.plan: Plans = PASS
        self.port = 0
        self.connections: list[Connection] = []

    @property
    def url(self) -> str:
        """The target's URL by way of the proxy."""
        return self._target._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    @property
    def open(self) -> list[Connection]:
        """The connections that have not ended."""
        return [one for one in self.connections if not one.ended]

    def change(self, plan: Plan) -> None:
        """This plan for the connections to come and for those that are open."""
        self.plan = plan
        self._call(self._each(lambda one: one.replan(plan)))

    def end(self, how: End = "cut") -> None:
        """End every open connection now."""
        self._call(self._each(lambda one: one.end(how)))

    def refuse(self) -> None:
        """Nobody listens from now on; open connections stay."""
        self._call(self._refuse())

    def listen(self) -> None:
        """Listen, at the first time on any free port and then always on that one."""
        self._call(self._listen())

    def start(self) -> None:
        self._thread.start()
        self.listen()

    def close(self) -> None:
        """End all of it."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S)

    async def _each(self, act: Callable[[Connection], None]) -> None:
        for one in self.open:
            act(one)

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port), backlog=1024)
            self._listening.setblocking(False)
            self.port = self._listening.getsockname()[1]
            self._accepting = asyncio.create_task(self._accept(self._listening))

    async def _refuse(self) -> None:
        if self._listening is None or self._accepting is None:
            return
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listening.close()
        self._listening = None

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(listening)
            number = len(self.connections)
            plan = self.plan(number) if callable(self.plan) else self.plan
            one = Connection(number, time.monotonic(), plan)
            self.connections.append(one)
            task = asyncio.create_task(self._serve(one, sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        await self._refuse()
        for one in self.connections:
            one.end("cut")
            _close(one.client, hard=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, one: Connection, sock: socket.socket) -> None:
        try:
            reader, one.client = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        try:
            while not one.plan.reach and not one.ended:
                await one.changed.wait()
            if not one.ended:
                await self._carry(one, reader)
        except OSError:
            one.end("reset")
        finally:
            one.ended = one.ended or "closed"
            _close(one.server, hard=one.ended == "reset")
            if one.ended != "half-open":
                _close(one.client, hard=one.ended == "reset")

    async def _carry(self, one: Connection, client: asyncio.StreamReader) -> None:
        host, port = self._target.hostname, self._target.port or 80
        server, one.server = await asyncio.open_connection(host, port)
        if one.ended:
            return
        assert one.client is not None
        up = asyncio.create_task(_pump(one, client, one.server, up=True))
        down = asyncio.create_task(_pump(one, server, one.client, up=False))
        try:
            await asyncio.gather(up, down)
        finally:
            up.cancel()
            down.cancel()


async def _pump(one: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
    writer.transport.set_write_buffer_limits(0)  # a drained piece has left: RST must not take it back
    while one.alive():
        changed = one.changed
        way, passed = (one.plan.up, one.up_bytes) if up else (one.plan.down, one.down_bytes)
        left = None if way.after is None else max(0, way.after - passed)
        if left == 0 and way.end == "hole":
            await changed.wait()
            continue
        if left == 0 and not passed and await _read(reader, changed, 1) is None:
            continue
        if left == 0:
            one.end(way.end)
            return
        piece = await _read(reader, changed, min(way.piece_bytes, left or way.piece_bytes))
        if piece is None:
            continue
        if way.delay_s:
            await asyncio.sleep(way.delay_s)
        if not one.alive():
            return
        if not piece:
            if writer.can_write_eof():
                writer.write_eof()
            return
        writer.write(piece)
        if up:
            one.up_bytes += len(piece)
        else:
            one.down_bytes += len(piece)
        await writer.drain()
        if way.bytes_per_s:
            await asyncio.sleep(len(piece) / way.bytes_per_s)


async def _read(reader: asyncio.StreamReader, changed: asyncio.Event, most: int) -> bytes | None:
    """The next piece, empty at the end; None when the plan changed before one came."""
    reading = asyncio.ensure_future(reader.read(most))
    waiting = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else None
    finally:
        reading.cancel()
        waiting.cancel()


def _close(writer: asyncio.StreamWriter | None, *, hard: bool) -> None:
    """An orderly end, or RST."""
    if writer is None or writer.transport.is_closing():
        return
    if not hard:
        writer.close()
        return
    sock: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy to the host and port of a URL; ends with the block."""
    made = Proxy(target)
    made.start()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def unanswered() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails: its queue is full, so Linux drops each SYN."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fill = [socket.socket() for _ in range(4)]
        try:
            for one in fill:
                one.setblocking(False)
                one.connect_ex(listening.getsockname())
            yield listening.getsockname()[1]
        finally:
            for one in fill:
                one.close()
