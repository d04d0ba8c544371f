"""A provider's address on loopback that answers decisions as a test wants, and keeps what it heard."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def status(code: int, body: str = "", **headers: str) -> Answer:
    """A whole HTTP answer."""
    lines = [
        f"HTTP/1.1 {code} x",
        f"Content-Length: {len(body)}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    return answer


async def drop(writer: asyncio.StreamWriter) -> None:
    """Take the request and hang up."""


async def reset(writer: asyncio.StreamWriter) -> None:
    """Take the request and break the connection."""
    writer.transport.abort()


async def silence(writer: asyncio.StreamWriter) -> None:
    """Take the request and say nothing."""
    await asyncio.sleep(3600)


async def endless(writer: asyncio.StreamWriter) -> None:
    """An answer whose body never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await writer.drain()


async def broken_body(writer: asyncio.StreamWriter) -> None:
    """A status that counts and a body that breaks off."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


@dataclass
class Agent:
    """What was heard: (headers, JSON body) of each request, in order."""

    url: str
    heard: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    otherwise: Answer = field(default_factory=lambda: status(200, "{}"))
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.heard.append((headers, json.loads(body or b"null")))
            self.came.set()
            await (self.script.pop(0) if self.script else self.otherwise)(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def agent() -> AsyncIterator[Agent]:
    """Serve on an ephemeral port until the block is left."""
    made = Agent("")
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
