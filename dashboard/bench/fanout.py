"""Telling every open page, against one group_send a message and against asyncio alone: rows F1 to F6 and I3.

The server is a process of its own (broadcast.py) and so are its sockets, this process: raw clients that check each
number they get and acknowledge as a page does. What is compared is the server's processor time for each delivery, one
frame to one socket: other work on the machine and the clients' own do not count. Elapsed time is told beside it.
"""

import asyncio
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dashboard.bench.rows import Row, judged, repeated
from dashboard.bench.sockets import SocketClient, connect_all

ACK_EVERY, ACK_S = 32, 5.0  # as a page does
IN_TIME_S = 120
LINE_MAX_BYTES = 16 * 1024 * 1024  # an answer has the moment of each message
STALLED_MIB = 64
MIB = 1024 * 1024
NUMBER = re.compile(rb'data-n="(\d+)"')
HUB, HELD, GROUP, RAW = "each", "held", "group", "raw"


class Broken(RuntimeError):
    """An event was lost, doubled or reordered."""


class Ear:
    """What one socket has heard: each number once and in order. What a whole told may be told again."""

    def __init__(self, crowd: "Crowd", first: int) -> None:
        self.crowd, self.next = crowd, first
        self.client: SocketClient | None = None
        self.wholes = self.acknowledged = self.retold = 0
        self.at: list[float] = []  # when each number came

    def __call__(self, payload: bytes) -> None:
        whole = b"data-whole" in payload
        self.wholes += whole
        for number in map(int, NUMBER.findall(payload)):
            if number == self.next:
                self.next += 1
                if self.crowd.keeps_times:
                    self.at.append(time.monotonic())
            elif number > self.next or not (whole or number < self.retold):
                self.crowd.wrong.append(f"{number} came where {self.next} was next")
        if whole:
            self.retold = self.next
        if self.client is not None and self.client.frames - self.acknowledged >= ACK_EVERY:
            self.acknowledge()
        if self.next >= self.crowd.target:
            self.crowd.look()

    def acknowledge(self) -> None:
        if self.client is not None and self.crowd.acknowledges and self.client.frames > self.acknowledged:
            self.acknowledged = self.client.frames
            self.client.say(type="ack", n=self.acknowledged)


@dataclass(eq=False)
class Crowd:
    """Sockets that are told in one way."""

    way: str
    ears: list[Ear] = field(default_factory=list)
    target: int = 0
    wrong: list[str] = field(default_factory=list)
    keeps_times: bool = False
    there: asyncio.Event = field(default_factory=asyncio.Event)
    _acknowledging: "asyncio.Task[None] | None" = None

    def begin(self) -> None:
        """Acknowledge every now and then, until the end."""
        self._acknowledging = asyncio.create_task(self._acknowledge())

    async def _acknowledge(self) -> None:
        while True:
            await asyncio.sleep(ACK_S)
            for ear in self.ears:
                ear.acknowledge()

    async def end(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
        for client in self.clients:
            client.transport.close()
        await asyncio.gather(*(client.closed for client in self.clients))

    @property
    def acknowledges(self) -> bool:
        return self.way not in (GROUP, RAW)

    @property
    def clients(self) -> list[SocketClient]:
        return [ear.client for ear in self.ears if ear.client is not None]

    def look(self) -> None:
        if all(ear.next >= self.target for ear in self.ears):
            self.there.set()

    async def has(self, target: int) -> None:
        """Wait until everybody has all numbers below this. Raises Broken."""
        self.target = target
        self.there.clear()
        self.look()
        try:
            await asyncio.wait_for(self.there.wait(), IN_TIME_S)
        except TimeoutError:
            late = sum(ear.next < target for ear in self.ears)
            codes = {client.closed.result() for client in self.clients if client.closed.done()}
            said = f"{late} of {len(self.ears)} sockets never heard all {target}; closed with {codes or 'nothing'}"
            raise Broken(f"{self.way}: {said}") from None
        if self.wrong:
            raise Broken(f"{self.way}: {self.wrong[0]}; {len(self.wrong)} in all")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of so many messages to a crowd."""

    deliveries: int
    cpu_s: float
    wall_s: float
    at: list[float]  # when each message was told, by the clock that both processes have

    @property
    def each_us(self) -> float:
        return self.cpu_s / self.deliveries * 1e6


class Server:
    """The process that tells."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told: dict[str, int] = {}
        self.ports: dict[str, int] = {}

    async def ask(self, **what: Any) -> dict[str, Any]:
        if what:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), IN_TIME_S)
        if not line:
            raise RuntimeError("the bench's server ended")
        said: dict[str, Any] = json.loads(line)
        return said

    async def crowd(self, way: str, count: int) -> Crowd:
        """So many sockets, open and ready."""
        made = Crowd(way)
        made.ears = [Ear(made, self._told.get(way, 0)) for _ in range(count)]
        await self.join(way, made.ears)
        made.begin()
        return made

    async def join(self, way: str, ears: list[Ear]) -> None:
        """A socket for each of these, a new one where it had one."""
        port = self.ports["raw" if way == RAW else "daphne"]
        for ear, client in zip(ears, await connect_all(port, f"/{way}/", ears), strict=True):
            ear.client, ear.acknowledged = client, 0

    async def tell(self, crowd: Crowd, count: int, gap_s: float = 0.0) -> Cost:
        """Tell so many messages and wait until everybody has them."""
        before, started = await self.ask(do="look"), time.monotonic()
        total = self._told[crowd.way] = self._told.get(crowd.way, 0) + count
        told = await self.ask(do="tell", way=crowd.way, count=count, gap_s=gap_s)
        await crowd.has(total)
        wall_s, after = time.monotonic() - started, await self.ask(do="look")
        return Cost(count * len(crowd.ears), after["cpu_s"] - before["cpu_s"], wall_s, told["at"])


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """Start it, and end it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dashboard.bench.broadcast", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, limit=LINE_MAX_BYTES,
    )  # fmt: skip
    made = Server(process)
    try:
        made.ports = await made.ask()
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def in_turns(told_by: Server, crowds: dict[Crowd, int], rounds: int) -> dict[Crowd, list[Cost]]:
    """The costs of each crowd, with so many messages a round, taken in turns; the first round only warms up."""
    costs: dict[Crowd, list[Cost]] = {crowd: [] for crowd in crowds}
    for number in range(rounds + 1):
        for crowd, count in crowds.items():
            cost = await told_by.tell(crowd, count)
            costs[crowd] += [cost] if number else []
    return costs


def median_us(costs: list[Cost]) -> float:
    return statistics.median(cost.each_us for cost in costs)


def median_wall(costs: list[Cost]) -> float:
    return statistics.median(cost.deliveries / cost.wall_s for cost in costs)


SIZES = ((20, 400, None), (50, 0, None), (200, 50, 6.0), (1000, 12, 10.0))  # sockets, messages to compare, goal
FEW, MANY = 50, 1000
ALONE = 50_000  # deliveries with no other socket there: each has its upkeep, told or not


async def against_others(told_by: Server, rounds: int, share: float, quick: bool) -> list[Row]:
    """F1, F2, F3, F4, F5 and what a delivery costs as sockets grow."""
    made: list[Row] = []
    us: dict[int, tuple[float, float]] = {}
    alone_us: dict[int, float] = {}
    for size, full, goal in SIZES:
        if quick and size < FEW:
            continue
        ours = await told_by.crowd(HUB, size)
        alone = await in_turns(told_by, {ours: max(5, int(ALONE * share) // size)}, rounds)
        alone_us[size] = median_us(alone[ours])
        if not full:
            await ours.end()
            continue
        messages = max(2, int(full * share))
        ways = {GROUP: messages, RAW: 4 * messages}  # the cheap ones more often, to be exact
        if size != 200:
            del ways[RAW]
        others = {await told_by.crowd(way, size): count for way, count in ways.items()}
        crowds = {ours: 4 * messages, **others}
        before = await told_by.ask(do="look")
        costs = {crowd.way: cost for crowd, cost in (await in_turns(told_by, crowds, rounds)).items()}
        after = await told_by.ask(do="look")
        for crowd in crowds:
            await crowd.end()
        us[size] = ours_us, theirs_us = median_us(costs[HUB]), median_us(costs[GROUP])
        n = sum(cost.deliveries for cost in costs[HUB])
        walls = f"elapsed: {median_wall(costs[HUB]):,.0f} and {median_wall(costs[GROUP]):,.0f} a second"
        if goal:
            made.append(judged(
                "fanout", "F1" if size == 200 else "F2", 1e6 / ours_us, "deliveries/CPU-s", n=n,
                baseline=1e6 / theirs_us, ratio=theirs_us / ours_us, at_least=goal, quick=quick,
                note=f"{size} sockets, group_send beside it; {walls}",
            ))  # fmt: skip
        if RAW in costs:
            raw_us = median_us(costs[RAW])
            made.append(judged(
                "fanout", "F3", 1e6 / ours_us, "deliveries/CPU-s", n=n, baseline=1e6 / raw_us,
                ratio=raw_us / ours_us, at_least=0.12, quick=quick, note="200 sockets, asyncio alone beside it",
            ))  # fmt: skip
            flushes = after["flushes"][HUB] - before["flushes"][HUB]
            theirs = sum(others.values()) * (rounds + 1)
            made.append(renders_a_flush(after["renders"] - before["renders"] - theirs, flushes, n))
    made.append(judged(
        "fanout", "F4", alone_us[MANY], "us/delivery", n=MANY, baseline=alone_us[FEW],
        ratio=alone_us[MANY] / alone_us[FEW], at_most=1.3, quick=quick, note=f"{MANY} sockets against {FEW}",
    ))  # fmt: skip
    for size, (ours_us, theirs_us) in us.items():
        made.append(judged(
            "fanout", "grow", ours_us, "us/delivery", n=size, baseline=theirs_us, ratio=theirs_us / ours_us,
            note=f"{size} sockets, what a delivery costs; group_send beside it",
        ))  # fmt: skip
    return made


def renders_a_flush(rendered: int, flushes: int, n: int) -> Row:
    ratio = rendered / flushes
    return Row(
        "fanout", "F5", ratio, "renders/flush", None, None, 1.0, rendered == flushes, n, note=f"{flushes} flushes"
    )


async def one_stalled(told_by: Server, share: float) -> list[Row]:
    """F6: a burst in our own time, with one socket that does not read until it is over."""
    count = int(10_000 * share)
    crowd = await told_by.crowd(HELD, 200)
    await told_by.tell(crowd, 20)
    stalled = crowd.ears.pop()
    assert stalled.client is not None
    stalled.client.transport.pause_reading()
    before = await told_by.ask(do="look")
    cost = await told_by.tell(crowd, count)
    after = await told_by.ask(do="look")
    stalled.client.transport.resume_reading()
    late, started = Crowd(HELD, [stalled]), time.monotonic()
    stalled.crowd, total = late, crowd.target
    hears = asyncio.ensure_future(late.has(total))
    ends: list[asyncio.Future[Any]] = [hears, stalled.client.closed]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    shut = stalled.client.closed.done()
    if shut:  # on a slow machine the burst takes longer than a socket may say nothing: it comes back, as a page does
        await told_by.join(HELD, [stalled])
    await hears
    await crowd.end()
    await late.end()
    grown = (after["rss"] - before["rss"]) / MIB
    flushes = after["flushes"][HELD] - before["flushes"][HELD]
    way = "shut out and back, " if shut else ""
    repaired = f"{way}told by {stalled.wholes} wholes, {time.monotonic() - started:.2f} s after it read again"
    note = f"one of 200 stalled, {repaired}; {flushes} flushes, {cost.wall_s:.1f} s, {grown:.0f} MiB more"
    return [
        judged("fanout", "F6", 0.0, "lost", n=count * 200, at_most=0.0, note=note),
        judged("fanout", "F6", grown, "MiB", n=count * 200, at_most=STALLED_MIB, note="memory the burst took"),
    ]


async def steady(told_by: Server, seconds: float) -> list[Row]:
    """I3: from telling to hearing, 20 events a second to 50 sockets, in our own time; group_send beside it."""
    took: dict[str, list[float]] = {}
    used: dict[str, float] = {}
    count = int(20 * seconds)
    for way in (HELD, GROUP):
        crowd = await told_by.crowd(way, 50)
        crowd.keeps_times = True
        cost = await told_by.tell(crowd, count, gap_s=0.05)
        took[way] = sorted(heard - told for ear in crowd.ears for heard, told in zip(ear.at, cost.at, strict=True))
        used[way] = cost.cpu_s / cost.wall_s
        await crowd.end()
    made = []
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        ours, theirs = (1000 * took[way][int(share * len(took[way]))] for way in (HELD, GROUP))
        note = f"{name}; group_send beside it; {used[HELD]:.2f} and {used[GROUP]:.2f} of a core"
        made.append(
            judged("fanout", "I3", ours, "ms", n=len(took[HELD]), baseline=theirs, ratio=ours / theirs, note=note)
        )
    return made


def run(quick: bool) -> Iterator[Row]:
    """Every row, as it is measured. `quick` takes fewer messages, judges at 0.7 and may measure a bad row again."""
    rounds, share = (1, 0.1) if quick else (5, 1.0)
    with asyncio.Runner() as runner:
        serving = server()
        told_by = runner.run(serving.__aenter__())

        def rows(bench: Callable[..., Coroutine[Any, Any, list[Row]]], *given: Any) -> Iterator[Row]:
            return iter(runner.run(bench(told_by, *given)))

        try:
            yield from repeated(
                [
                    partial(rows, against_others, rounds, share, quick),
                    partial(rows, one_stalled, 0.2 if quick else 1.0),
                    partial(rows, steady, 1.5 if quick else 50),
                ],
                quick=quick,
            )
        finally:
            runner.run(serving.__aexit__(None, None, None))
