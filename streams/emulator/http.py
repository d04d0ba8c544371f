"""A small HTTP/1.1 server on asyncio streams: exact on the wire, and able to break off anywhere."""

import asyncio
import json
import socket
import struct
import urllib.parse
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 32 * 1024 * 1024
SSE = "text/event-stream; charset=utf-8"


class Hangup(Exception):
    """The connection is over, by our will or the client's: nothing more may be written."""


class BadRequest(Exception):
    """What came is not HTTP/1.1 as we speak it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. Header names are lower case; the last of a repeated header counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError (RecursionError when it is nested too deep)."""
        return json.loads(self.body)


class Connection:
    """One client: its requests one after the other, each answered whole, as a stream, or cut off."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.spent = False  # no further request is read
        transport_socket = writer.get_extra_info("socket")
        if transport_socket is not None:
            transport_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def read_request(self) -> Request | None:
        """The next request; None at a clean end. Raises BadRequest."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as exc:
            raise BadRequest("head too long") from exc
        first, *lines = head.decode("latin-1").split("\r\n")
        try:
            method, target, version = first.split(" ")
        except ValueError as exc:
            raise BadRequest("no request line") from exc
        pairs = [line.partition(":") for line in lines if line]
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("connection", "").lower() == "close" or version == "HTTP/1.0":
            self.spent = True
        path, _, query = target.partition("?")
        return Request(
            method=method,
            path=urllib.parse.unquote(path),
            query=dict(urllib.parse.parse_qsl(query)),
            headers=headers,
            body=await self._body(headers),
        )

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if "chunked" in headers.get("transfer-encoding", "").lower():
                return await self._chunked_body()
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= MAX_BODY_BYTES:
                raise BadRequest("body too long")
            return await self.reader.readexactly(length)
        except (ValueError, asyncio.IncompleteReadError) as exc:
            raise BadRequest("broken body") from exc

    async def _chunked_body(self) -> bytes:
        body = bytearray()
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            if size < 0 or len(body) + size > MAX_BODY_BYTES:
                raise BadRequest("body too long")
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return bytes(body)

    async def answer(
        self, status: int, body: bytes = b"", *, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer whole, with a Content-Length."""
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        if self.spent:
            fields["connection"] = "close"
        await self._send(_head(status, fields) + body)

    async def answer_json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON."""
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        await self.answer(status, body, content_type="application/json", headers=headers)

    async def open_stream(self, content_type: str = SSE) -> None:
        """Begin a chunked answer; the connection is not used again after it."""
        self.spent = True
        fields = {"content-type": content_type, "cache-control": "no-cache", "transfer-encoding": "chunked"}
        await self._send(_head(200, {**fields, "connection": "close"}))

    async def write(self, data: bytes) -> None:
        """One chunk of an open stream."""
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """The clean end of an open stream."""
        await self._send(b"0\r\n\r\n")

    async def _send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (ConnectionError, OSError) as exc:
            raise Hangup from exc
        if self.writer.is_closing():
            raise Hangup

    def reset(self) -> None:
        """Break the connection with a TCP reset: what was not read is lost, and nothing says why."""
        self.spent = True
        transport_socket = self.writer.get_extra_info("socket")
        if transport_socket is not None:
            transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def while_connected(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a job that writes a stream, until it ends or the client goes away (then Hangup is raised)."""
        task = asyncio.create_task(job)
        gone = asyncio.create_task(self.reader.read(1))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and _says_goodbye(gone):
                raise Hangup
            await task
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


def _says_goodbye(read: asyncio.Task[bytes]) -> bool:
    """Whether a finished read means that the client closed; a byte too many does not."""
    return read.done() and (read.exception() is not None or read.result() == b"")


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
