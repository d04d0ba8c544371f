"""A provider's server on loopback that answers each request with the next of a test's answers, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Scripted:
    """`answers` are given in turn; the last one again and again. `pick` chooses by the request instead."""

    answers: list[Answer]
    pick: Callable[[Asked], Answer] | None = None
    requests: list[Asked] = field(default_factory=list)
    url: str = ""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def heard(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(":")
                assert name.lower() not in headers, f"{name} came twice"
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, path, headers, body)
            answer = self.pick(asked) if self.pick else self.answers[min(len(self.requests), len(self.answers) - 1)]
            async with self._arrived:
                self.requests.append(asked)
                self._arrived.notify_all()
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


@asynccontextmanager
async def scripted(*answers: Answer, pick: Callable[[Asked], Answer] | None = None) -> AsyncIterator[Scripted]:
    script = Scripted(list(answers), pick)
    server = await asyncio.start_server(script._serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        for task in list(script._tasks):
            task.cancel()
        await asyncio.gather(*script._tasks, return_exceptions=True)


def plain(status: int, body: bytes | str = b"", **headers: str) -> bytes:
    """A whole answer; underscores in header names stand for dashes."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n"


def stream(*frames: bytes) -> bytes:
    """A stream that ends behind its frames."""
    return STREAM_HEAD + b"".join(frames)


def staying(*frames: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """A stream that stays open behind its frames."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(frames))
        await writer.drain()
        await asyncio.Event().wait()

    return answer


async def silence(writer: asyncio.StreamWriter) -> None:
    """The request arrived, and the connection breaks without a word."""


def frame(kind: str, data: str, own_id: str = "") -> bytes:
    given = f"id: {own_id}\n" if own_id else ""
    return f"{given}event: {kind}\ndata: {data}\n\n".encode()


def texts(words: Iterable[object]) -> list[bytes]:
    return [frame("text", str(word)) for word in words]


DONE = frame("done", '{"how": "finished"}')
