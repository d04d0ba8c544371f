"""A process that holds streams in one of several ways: `python -m dashboard.bench.subject WAY URL [CA]`.

`ours` is the product's exchange, listener and decoder, with an ear in place of the reader that only counts; `naive` is
httpx with httpx-sse; `streams` and `protocol` are asyncio alone. Each checks the number of every event it gets. It
takes commands on stdin, one JSON object a line, each answered by one line.
"""

import asyncio
import gc
import json
import os
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Protocol
from uuid import uuid4

from dashboard import memory
from dashboard.bench.provider import N_AT, raise_file_limit

TOGETHER = 64  # opened at once, as the product does at one provider
TLS_BUFFER_BYTES = 16 * 1024
PATIENT_S = 3600.0  # a busy machine is no fault of what is measured
ROOT = Path(__file__).resolve().parent.parent.parent


class Held(Protocol):
    """One held stream. `heard` events came so far, each once and in order."""

    @property
    def heard(self) -> int: ...

    async def open(self, url: str) -> None: ...
    async def listen(self) -> None: ...
    async def close(self) -> None: ...


def number_of(data: str | bytes) -> int:
    """The number that an event's data tells."""
    return int(data[N_AT])


def expect(number: int, before: int) -> None:
    """Raises where an event was lost, doubled or reordered."""
    if number != before + 1:
        raise RuntimeError(f"event {number} came behind event {before}")


# --- ways -----------------------------------------------------------------------------------------------------------


class Ear:
    """In place of the reader: counts, folds nothing, stores nothing."""

    def __init__(self) -> None:
        self.connected = self.ended = self.closed = self.waiting = False
        self.heard_at, self.placed_id = 0.0, ""
        self.heard = 0

    async def hand_in(self, frames: Sequence[Any]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        for frame in frames:
            if frame.event == "chunk":
                expect(number_of(frame.data), self.heard)
                self.heard += 1

    async def take(self, frames: Sequence[Any]) -> None:
        await self.hand_in(frames)

    async def settled(self) -> None: ...
    async def let_go(self) -> None: ...
    def on_failure(self, call: Callable[[], object]) -> None: ...


class Ours:
    """As a holder does it."""

    def __init__(self, ca: str) -> None:
        from streams.client import Exchange
        from streams.listen import Listener

        self._ear = Ear()
        self._listener = Listener(uuid4(), self._ear)  # type: ignore[arg-type]
        self._exchange = Exchange()

    @property
    def heard(self) -> int:
        return self._ear.heard

    async def open(self, url: str) -> None:
        from streams.providers.base import Call

        self._response = await self._exchange.send(Call("GET", url, {"x-api-key": "k"}, repeatable=True, streams=True))

    async def listen(self) -> None:
        await self._listener.read(HELD, self._exchange, self._response)

    async def close(self) -> None:
        await self._response.aclose()
        await self._exchange.aclose()


class _Mindra:
    """What the listener asks of a held run."""

    def __init__(self) -> None:
        from streams.providers.mindra import Mindra

        self.adapter = Mindra()
        self.adapter.capabilities = replace(Mindra.capabilities, stall_s=PATIENT_S)


HELD: Any = None


class Naive:
    """httpx and httpx-sse at their best: a client for each stream, one context for all, no limits."""

    context: ssl.SSLContext | None = None

    def __init__(self, ca: str) -> None:
        import httpx

        Naive.context = Naive.context or httpx.create_ssl_context(verify=ca or True, trust_env=False)
        self._client = httpx.AsyncClient(verify=Naive.context, timeout=None, trust_env=False)  # noqa: S113
        self.heard = 0

    async def open(self, url: str) -> None:
        headers = {"x-api-key": "k", "accept": "text/event-stream", "cache-control": "no-store"}
        request = self._client.build_request("GET", url, headers=headers)
        self._response = await self._client.send(request, stream=True)

    async def listen(self) -> None:
        from httpx_sse import EventSource

        async for event in EventSource(self._response).aiter_sse():
            if event.event == "chunk":
                expect(number_of(event.data), self.heard)
                self.heard += 1

    async def close(self) -> None:
        await self._response.aclose()
        await self._client.aclose()


class Streams:
    """asyncio's streams: read, split at blank lines, nothing else."""

    context: ssl.SSLContext | None = None

    def __init__(self, ca: str) -> None:
        if ca and Streams.context is None:
            asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES  # type: ignore[attr-defined]
            Streams.context = ssl.create_default_context(cafile=ca)
        self.heard = 0

    async def open(self, url: str) -> None:
        _, _, at, path = url.split("/", 3)
        host, port = at.split(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port), ssl=Streams.context)
        self._writer.write(f"GET /{path} HTTP/1.1\r\nhost: {at}\r\n\r\n".encode())
        await self._reader.readuntil(b"\r\n\r\n")

    async def listen(self) -> None:
        while data := await self._reader.read(65_536):
            self.heard = heard_raw(data, self.heard)

    async def close(self) -> None:
        self._writer.close()


class Raw(asyncio.Protocol):
    """The least that asyncio can do: the bytes of each arrival, looked at once."""

    def __init__(self, ca: str) -> None:
        self.heard, self._head = 0, b""

    async def open(self, url: str) -> None:
        _, _, at, path = url.split("/", 3)
        host, port = at.split(":")
        loop = asyncio.get_running_loop()
        self._opened, self._over = loop.create_future(), loop.create_future()
        self._transport, _ = await loop.create_connection(lambda: self, host, int(port))
        self._transport.write(f"GET /{path} HTTP/1.1\r\nhost: {at}\r\n\r\n".encode())
        await self._opened

    def data_received(self, data: bytes) -> None:
        if not self._opened.done():
            self._opened.set_result(None)
            data = data.partition(b"\r\n\r\n")[2]
        self.heard = heard_raw(data, self.heard)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set_result(None)

    async def listen(self) -> None:
        await self._over

    async def close(self) -> None:
        self._transport.abort()


def heard_raw(data: bytes, heard: int) -> int:
    """How many events were heard with these bytes, which hold whole events."""
    for part in data.split(b"\ndata: ")[1:]:
        if part.startswith(b'{"n"'):
            expect(number_of(part), heard)
            heard += 1
    return heard


WAYS: dict[str, Callable[[str], Held]] = {"ours": Ours, "naive": Naive, "streams": Streams, "protocol": Raw}


# --- the process ----------------------------------------------------------------------------------------------------


def rss_bytes(pid: int | str = "self") -> int:
    """What a process has resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Subject:
    """What the commands do."""

    def __init__(self, way: str, url: str, ca: str) -> None:
        self._way, self._url, self._ca = way, url, ca
        self._held: list[Held] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def obey(self, said: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        match said["do"]:
            case "open":
                return await self._open(said["group"], said["n"])
            case "close":
                return await self._close()
            case "cpu":
                return {"cpu_s": time.process_time(), "heard": sum(held.heard for held in self._held)}
            case "rss":
                gc.collect()
                return {"rss_bytes": rss_bytes()}
            case "post":
                return await self._post(said["n"])
        raise ValueError(said["do"])

    async def _open(self, group: str, n: int) -> dict[str, Any]:
        cpu = time.process_time()
        for start in range(0, n, TOGETHER):
            fresh = [WAYS[self._way](self._ca) for _ in range(start, min(n, start + TOGETHER))]
            urls = (f"{self._url}/execute/{group}-{start + at:05}/stream" for at in range(len(fresh)))
            await asyncio.gather(*(held.open(url) for held, url in zip(fresh, urls, strict=False)))
            self._tasks += [asyncio.create_task(held.listen()) for held in fresh]
            self._held += fresh
        return {"cpu_s": time.process_time() - cpu}

    async def _close(self) -> dict[str, Any]:
        """Those that ended badly say so."""
        cpu = time.process_time()
        for task in self._tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for held in self._held:
            await held.close()
        self._tasks, self._held = [], []
        await asyncio.sleep(0)
        return {"cpu_s": time.process_time() - cpu}

    async def _post(self, n: int) -> dict[str, Any]:
        """Decisions, one after the other, as the courier lets them out."""
        from approvals import sending
        from streams.providers.base import Call

        http, taken = sending.client(), []
        for number in range(n):
            url = f"{self._url}/execute/run/approve/{number}"
            began = time.perf_counter()
            answer = await sending.send(http, Call("POST", url, {"x-api-key": "k"}, b"{}"))
            taken.append(time.perf_counter() - began)
            if not isinstance(answer, sending.Answered) or answer.status != 200:
                raise RuntimeError(f"a decision was not answered: {answer}")
        await http.aclose()
        return {"p50_s": statistics.median(taken), "n": n}


async def serve(way: str, url: str, ca: str) -> None:
    """Obey until stdin ends."""
    global HELD
    if way == "ours":
        from streams import client

        HELD = _Mindra()
        client.CONNECT_S = client.HEADERS_S = PATIENT_S
    if ca and way == "ours":
        trusted = ssl.create_default_context(cafile=ca)
        client.tls_context = lambda: trusted  # type: ignore[assignment]
    subject, loop = Subject(way, url, ca), asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        sys.stdout.write(json.dumps(await subject.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


class Process:
    """A process that obeys commands, as a bench sees it."""

    def __init__(self, process: "Popen[str]") -> None:
        self._process = process

    def do(self, what: str, **more: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a bench's process ended by itself; its last words are above")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def subject(way: str, url: str, ca: str = "") -> Iterator[Process]:
    """A process that holds streams in this way."""
    command = [sys.executable, "-m", "dashboard.bench.subject", way, url, ca]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as process:  # noqa: S603
        try:
            yield Process(process)
        finally:
            process.kill()


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
        django.setup()
    raise_file_limit()
    memory.prepare()  # as the server does; every way of holding gets it
    asyncio.run(serve(*sys.argv[1:4]))
