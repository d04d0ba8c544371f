"""Redis away, flushed and back: decisions go on, pages catch up, nothing is lost. The server beside a holder."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.countersign import PATIENT_S, STOP_S, countersign, eventually, free_port
from tests.e2e.stage import Stage
from tests.e2e.workers import database, environment
from tests.emulator import emulator
from tests.faults.proxy import Proxy, proxy
from tests.long_form import LONG
from tests.plugins.figures import Figure

pytestmark = [
    pytest.mark.process,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.long,
]

AWAY_S = 75.0 if LONG else 0.0  # longer than anything here gives up after
RUNS = 3


class Redis:
    """A Redis of our own where the machine has the program, else the machine's: that one is only cut off."""

    def __init__(self) -> None:
        self._program = shutil.which("redis-server")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}" if self._program else os.environ["COUNTERSIGN_TEST_REDIS_URL"]

    def start(self) -> None:
        """Start it, empty."""
        if self._program is None:
            return
        command = [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
            return False

        eventually(listens, why="redis listens")

    def end(self) -> None:
        """kill -9: what it had is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None


@contextmanager
def redis() -> Iterator[tuple[Redis, Proxy]]:
    """It, and the way there."""
    made = Redis()
    made.start()
    try:
        with proxy(made.url) as between:
            yield made, between
    finally:
        made.end()


class Page:
    """The inbox of somebody who is signed in, as its socket tells it; it comes back when it is cut off."""

    def __init__(self, house: Any) -> None:
        with closing(house.pages()) as browser:
            cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
        self._address, self._origin = f"ws://127.0.0.1:{house.port}/ws/inbox/", house.url
        self._headers = {"Cookie": cookies}
        self._frames: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="page", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            with (
                suppress(ConnectionClosed, InvalidHandshake, OSError),
                connect(
                    self._address,
                    origin=self._origin,
                    additional_headers=self._headers,
                    proxy=None,
                    max_size=None,
                ) as wire,
            ):
                count = 0
                while not self._over.is_set():
                    with suppress(TimeoutError):
                        text = wire.recv(timeout=0.2)
                        self._frames.append((time.monotonic(), str(text)))
                        count += 1
                        wire.send(json.dumps({"type": "ack", "n": count}))  # or it would be taken for one that sleeps
            self._over.wait(0.2)

    def shows(self, request_id: str) -> float:
        """When it was first told of this request, in monotonic seconds; 0: it was not."""
        return next((at for at, text in list(self._frames) if request_id in text), 0.0)

    def close(self) -> None:
        self._over.set()
        self._thread.join(PATIENT_S)


def asked_and_shown(on: Stage, page: Page) -> tuple[list[dict[str, Any]], float]:
    """Start some runs; their requests, and how long after it was asked the page knew of the slowest."""
    runs = [on.start("the-mindra", "outbound-email") for _ in range(RUNS)]
    asked = [on.asked(run_id)[0] for run_id in runs]
    there = time.monotonic()
    for row in asked:
        eventually(lambda row=row: page.shows(row["id"]), why="the page shows it")  # type: ignore[misc]
    return asked, max(0.0, *(page.shows(row["id"]) - there for row in asked))


def test_decisions_and_pages_without_redis(tmp_path: Path, figure: Figure) -> None:
    with (
        database() as url,
        emulator("mindra", state=tmp_path / "emulator") as agents,
        redis() as (server, between),
    ):
        env = {**environment(tmp_path / "data", url), "REDIS_URL": between.url, "COUNTERSIGN_UNDO_S": "0"}
        with countersign(tmp_path / "data", env=env) as house:
            on = Stage(house, agents, house.api())
            on.account("mindra")
            page = Page(house)
            try:
                decided, _ = asked_and_shown(on, page)
                between.refuse()
                between.end("reset")
                server.end()
                began = time.monotonic()
                house.add_holder()  # one that begins without Redis is no worse
                asked, late_s = asked_and_shown(on, page)
                for row in (*decided, *asked):
                    on.approve(row)
                for row in (*decided, *asked):
                    on.becomes(row["id"], "delivered")
                more, again_s = asked_and_shown(on, page)
                late_s, decided = max(late_s, again_s), [*decided, *asked]
                time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
                assert house.process is not None
                assert house.process.poll() is None

                server.start()
                between.listen()
                for row in more:
                    on.approve(row)
                asked, back_s = asked_and_shown(on, page)
                for row in asked:
                    on.approve(row)
                decided += [*more, *asked]
                for row in decided:
                    on.becomes(row["id"], "delivered")
                wrong = [row["id"] for row in decided if on.did(row) != (1, 0, 1, 0)]
                assert wrong == []
                assert house.holders[0].poll() is None, "the holder ended"
                worst_s = round(max(late_s, back_s), 1)
                figure("D5", worst=worst_s, n=4 * RUNS, unit="s until the page knew; 0 decisions lost or doubled")
            finally:
                page.close()
                on.api.close()
