"""Many WebSockets in one process: a client that does no more than a measurement needs."""

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
OPEN_S = 60
TOGETHER = 50  # handshakes under way at once


class SocketClient(asyncio.Protocol):
    """One WebSocket. `heard(payload)` is called for each text frame; `closed` holds the code, 1006 without one."""

    def __init__(self, request: bytes, heard: Callable[[bytes], None]) -> None:
        self.heard = heard
        self.opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()  # the HTTP status
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.frames = 0
        self._request, self._waiting, self._code = request, b"", 1006
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._waiting + data if self._waiting else data
        if not self.opened.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._waiting = head
                return
            self.opened.set_result(int(head.split(b" ", 2)[1]))
        self._waiting = self._take(data)

    def _take(self, data: bytes) -> bytes:
        """Handle each whole frame; what is left of the last one."""
        at, end = 0, len(data)
        while end - at >= 2:
            kind, length, start = data[at] & 15, data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start > end or start + length > end:
                break
            at = start + length
            payload = data[start:at]
            if kind == TEXT:
                self.frames += 1
                self.heard(payload)
            elif kind == PING:
                self.send(payload, PONG)
            elif kind == CLOSE:
                self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.send(payload, CLOSE)
                self.transport.close()
        return data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(0)
        if not self.closed.done():
            self.closed.set_result(self._code)

    def send(self, payload: bytes, kind: int = TEXT) -> None:
        """One frame. Its mask is zero, which is allowed and costs nothing."""
        size = len(payload)
        if size < 126:
            length = bytes([128 | size])
        elif size < 65_536:
            length = b"\xfe" + size.to_bytes(2, "big")
        else:
            length = b"\xff" + size.to_bytes(8, "big")
        self.transport.write(bytes([128 | kind]) + length + bytes(4) + payload)

    def say(self, **frame: object) -> None:
        """One text frame with this as JSON."""
        self.send(json.dumps(frame).encode())


def handshake(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The request that opens a socket on loopback."""
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Origin": f"http://127.0.0.1:{port}",
        **(headers or {}),
    }
    head = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    return "\r\n".join(head).encode()


async def connect(
    port: int, path: str, heard: Callable[[bytes], None], headers: Mapping[str, str] | None = None
) -> SocketClient:
    """An open socket. Raises ConnectionError if it was refused."""
    request = handshake(port, path, headers)
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: SocketClient(request, heard), "127.0.0.1", port
    )
    status = await asyncio.wait_for(client.opened, OPEN_S)
    if status != 101:
        client.transport.abort()
        raise ConnectionError(f"{path} answered {status}")
    return client


async def connect_all(
    port: int, path: str, ears: Sequence[Callable[[bytes], None]], headers: Mapping[str, str] | None = None
) -> list[SocketClient]:
    """One open socket an ear."""
    made: list[SocketClient] = []
    for start in range(0, len(ears), TOGETHER):
        made += await asyncio.gather(*(connect(port, path, ear, headers) for ear in ears[start : start + TOGETHER]))
    return made
