"""A long run of everything at once: pages that come and go, streams, decisions, a fault every half minute.

    python -m tests.soak [--minutes 20] [--sockets 50] [--streams 20] [--decisions-a-minute 10] [--seed N]

One real server (SQLite) and one emulator. Afterwards every rule of a campaign must hold; the server's memory and open
files are sampled all the while, and their slope behind the warm-up (a quarter of the time) is told.
Prints one JSON object of figures; exits 1 if a rule is broken, a good page was closed, or files leak.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.countersign import approvals, countersign, eventually
from tests.e2e.rules import broken_rules
from tests.e2e.stage import KINDS, Stage
from tests.emulator import emulator
from tests.fifty_decisions import Session, settings, settle

SAMPLE_S = 5.0
FAULT_EVERY_S = 30.0
ACK_EVERY, ACK_S = 32, 5.0  # as a page does
DOUBT_S = 60.0  # how old a doubt is when somebody looks into it: what was under way has ended by then
# Not `duplicate`: without ids nothing tells a frame said twice from two frames, and both are kept.
FAULTS: tuple[dict[str, Any], ...] = (
    {"fault": "cut", "times": 3},
    {"fault": "slow", "times": 3},
    {"fault": "keepalive", "times": 3},
    {"fault": "line-end", "times": 3},
    {"fault": "status", "times": 3, "on": "stream", "code": 503},
    {"fault": "status", "times": 2, "on": "stream", "code": 429, "retry_after": "1"},
    {"fault": "wrong-type", "times": 1},
    {"fault": "effect-then-drop", "times": 1},
    {"fault": "drop-before-effect", "times": 1},
)

Row = dict[str, Any]


@dataclass
class Pages:
    """So many sockets, one of which leaves and another comes each second; a thread with a loop of its own."""

    url: str
    cookie: str
    count: int
    rng: random.Random
    frames: int = 0
    opened: int = 0
    closed: Counter[int] = field(default_factory=Counter)  # by the server, with this code
    refused: int = 0
    _ending: bool = False

    def run(self) -> None:
        asyncio.run(self._run())

    def end(self) -> None:
        self._ending = True

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._page()) for _ in range(self.count)]
        while not self._ending:
            await asyncio.sleep(1.0)
            place = self.rng.randrange(len(tasks))
            tasks[place].cancel()
            await asyncio.gather(tasks[place], return_exceptions=True)
            tasks[place] = asyncio.create_task(self._page())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _page(self) -> None:
        """One page: it comes back when it is closed, as the script in a browser does."""
        while True:
            try:
                async with connect(
                    f"{self.url.replace('http', 'ws')}/ws/inbox/",
                    additional_headers={"Cookie": self.cookie},
                    origin=self.url,  # type: ignore[arg-type]
                    max_size=None,
                ) as socket:
                    self.opened += 1
                    await self._read(socket)
            except ConnectionClosed as exc:
                self.closed[exc.rcvd.code if exc.rcvd else 0] += 1
            except (OSError, InvalidHandshake, TimeoutError):
                self.refused += 1
            await asyncio.sleep(self.rng.uniform(0.5, 2.0))

    async def _read(self, socket: ClientConnection) -> None:
        had = told = 0
        told_at = time.monotonic()
        async for _ in socket:
            had += 1
            self.frames += 1
            if had - told >= ACK_EVERY or time.monotonic() - told_at > ACK_S:
                told, told_at = had, time.monotonic()
                await socket.send(json.dumps({"type": "ack", "n": had}))


@dataclass
class Samples:
    """Memory (MiB) and open files of a process, over time (s)."""

    pid: int
    at: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(SAMPLE_S):
            with suppress(OSError):
                pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
                self.files.append(len(os.listdir(f"/proc/{self.pid}/fd")))
                self.rss_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
                self.at.append(time.monotonic() - began)

    def end(self) -> None:
        self._over.set()

    def behind_warm_up(self) -> tuple[list[float], list[float], list[int]]:
        start = len(self.at) // 4
        return self.at[start:], self.rss_mib[start:], self.files[start:]


def slope_per_hour(at_s: list[float], values: list[float]) -> float:
    """Least squares. 0 for fewer than two samples."""
    if len(at_s) < 2:
        return 0.0
    middle_s, middle = sum(at_s) / len(at_s), sum(values) / len(values)
    spread = sum((at - middle_s) ** 2 for at in at_s)
    rise = sum((at - middle_s) * (value - middle) for at, value in zip(at_s, values, strict=True))
    return rise / spread * 3600 if spread else 0.0


@contextmanager
def beside(*work: Pages | Samples) -> Iterator[None]:
    threads = [threading.Thread(target=one.run, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for one in work:
            one.end()
        for thread in threads:
            thread.join(30)


def soak(
    folder: Path, *, minutes: float = 20.0, sockets: int = 50, streams: int = 20, decisions_a_minute: float = 10.0,
    seed: int = 1,
) -> Row:  # fmt: skip
    """Run it and return the figures; `broken` lists what did not hold."""
    rng = random.Random(seed)
    with (
        emulator("all", state=folder / "emulator", pace="real", seed=seed) as agents,
        countersign(folder / "data", env=settings("")) as house,
    ):
        session = Session(house, agents, rng, "both", KINDS)
        session.sign_in()
        Stage(house, agents, session.api).account(*KINDS)
        assert house.process is not None
        assert session.browser is not None
        cookie = "; ".join(f"{name}={value}" for name, value in session.browser.cookies.items())
        pages = Pages(house.url, cookie, sockets, random.Random(seed + 1))
        samples = Samples(house.process.pid)
        faults: list[str] = []
        began = time.monotonic()
        next_fault, next_decision, next_fill, next_look, drift = FAULT_EVERY_S, 5.0, 0.0, DOUBT_S, 0
        doubts: dict[str, float] = {}  # request -> when it was first seen to be unknown
        looked_into = 0
        with beside(pages, samples):
            while (passed := time.monotonic() - began) < minutes * 60:
                if passed >= next_fault:
                    fault = rng.choice(FAULTS)
                    agents.arm(**fault)
                    faults.append(str(fault["fault"]))
                    next_fault += FAULT_EVERY_S
                if passed >= next_fill:
                    if len([run for run in agents.runs() if run["status"] not in ("finished", "failed")]) < streams:
                        session.start_runs()
                    next_fill = passed + 1.0
                if passed >= next_decision:
                    session.decide_one()
                    next_decision += 60 / decisions_a_minute
                if passed >= next_look:
                    for row in approvals(session.api, status="unknown"):
                        doubts.setdefault(row["id"], passed)
                    old = [key for key, since in doubts.items() if since <= passed - DOUBT_S]
                    looked_into += sum(session.look_into(key) for key in old)
                    next_look = passed + DOUBT_S / 4
                time.sleep(0.1)
            agents.disarm()
            rows = settle(session)
            drift = eventually(lambda: _drift(session) == 0, why="the number in the rail is the database's") is not True
            pid_after = house.process.pid
        broken = broken_rules(session)
        session.sign_out()
        at_s, rss_mib, files = samples.behind_warm_up()
        bad_codes = {code: count for code, count in pages.closed.items() if code not in (1000, 1001, 1012)}
        if bad_codes or pages.refused:
            broken.append(f"pages were closed or refused: {bad_codes}, {pages.refused} refused")
        if pid_after != samples.pid:
            broken.append("the server was another process at the end")
        if files and max(files[-5:]) > max(files[:10]) + 20:
            broken.append(f"open files grew from {max(files[:10])} to {max(files[-5:])}")
        return {
            "seed": seed,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "runs": len(session.run_ids),
            "streams_compared": session.compared,
            "requests": len(rows),
            "decisions": sum(1 for row in rows if row["decision"]),
            "statuses": dict(Counter(row["status"] for row in rows)),
            "looked_into": looked_into,
            "faults": dict(Counter(faults)),
            "pages_opened": pages.opened,
            "frames": pages.frames,
            "closed_by_server": dict(pages.closed),
            "badge_drift": int(drift),
            "rss_mib": [round(rss_mib[0], 1), round(rss_mib[-1], 1)] if rss_mib else [],
            "rss_slope_mib_an_hour": round(slope_per_hour(at_s, rss_mib), 2),
            "files": [files[0], files[-1]] if files else [],
            "broken": broken,
        }


def _drift(session: Session) -> int:
    """How far the inbox's number is from what the API says."""
    assert session.browser is not None
    page = session.browser.get("/").text
    shown = int(page.split('id="rail-inbox">', 1)[1].split("<", 1)[0])
    waiting = len(approvals(session.api, status="pending")) + len(approvals(session.api, status="unknown"))
    return shown - waiting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--sockets", type=int, default=50)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--decisions-a-minute", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    with tempfile.TemporaryDirectory(prefix="countersign-soak-") as folder:
        figures = soak(Path(folder), **vars(parser.parse_args()))
    print(json.dumps(figures, indent=1))
    sys.exit(1 if figures["broken"] else 0)


if __name__ == "__main__":
    main()
