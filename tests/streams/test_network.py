"""Connections of our own under httpx: plain and TLS, large bodies both ways, who waits for whom, and how they break."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from dashboard.bench.certificates import certificate
from streams import client
from streams.client import CallUnanswered, CallUnsent, Exchange
from streams.network import HIGH_BYTES, Transport
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


async def test_a_name_that_is_none(tmp_path: Path) -> None:
    exchange = Exchange()
    with pytest.raises(CallUnsent):
        await exchange.send(get("http://no-such-host.invalid"))
    await exchange.aclose()
