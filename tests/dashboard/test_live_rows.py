"""Live pages on a real server: a burst, hostile frames, a reader that never reads, a restart; a layer that forgets."""

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import select
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers

from approvals.models import ApprovalRequest
from dashboard import hub, live
from dashboard.bench.sockets import SocketClient, connect, connect_all, handshake
from streams import announce
from tests import factories
from tests.countersign import PATIENT_S, ROOT, Countersign, approvals, countersign
from tests.dashboard.test_live import decide, make_user, opened, sign_in
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.scripted import Answer, Asked, scripted

SEED = 20261121
BURST, BURST_S, READERS = 5_000, 1.0, 50
FUZZED = 50_000 if LONG else 10_000
FUZZERS = 40
SOAK_CHECKS = 40 if LONG else 8
RESTARTED = 200
MIB = 1024 * 1024

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


class Agent:
    """A run that says what a test tells it to."""

    def __init__(self, external_id: str) -> None:
        self.external_id, self.asked = external_id, 0
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(await self._lines.get())
            await writer.drain()

    def say(self, kind: str, **data: object) -> None:
        self._lines.put_nowait(f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())

    def ask(self) -> None:
        self.asked += 1
        self.say("approval_request", approval_id=f"apr_{self.asked}", tool_name="refund", tool_input={"n": self.asked})


class Screen:
    """What a page would show of what its socket brings."""

    def __init__(self) -> None:
        self.client: SocketClient | None = None
        self.badge, self.total, self.seq, self.wholes = -1, -1, 0, 0
        self.grew: list[tuple[float, int]] = []  # when it had got so far
        self._acknowledged = 0

    def __call__(self, payload: bytes) -> None:
        said = payload.decode()
        if found := re.search(r'id="rail-inbox"[^>]*>(\d+)<', said):
            self.badge = int(found[1])
        if found := re.search(r'id="waiting" [^>]*data-total="(\d+)"', said):
            self.total = int(found[1])
        if found := re.search(r'id="feed"[^>]* data-seq="(\d+)"', said):
            self.seq = int(found[1])
            self.grew.append((time.monotonic(), self.seq))
        self.wholes += 'data-whole="inbox"' in said
        if self.client is not None and self.client.frames - self._acknowledged >= 4:
            self._acknowledged = self.client.frames
            self.client.say(type="ack", n=self._acknowledged)


class Sockets:
    """The sockets of one person; all are closed at the end."""

    def __init__(self, house: Countersign) -> None:
        self.port, self._headers = house.port, {"Cookie": cookie(house)}
        self._open: list[SocketClient] = []

    async def screens(self, path: str, count: int) -> list[Screen]:
        made = [Screen() for _ in range(count)]
        for screen, client in zip(made, await self.all(path, made), strict=True):
            screen.client = client
        return made

    async def all(self, path: str, ears: Sequence[Callable[[bytes], None]]) -> list[SocketClient]:
        made = await connect_all(self.port, path, ears, self._headers)
        self._open += made
        return made

    async def one(self, path: str, ear: Callable[[bytes], None]) -> SocketClient:
        self._open.append(await connect(self.port, path, ear, self._headers))
        return self._open[-1]

    async def __aenter__(self) -> "Sockets":
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._open:
            client.transport.abort()
        await asyncio.gather(*(client.closed for client in self._open))


def alive(screens: Sequence[Screen]) -> bool:
    return all(screen.client is not None and not screen.client.closed.done() for screen in screens)


@functools.cache
def cookie(house: Countersign) -> str:
    """A session; it outlives the server."""
    pages = house.pages()
    with contextlib.closing(pages):
        return "; ".join(f"{name}={value}" for name, value in pages.cookies.items())


async def until(what: Callable[[], Any], why: str, within_s: float = PATIENT_S) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not what():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{why}: not within {within_s:g} s") from None


def rss(house: Countersign) -> int:
    assert house.process is not None
    pages = int(Path(f"/proc/{house.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.process
@pytest.mark.long
def test_live_pages_hold_on_a_real_server(tmp_path: Path, figure: Figure) -> None:
    async def play() -> None:
        talks, asks = Agent("exec_1"), Agent("exec_2")

        def pick(asked: Asked) -> Answer:
            found = [agent for agent in (talks, asks) if agent.external_id in asked.path]
            return found[0].stream if asked.method == "GET" else TAKEN  # every decision is taken

        async with scripted(pick=pick) as provider:
            house.command(
                "providers", "add", "agents", "--kind", "mindra", "--base-url", provider.url, "--secret-env", "KEY",
                env={"KEY": "key-for-tests"},
            )  # fmt: skip
            with house.api() as api:
                for agent in (asks, talks):
                    watched = api.post("runs/watch", json={"provider": "agents", "external_id": agent.external_id})
                    run_id = watched.raise_for_status().json()["id"]
                    agent.say("chunk", content="begin")
                async with Sockets(house) as sockets:
                    await a_burst(sockets, talks, run_id, figure)
                deaf = a_reader_that_never_reads(house, talks, run_id, figure)
                if LONG:  # what it costs is to be seen
                    await deaf
                    await the_inbox(house, asks, api, figure)
                else:
                    await asyncio.gather(deaf, the_inbox(house, asks, api, figure))
            async with Sockets(house) as sockets:
                await a_restart(house, sockets, figure)

    with countersign(tmp_path, env={"COUNTERSIGN_UNDO_S": "0"}) as house:
        asyncio.run(play())
        log = house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


async def the_inbox(house: Countersign, agent: Agent, api: Any, figure: Figure) -> None:
    async with Sockets(house) as sockets:
        await hostile_frames(sockets, agent, figure)
    async with Sockets(house) as sockets:
        await a_soak(sockets, agent, api, figure)


async def a_burst(sockets: Sockets, agent: Agent, run_id: str, figure: Figure) -> None:
    """I2: every event of a burst is on every page, and nobody's socket is closed."""
    screens = await sockets.screens(f"/ws/runs/{run_id}/", READERS)
    await until(lambda: all(screen.seq for screen in screens), "the run is on every page")
    first, sent_at = screens[0].seq, []
    started = time.monotonic()
    for number in range(BURST):
        if number % 50 == 0:
            await asyncio.sleep(max(0.0, started + number * BURST_S / BURST - time.monotonic()))
        kind, data = ("chunk", {"content": "word "}) if number % 10 else ("tool_executing", {"tool_name": "look"})
        agent.say(kind, **data)
        sent_at.append(time.monotonic())
    await until(lambda: all(screen.seq >= first + BURST for screen in screens), "the burst is on every page")
    late: list[float] = []
    for screen in screens:
        grew = iter(screen.grew)
        at, seq = next(grew)
        for number, sent in enumerate(sent_at, first + 1):
            while seq < number:
                at, seq = next(grew)
            late.append(at - sent)
        assert all(before <= after for (_, before), (_, after) in pairwise(screen.grew))
    assert alive(screens)
    p95_ms = 1000 * statistics.quantiles(late, n=20)[-1]
    figure("I2", worst=round(p95_ms), n=len(late), unit=f"ms p95, {BURST} events, {READERS} sockets, 0 closed")


def garbage(rng: random.Random) -> tuple[bytes, int]:
    """A frame that no page sends, and its opcode."""
    known = rng.choice(["ack", "after", "again", "watch", "decide", "told", "websocket.receive", "rail_changed", "_x"])
    value: Any = rng.choice(
        [None, True, -1, 2**70, 1e300, "x" * 40, [], {}, [[[]]], "00000000-0000-0000-0000-000000000000"]
    )
    frames = [
        (rng.randbytes(rng.randrange(200)), 2),
        (json.dumps({"type": known, rng.choice(["n", "seq", "request", "type"]): value}).encode(), 1),
        (b"[" * rng.randrange(3_000), 1),
        (b'{"type": "' + rng.randbytes(8).hex().encode() + b'"}', 1),
        (b"x" * rng.randrange(60_000), 1),
        ("\u202e\u0000\ud7ff".encode(), 1),
        (b"", rng.choice([1, 2, 9, 10])),
    ]
    return rng.choice(frames)


async def hostile_frames(sockets: Sockets, agent: Agent, figure: Figure) -> None:
    """I7: whatever one socket says, the others hear what they are to hear."""
    rng = random.Random(SEED)  # noqa: S311
    others = await sockets.screens("/ws/inbox/", 3)
    sent = 0
    while sent < FUZZED:
        fuzzers = await sockets.all("/ws/inbox/", [lambda _: None] * FUZZERS)
        for _ in range(250):
            for fuzzer in fuzzers:
                fuzzer.send(*garbage(rng))
            sent += FUZZERS
            await asyncio.sleep(0)
        assert not any(fuzzer.closed.done() and fuzzer.closed.result() == 1011 for fuzzer in fuzzers), "none died"
        for fuzzer in fuzzers:
            fuzzer.transport.abort()
    for payload, kind, code in ((b"x" * 70_000, 1, 1009), (b"\xff\xfe", 1, 1007), (b"{}", 3, 1002)):
        wrong = await sockets.one("/ws/inbox/", lambda _: None)
        wrong.send(payload, kind)
        assert await asyncio.wait_for(wrong.closed, PATIENT_S) in (code, 1006)
    talker = await sockets.one("/ws/inbox/", lambda _: None)
    for _ in range(live.FRAMES_MAX + 1):
        talker.send(b"{}", 1)
    assert await asyncio.wait_for(talker.closed, PATIENT_S) == live.TOO_MUCH, "who floods is told why"
    before = others[0].badge
    agent.ask()
    await until(lambda: all(other.badge == before + 1 for other in others), "the others hear what comes")
    assert alive(others)
    figure("I7", worst=0, n=sent, unit="consumer deaths", seed=SEED)


async def a_reader_that_never_reads(house: Countersign, agent: Agent, run_id: str, figure: Figure) -> None:
    """I4: it is closed, and what it does not read is not kept. Another one reads all the while, before it comes too."""

    async def say_much() -> None:
        for _ in range(20):
            agent.say("tool_executing", tool_name="look", tool_input={"text": "much to read " * 300})
        await asyncio.sleep(0.1)

    async with Sockets(house) as sockets:
        (reads,) = await sockets.screens(f"/ws/runs/{run_id}/", 1)
        await until(lambda: reads.seq, "the run is told")
        first = reads.seq
        rounds = 250 if LONG else 20  # what as much traffic costs by itself is no part of the figure
        for _ in range(rounds):
            await say_much()
        await until(lambda: reads.seq >= first + 20 * rounds, "whoever reads is told")
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", house.port))
        deaf.sendall(handshake(house.port, f"/ws/runs/{run_id}/", {"Cookie": cookie(house)}))
        poll = select.poll()
        poll.register(deaf, select.POLLHUP | select.POLLERR)
        before, began, most = rss(house), time.monotonic(), 0
        while not poll.poll(0):
            assert time.monotonic() - began < PATIENT_S, "a socket that never reads is closed"
            await say_much()
            most = max(most, rss(house) - before)
        deaf.close()
        took, beside = time.monotonic() - began, "" if LONG else " with the other rows beside it"
        assert alive([reads])
        figure("I4", worst=round(took, 1), n=1, unit=f"s until closed, {most / MIB:.1f} MiB more{beside}")


async def a_soak(sockets: Sockets, agent: Agent, api: Any, figure: Figure) -> None:
    """I9: badge and number of the list are what the database says, whatever is asked and decided meanwhile."""
    rng = random.Random(SEED)  # noqa: S311
    screens = await sockets.screens("/ws/inbox/", 5)
    drift = 0
    for _ in range(SOAK_CHECKS):
        for _ in range(rng.randrange(1, 5)):
            agent.ask()
        pending = await asyncio.to_thread(lambda: list(approvals(api, status="pending")))
        for asked in rng.sample(pending, min(len(pending), rng.randrange(3))):
            body = {"verdict": "reject", "input_sha256": asked["input_sha256"], "undo_s": 0}
            await asyncio.to_thread(api.post, f"approvals/{asked['id']}/decision", json=body)
        if LONG:
            await asyncio.sleep(2)

        def shown() -> set[int]:
            return {number for screen in screens for number in (screen.badge, screen.total)}

        async def same() -> bool:
            waiting = sum(
                len(approvals(api, status=status)) for status in ("pending", "unknown")
            )  # what a person must look at
            return shown() == {waiting}

        drift += not await eventually_true(same)
    assert drift == 0
    figure("I9", worst=drift, n=SOAK_CHECKS, unit="times a badge differed for good", seed=SEED)


async def eventually_true(what: Callable[[], Awaitable[bool]]) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < PATIENT_S:
        if await what():
            return True
        await asyncio.sleep(0.1)
    return False


def delays() -> Callable[[random.Random, int], float]:
    """Seconds until a page tries again after so many tries, as the page's own script computes it."""
    script = (ROOT / "static/dashboard/app.js").read_text()
    grows = r"Math\.min\((\d+), (\d+) \* ([\d.]+) \*\* Math\.min\(count, (\d+)\)\)"
    found = re.search(rf"wsReconnectDelay = \(count\) => Math\.random\(\) \* {grows};", script)
    assert found, "the script says how long a page waits"
    most, first, factor, last = map(float, found.groups())
    return lambda rng, count: rng.random() * min(most, first * factor ** min(count, last)) / 1000


async def a_restart(house: Countersign, sockets: Sockets, figure: Figure) -> None:
    """I5: all pages come back, not all at once, and all are right."""
    rng, delay_s = random.Random(SEED), delays()  # noqa: S311
    screens = await sockets.screens("/ws/inbox/", RESTARTED)
    await until(lambda: all(screen.wholes for screen in screens), "every page is told")
    right = screens[0].total
    back_at: list[float] = []

    async def come_back(screen: Screen) -> None:
        assert screen.client is not None
        await screen.client.closed
        screen.badge = screen.total = -1
        for count in range(1000):
            await asyncio.sleep(delay_s(rng, count))
            try:
                screen.client = None
                screen.client = await sockets.one("/ws/inbox/", screen)
            except (OSError, ConnectionError):
                continue
            back_at.append(time.monotonic())
            return

    coming = [asyncio.create_task(come_back(screen)) for screen in screens]
    await asyncio.to_thread(house.stop)
    await asyncio.to_thread(house.start)
    serves_at = time.monotonic()
    await asyncio.gather(*coming)
    await until(lambda: all(screen.badge == screen.total == right for screen in screens), "every page is right")
    all_right_s = time.monotonic() - serves_at
    peak = max(sum(at <= other < at + 1 for other in back_at) for at in back_at)
    unit = f"% of the pages back in one second; all right {all_right_s:.1f} s after the start"
    figure("I5", worst=round(100 * peak / RESTARTED), n=RESTARTED, unit=unit, seed=SEED)


# --- a layer that loses what it is told -------------------------------------------------------------------------------


class Forgetful(InMemoryChannelLayer):
    """Drops 30 % of what is sent to groups, silently, as a full or reconnecting layer does."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dropped, self._rng = 0, rng

    async def group_send(self, group: str, message: Any) -> None:
        if self._rng.random() < 0.3:
            self.dropped += 1
        else:
            await super().group_send(group, message)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def forgetful(rng: random.Random) -> Iterator[Forgetful]:
    layer = Forgetful(rng)
    before = channel_layers.set("default", layer)  # type: ignore[no-untyped-call]
    try:
        yield layer
    finally:
        channel_layers.set("default", before)  # type: ignore[no-untyped-call]


@pytest.mark.django_db(transaction=True)
async def test_a_page_is_right_though_the_layer_drops_a_third(figure: Figure) -> None:
    rng, beat_s = random.Random(SEED), hub.BEAT_S if LONG else 0.25  # noqa: S311
    user = await sync_to_async(make_user)()
    client = await sync_to_async(sign_in)(user)
    worst, rounds = 0.0, 3 if LONG else 6
    with forgetful(rng) as layer:
        hub._hubs[asyncio.get_running_loop()] = hub.Hub(live.admitted, beat_s=beat_s)
        asked = [await sync_to_async(factories.request)() for _ in range(rounds)]
        async with opened(client, "/ws/inbox/") as inbox:
            for one in asked:
                async with opened(client, f"/ws/inbox/?request={one.pk}") as slip:
                    await slip.until('id="rev"', 'data-status="pending"')
                    new = await sync_to_async(factories.request)()
                    await sync_to_async(announce.changed)(announce.INBOX)
                    await sync_to_async(decide)(one, user)
                    changed_at = time.monotonic()
                    await slip.until('id="rev"', 'data-status="held"')
                    waiting = await ApprovalRequest.objects.filter(status="pending").acount()
                    await inbox.until('id="waiting"', f"{new.pk}.t2", f'data-total="{waiting}"')
                    worst = max(worst, time.monotonic() - changed_at)
    assert layer.dropped
    figure("I1", worst=round(worst, 1), n=rounds, unit=f"s until right, looked at every {2 * beat_s:g} s", seed=SEED)
