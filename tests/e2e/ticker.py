"""A provider that never stops talking: numbered frames by the clock, on Mindra's wire, for any number of runs.

Frame n of every run is said at n ticks after the start, whoever listens; a connection gets what came since its
Last-Event-ID, or everything. So the truth is known without asking anybody, and so is each connection's life.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@dataclass(slots=True)
class Listening:
    """One connection to a run's stream, in monotonic seconds; `until_s` None: open."""

    run: str
    from_s: float
    until_s: float | None = None


class Ticker:
    """Runs in a thread of its own."""

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self.url = ""
        self.heard: list[Listening] = []
        self._began = time.monotonic()
        self._last: int | None = None  # the number of the last frame, once it is to end
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ticker", daemon=True)

    def open(self, run: str = "") -> list[Listening]:
        """The open connections, of one run or of all."""
        return [one for one in self.heard if one.until_s is None and (not run or one.run == run)]

    def times(self, run: str) -> int:
        """How often a run's stream was joined."""
        return sum(one.run == run for one in self.heard)

    def finish(self) -> None:
        """A few frames more, and then every run is done."""
        self._last = self._number() + 3

    def told(self) -> list[str]:
        """The payloads of every run, in order, after finish()."""
        assert self._last is not None
        return [_data(number) for number in range(self._last + 1)] + [DONE]

    def _number(self) -> int:
        return int((time.monotonic() - self._began) / self.tick_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one: Listening | None = None
        gone = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            found = re.match(r"GET /api/v1/workflows/execute/([^/ ]+)/stream", head)
            if found is None:
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            last_id = re.search(r"last-event-id: \S+-(\d+)", head, re.IGNORECASE)
            one = Listening(found[1], time.monotonic())
            self.heard.append(one)
            writer.write(HEAD)
            gone = asyncio.create_task(reader.read(1))  # they say nothing more until they leave
            await self._tell(found[1], int(last_id[1]) + 1 if last_id else 0, writer, gone)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if one is not None:
                one.until_s = time.monotonic()
            if gone is not None:
                gone.cancel()
            writer.close()

    async def _tell(self, run: str, number: int, writer: asyncio.StreamWriter, gone: "asyncio.Task[bytes]") -> None:
        while self._last is None or number <= self._last:
            if number > self._number():
                due_s = self._began + number * self.tick_s - time.monotonic()
                await asyncio.wait({gone}, timeout=max(due_s, 0.001))
                if gone.done():
                    return
                continue
            writer.write(f"id: {run}-{number}\nevent: chunk\ndata: {_data(number)}\n\n".encode())
            await writer.drain()
            number += 1
        writer.write(f"id: {run}-{number}\nevent: done\ndata: {DONE}\n\n".encode())
        await writer.drain()

    def _start(self) -> None:
        self._thread.start()
        made = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = made.result(30)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _close(self) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


DONE = '{"status":"completed","final_answer":"time is up"}'


def _data(number: int) -> str:
    return json.dumps({"content": f"tick {number} "})


@contextmanager
def ticker(tick_s: float = 0.5) -> Iterator[Ticker]:
    """A running ticker; ends with the block."""
    made = Ticker(tick_s)
    made._start()
    try:
        yield made
    finally:
        made._close()
