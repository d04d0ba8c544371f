"""From a provider's socket to a browser's, through everything in between: rows E1 to E5.

The product is the real process (house.py), the ordinary way is one too (plain.py), and so is the provider. The sockets
are here: raw clients, signed in, that acknowledge as a page does. An event's text tells its number and the provider
when it was sent; what a socket has is the highest number it was shown. A page joins a text that goes on into one entry
and shows its head and its tail, so a frame may tell of many events; afterwards the stored rows are read one by one.
"""

import asyncio
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from dashboard.bench.house import TICKS_S, House, house
from dashboard.bench.provider import Provider, provider
from dashboard.bench.rows import Row, judged
from dashboard.bench.sockets import SocketClient, connect_all
from dashboard.bench.subject import ROOT

try:
    import httpx_sse
except ImportError:  # the baseline is a development dependency
    httpx_sse = None  # type: ignore[assignment]

MARK = re.compile(rb"\[(\d{8}) \d+\.\d{6}\]")
ACK_EVERY, BEAT = 32, b'id="beat"'  # a page acknowledges so many frames, and at every sign of life
BACKLOG_S = 0.1
IN_TIME_S = 120.0
MICRO, MILLI = 1e6, 1e3
STEP = 1.25  # between two rates that are tried


@dataclass(eq=False)
class Ear:
    """What one socket was shown: (moment, highest number), in order. `each`: every number has a frame of its own."""

    each: bool
    shown: list[tuple[float, int]] = field(default_factory=list)
    wrong: str = ""
    client: SocketClient | None = None

    @property
    def number(self) -> int:
        return self.shown[-1][1] if self.shown else 0

    def __call__(self, payload: bytes) -> None:
        now, found = time.monotonic(), MARK.findall(payload)
        if found:
            number, before = int(found[-1]), self.number
            if number < before or (self.each and before and number != before + 1):
                self.wrong = self.wrong or f"{number} was shown behind {before}"
            self.shown.append((now, number))
        if self.client is not None and not self.each and (self.client.frames % ACK_EVERY == 0 or BEAT in payload):
            self.client.say(type="ack", n=self.client.frames)


@dataclass
class Side:
    """One way from provider to browser: what is paced, which sockets listen to which stream, what it costs."""

    group: str
    theirs: Provider
    pid: int
    ears: dict[str, list[Ear]]  # stream -> its sockets

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICKS_S

    async def pace(self, per_s: float, seconds: float) -> "Paced":
        """Let the provider send, and wait until every socket has the last event of its stream."""
        cpu = self.cpu_s()
        said = await self.theirs.ask(
            "pace", group=f"{self.group}-", per_s=per_s, seconds=seconds, times=list(self.ears)
        )
        until = time.monotonic() + IN_TIME_S
        while not all(ear.number >= said["sent"][name] for name, ears in self.ears.items() for ear in ears):
            if time.monotonic() > until:
                raise RuntimeError(f"{self.group}: an event did not reach its sockets within {IN_TIME_S:g} s")
            await asyncio.sleep(0.005)
        wrong = [ear.wrong for ears in self.ears.values() for ear in ears if ear.wrong]
        if wrong:
            raise RuntimeError(f"{self.group}: {wrong[0]}")
        taken: list[float] = []
        for name, ears in self.ears.items():
            times = said["at"][name]
            first = said["sent"][name] - len(times) + 1
            for ear in ears:
                taken += _taken(ear.shown, first, times)
                ear.shown = ear.shown[-1:]
        return Paced(said["done"], self.cpu_s() - cpu, sorted(taken), said["late_s"])


@dataclass
class Paced:
    """What one stretch of pacing came to. `taken`: seconds from provider to socket, of each event and socket."""

    done: int
    cpu_s: float
    taken: list[float]
    late_s: float

    def quantile(self, share: float) -> float:
        return self.taken[min(len(self.taken) - 1, int(share * len(self.taken)))]

    @property
    def per_event_s(self) -> float:
        return self.cpu_s / self.done


def _taken(shown: list[tuple[float, int]], first: int, times: list[float]) -> list[float]:
    """Of each event: from when it was sent to the first frame that shows it or a later one."""
    numbers = [number for _, number in shown]
    return [shown[bisect_left(numbers, first + at)][0] - sent for at, sent in enumerate(times)]


# --- the two sides --------------------------------------------------------------------------------------------------


async def listen(
    port: int, paths: dict[str, str], each_of: int, *, cookies: dict[str, str] | None
) -> dict[str, list[Ear]]:
    """So many sockets on each of these pages: stream -> path."""
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())} if cookies else {}
    made: dict[str, list[Ear]] = {}
    for name, path in paths.items():
        ears = [Ear(each=cookies is None) for _ in range(each_of)]
        for ear, client in zip(ears, await connect_all(port, path, ears, headers), strict=True):
            ear.client = client
        made[name] = ears
    return made


def _until(theirs: Provider, group: str, n: int) -> None:
    until = time.monotonic() + 10 * IN_TIME_S
    while (count := theirs.do("count", group=f"{group}-")["streams"]) < n:
        if time.monotonic() > until:
            raise RuntimeError(f"only {count} of {n} streams were opened")
        time.sleep(0.2)


async def ours(home: House, theirs: Provider, group: str, n: int, pages: int, each_of: int) -> Side:
    """The product with so many streams, and sockets on the pages of the first of them."""
    ids = await asyncio.to_thread(home.watch, f"http://127.0.0.1:{theirs.port}", group, n)
    await asyncio.to_thread(_until, theirs, group, n)
    paths = {f"{group}-{number:05}": f"/ws/runs/{ids[number]}/" for number in range(pages)}
    ears = await listen(home.port, paths, each_of, cookies=await asyncio.to_thread(home.cookies))
    return Side(group, theirs, home.pid, ears)


@contextmanager
def plain_process(url: str) -> Iterator[tuple[int, int]]:
    """The ordinary way: its pid and port."""
    command = [sys.executable, "-m", "dashboard.bench.plain", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


async def plain(pid: int, port: int, theirs: Provider, sockets: int) -> Side:
    await asyncio.to_thread(_until, theirs, "plain", 1)
    return Side("plain", theirs, pid, await listen(port, {"plain-00000": "/"}, sockets, cookies=None))


def check_stored(home: House, least: int) -> None:
    """Every event is stored, once, in order."""
    database = sqlite3.connect(home.folder / "countersign.sqlite3")
    try:
        rows = database.execute(
            "SELECT run_id, CAST(substr(payload, 7, 8) AS INTEGER) FROM streams_event WHERE source = 'provider' "
            "ORDER BY run_id, seq"
        ).fetchall()
    finally:
        database.close()
    if len(rows) < least:
        raise RuntimeError(f"{least} events were sent and {len(rows)} are stored")
    for (run, number), (next_run, next_number) in pairwise(rows):
        if next_number != (number + 1 if run == next_run else 1):
            raise RuntimeError(f"event {next_number} is stored behind event {number}")


# --- rows -----------------------------------------------------------------------------------------------------------


async def sustained(side: Side, start: float, seconds: float) -> float:
    """The highest rate, in steps, at which the sockets are at most 100 ms behind when it ends; events/s."""
    best, rate = 0.0, start
    while True:
        paced = await side.pace(rate, seconds)
        if await _behind(paced):
            again = await side.pace(rate, seconds)  # other work on the machine may have been in the way
            if await _behind(again):
                return best
        best, rate = rate, rate * STEP


async def _behind(paced: Paced) -> bool:
    return paced.quantile(0.9) > BACKLOG_S + paced.late_s


async def both(rounds: int, sockets: int, seconds: float, start: tuple[float, float], quick: bool) -> list[Row]:
    """E1, E2, E3: the product and the ordinary way in turns; one stream, its page open so many times."""
    rows: list[Row] = []
    with ExitStack() as stack:
        theirs = stack.enter_context(provider())
        home = stack.enter_context(house())
        ordinary = stack.enter_context(plain_process(f"http://127.0.0.1:{theirs.port}")) if httpx_sse else None
        product = await ours(home, theirs, "page", 1, 1, sockets)
        naive = await plain(*ordinary, theirs, sockets) if ordinary else None
        await product.pace(50, 1)
        if naive:
            await naive.pace(20, 1)
        costs: dict[str, list[float]] = {"ours": [], "naive": []}
        waits: dict[str, list[float]] = {"ours": [], "naive": []}
        n = 0
        for _ in range(rounds):
            paced = await product.pace(200, seconds)
            n += len(paced.taken)
            costs["ours"].append(paced.per_event_s)
            waits["ours"].append(paced.quantile(0.99))
            if naive:
                costs["naive"].append((await naive.pace(200, min(seconds, 3.0))).per_event_s)
                waits["naive"].append((await naive.pace(50, seconds)).quantile(0.99))
        ceilings: dict[str, list[float]] = {"ours": [], "naive": []}
        for _ in range(1 if quick else 3):
            ceilings["ours"].append(await sustained(product, start[0], seconds / 2))
            if naive:
                ceilings["naive"].append(await sustained(naive, start[1], seconds / 2))
        await asyncio.to_thread(check_stored, home, 1)
    told: Callable[..., Row] = partial(judged, "e2e", quick=quick)
    mid = {name: {way: statistics.median(found) for way, found in kind.items() if found}
           for name, kind in (("cost", costs), ("wait", waits), ("rate", ceilings))}  # fmt: skip
    base = {name: found.get("naive") for name, found in mid.items()}
    rate, cost, wait = mid["rate"]["ours"], mid["cost"]["ours"], mid["wait"]["ours"]
    missing = "" if naive else "; httpx-sse is not installed"
    rows.append(told(
        "E1", rate, "events/s", n=len(ceilings["ours"]), baseline=base["rate"],
        ratio=rate / base["rate"] if base["rate"] else None, at_least=12 if base["rate"] else None,
        note=f"{sockets} sockets, at most 100 ms behind{missing}",
    ))  # fmt: skip
    rows.append(told(
        "E2", cost * MICRO, "us CPU/event", n=int(200 * seconds) * rounds,
        baseline=base["cost"] and base["cost"] * MICRO, ratio=cost / base["cost"] if base["cost"] else None,
        at_most=0.2 if base["cost"] else None, note=f"200 events/s, {sockets} sockets{missing}",
    ))  # fmt: skip
    naive_wait = f"; the ordinary way at 50 events/s: {base['wait'] * MILLI:.1f} ms" if base["wait"] else ""
    rows.append(
        told("E3", wait * MILLI, "ms p99", n=n, at_most=15, note=f"200 events/s, {sockets} sockets{naive_wait}")
    )
    return rows


async def crowded(streams: int, per_s: float, sockets: int, seconds: float, quick: bool) -> list[Row]:
    """E4: many streams, each socket on another run's page."""
    with ExitStack() as stack:
        theirs, home = stack.enter_context(provider()), stack.enter_context(house())
        side = await ours(home, theirs, "many", streams, sockets, 1)
        await side.pace(per_s / 5, 2)
        paced = [await side.pace(per_s, seconds) for _ in range(1 if quick else 3)]
        await asyncio.to_thread(check_stored, home, sum(one.done for one in paced))
    wait = statistics.median(one.quantile(0.99) for one in paced)
    late = max(one.late_s for one in paced)
    cost = statistics.median(one.per_event_s for one in paced) * MICRO
    return [judged(
        "e2e", "E4", wait * MILLI, "ms p99", n=sum(len(one.taken) for one in paced), at_most=200, quick=quick,
        note=f"{streams} streams, {per_s:g} events/s, {sockets} sockets each on another run; "
        f"p50 {statistics.median(one.quantile(0.5) for one in paced) * MILLI:.0f} ms, {cost:.0f} us CPU/event; "
        f"the provider itself was at most {late * MILLI:.0f} ms late",
    )]  # fmt: skip


async def growing(sizes: tuple[int, ...], per_s: float, seconds: float, rounds: int, quick: bool) -> list[Row]:
    """E5: what an event costs the whole process that holds so many streams, at one rate in all; in turns."""
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    with ExitStack() as stack:
        theirs = stack.enter_context(provider())
        homes = {size: stack.enter_context(house()) for size in sizes}
        sides = {size: await ours(home, theirs, f"of-{size}", size, 1, 1) for size, home in homes.items()}
        sent = dict.fromkeys(sizes, 0)
        for size, side in sides.items():  # the first events on a stream cost more
            sent[size] += (await side.pace(per_s, max(1.0, 2 * size / per_s))).done
        for _ in range(rounds):
            for size, side in sides.items():
                paced = await side.pace(per_s, seconds)
                sent[size] += paced.done
                taken[size].append(paced.per_event_s)
        for size, home in homes.items():
            await asyncio.to_thread(check_stored, home, sent[size])
    costs = [statistics.median(taken[size]) for size in sizes]
    told = ", ".join(f"{size} streams: {cost * MICRO:.0f} us" for size, cost in zip(sizes, costs, strict=True))
    return [judged(
        "e2e", "E5", max(costs) * MICRO, "us CPU/event", n=int(per_s * seconds) * rounds * len(sizes),
        baseline=costs[0] * MICRO, ratio=max(costs) / costs[0], at_most=1.2, quick=quick,
        note=f"{told}; {per_s:g} events/s in all, the whole process with all it does beside",
    )]  # fmt: skip


def run(quick: bool) -> Iterator[Row]:
    """Every row; `quick` takes E1 to E3 alone, with fewer events, and judges at 0.7."""
    if quick:
        yield from asyncio.run(both(1, 20, 0.5, (400, 40), quick))
        return
    yield from asyncio.run(both(5, 20, 5.0, (400, 40), quick))
    yield from asyncio.run(crowded(1000, 5000, 50, 5.0, quick))
    yield from asyncio.run(growing((100, 1000, 5000), 1000, 5.0, 5, quick))
