"""Connections of our own under httpx: plain and TLS, large bodies both ways, who waits for whom, and how they break."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from dashboard.bench.certificates import certificate
from streams import client, network
from streams.client import CallUnanswered, CallUnsent, Exchange
from streams.network import BODY, HIGH_BYTES, Transport, reading
from streams.providers.base import Call

LIMIT_S = 60
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(str(tmp_path_factory.mktemp("certificate")))


@asynccontextmanager
async def serving(serve: Serve, tls: tuple[str, str] | None = None) -> AsyncIterator[str]:
    """A server on loopback; its URL."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    async with asyncio.timeout(LIMIT_S):
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def trusting(paths: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=paths[0])
    monkeypatch.setattr(client, "tls_context", lambda: context)


def get(url: str) -> Call:
    return Call("GET", f"{url}/x", repeatable=True, streams=True)


async def body_of(response: httpx.Response) -> bytes:
    return b"".join([chunk async for chunk in response.aiter_raw()])


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.usefixtures("trusting")
async def test_large_bodies_both_ways(tls: bool, paths: tuple[str, str]) -> None:
    whole = bytes(range(256)) * 20_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        writer.write(HEAD + body[::-1])
        await writer.drain()

    async with serving(echo, paths if tls else None) as url:
        exchange = Exchange()
        response = await exchange.send(Call("POST", f"{url}/x", body=whole))
        assert await body_of(response) == whole[::-1]
        await exchange.aclose()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.usefixtures("trusting")
async def test_who_does_not_read_is_not_sent_everything(tls: bool, paths: tuple[str, str]) -> None:
    piece, written = b"x" * 65_536, 0
    stuck = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for _ in range(800):
            writer.write(piece)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stuck.set()
                await writer.drain()
            written += len(piece)

    async with serving(pour, paths if tls else None) as url:
        exchange = Exchange()
        response = await exchange.send(get(url))
        await stuck.wait()
        assert written < 800 * len(piece)
        pool = exchange._client._transport._pool  # type: ignore[attr-defined]
        pipe = pool.connections[0]._connection._network_stream._pipe
        assert pipe._came_bytes <= HIGH_BYTES + 256 * 1024
        assert len(await body_of(response)) == 800 * len(piece)
        await exchange.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_a_byte_left(paths: tuple[str, str]) -> None:
    asked: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))

    async with serving(keep, paths) as url:
        exchange = Exchange()
        with pytest.raises(CallUnsent, match="certificate"):
            await exchange.send(get(url))
        await exchange.aclose()
    assert not any(asked)


@pytest.mark.usefixtures("trusting")
async def test_a_server_that_speaks_no_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as url:
        exchange = Exchange()
        with pytest.raises(CallUnsent):
            await exchange.send(get(url.replace("http:", "https:")))
        await exchange.aclose()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.usefixtures("trusting")
async def test_a_connection_that_is_reset(tls: bool, paths: tuple[str, str]) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD.replace(b"connection: close", b"content-length: 100") + b"data: a\n\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with serving(reset, paths if tls else None) as url:
        exchange = Exchange()
        response = await exchange.send(get(url))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await body_of(response)
        await exchange.aclose()


async def test_no_answer_after_the_request_is_no_unsent_call() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with serving(hang_up) as url:
        exchange = Exchange()
        with pytest.raises(CallUnanswered):
            await exchange.send(Call("POST", f"{url}/x", body=b"{}"))
        await exchange.aclose()


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serving(deaf) as url:
        transport = Transport(ssl.create_default_context(), ())
        async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, write=0.2)) as http:
            with pytest.raises(httpx.WriteTimeout):
                await http.post(f"{url}/x", content=b"x" * 50_000_000)


async def test_a_connection_is_used_again_unless_its_server_closed_it() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    opened, close, closed = 0, asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await close.wait()
        writer.close()
        await writer.wait_closed()
        closed.set()

    transport = Transport(ssl.create_default_context(), ())
    async with serving(serve) as url, httpx.AsyncClient(transport=transport) as http:
        assert (await http.get(url)).content == (await http.get(url)).content == b"ok"
        assert opened == 1
        close.set()
        await closed.wait()
        pipe = transport._pool.connections[0]._connection._network_stream._pipe  # type: ignore[attr-defined]
        while not pipe.readable:
            await asyncio.sleep(0.005)
        assert (await http.get(url)).content == b"ok"
        assert opened == 2


class NoTransport(asyncio.Transport):
    def abort(self) -> None: ...


class Pieces(network._Pipe):
    """A connection on which these pieces come, one a read."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = [*pieces, b""]
        self.transport = NoTransport()

    async def read(self) -> bytes:
        return self._pieces.pop(0)

    async def write(self, data: bytes) -> None: ...


async def answered(pieces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    """The answer to a GET on such a connection, its body unread."""

    async def connect(*_: object, **__: object) -> network._Stream:
        return network._Stream(Pieces(pieces))

    monkeypatch.setattr(network._Backend, "connect_tcp", connect)
    transport = Transport(client.tls_context(), ())
    return await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1/x"))


async def body_read(response: httpx.Response) -> bytes:
    read, body = reading(response), b""
    while data := await read():
        body += data
    return body


CHUNKED = b"HTTP/1.1 200 OK\r\nx: y\r\nTransfer-Encoding: Chunked\r\n\r\n"
WIRE = b"9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n"
HEADS = {
    "CRLF": CHUNKED,
    "LF": CHUNKED.replace(b"\r\n", b"\n"),
    "mixed": CHUNKED.replace(b"\r\n\r\n", b"\n\r\n"),
    "behind a provisional one": b"HTTP/1.1 103 Early Hints\r\nlink: z\r\n\r\n" + CHUNKED,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_a_chunked_body_is_read_from_its_connection_wherever_the_bytes_are_cut(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = head + WIRE
    cuts = [[whole[:at], whole[at:]] for at in range(1, len(whole))]
    for pieces in [[whole], [whole[at : at + 1] for at in range(len(whole))], *cuts]:
        response = await answered(pieces, monkeypatch)
        assert BODY in response.extensions
        assert await body_read(response) == b"data: a\n\ndata: b\n\n"
        assert await body_of(await answered(pieces, monkeypatch)) == b"data: a\n\ndata: b\n\n"  # h11's own way


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n", b"data: a\n\ndata: b\n\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"data: a\n\ndata: b\n\n"),
        (b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n", WIRE),
    ],
    ids=["counted", "until the end", "of a refusal"],
)
async def test_any_other_body_is_httpx_s(head: bytes, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(1, len(head + body)):
        response = await answered([(head + body)[:at], (head + body)[at:]], monkeypatch)
        assert BODY not in response.extensions
        assert await body_read(response) == b"data: a\n\ndata: b\n\n"


@pytest.mark.parametrize(
    ("body", "why"), [(WIRE[:-5], network.CUT_OFF), (WIRE[:-1], network.CUT_OFF), (b"x\r\n", "size of a chunk")]
)
async def test_a_body_that_is_cut_off_or_broken_says_so(body: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    response = await answered([CHUNKED, body], monkeypatch)
    with pytest.raises(httpx.RemoteProtocolError, match=why):
        await body_read(response)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.usefixtures("trusting")
async def test_a_chunked_stream_of_a_server(tls: bool, paths: tuple[str, str]) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for number in range(2_000):
            data = b"data: %d %s\n\n" % (number, b"x" * (number % 700))
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
        writer.transport.abort()

    async with serving(stream, paths if tls else None) as url:
        exchange = Exchange()
        response = await exchange.send(get(url))
        read, came = reading(response), b""
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            while data := await read():
                came += data
        await response.aclose()
        pool = exchange._client._transport._pool  # type: ignore[attr-defined]
        assert pool.connections == []  # a body that was not read to its end leaves no connection behind
        await exchange.aclose()
    numbers = [int(one.split()[1]) for one in came.split(b"\n\n") if one]
    assert numbers == list(range(len(numbers)))


async def test_a_name_that_is_none(tmp_path: Path) -> None:
    exchange = Exchange()
    with pytest.raises(CallUnsent):
        await exchange.send(get("http://no-such-host.invalid"))
    await exchange.aclose()
