"""One HTTP request: whether it left is told from whether it was answered."""

import asyncio
import socket

import httpx
import pytest

from approvals import replies, sending
from approvals.replies import Meaning
from approvals.sending import Answered
from streams.holder import NoAnswer, Unsent
from streams.providers.base import Call
from tests.approvals import agents

SECRET = "canary-secret-0123456789"


def call(url: str, **fields: object) -> Call:
    return Call(**{"method": "POST", "url": f"{url}/answer", "headers": {"x-key": SECRET}, "body": b"{}", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        *((code, Meaning.DELIVERED) for code in (200, 201, 202, 204, 299)),
        *((code, Meaning.PARKED) for code in (401, 403)),
        *((code, Meaning.LATER) for code in (408, 425, 429)),
        *((code, Meaning.REFUSED) for code in (301, 307, 308, 400, 402, 404, 405, 409, 410, 415, 422, 451, 499)),
        *((code, Meaning.UNKNOWN) for code in (100, 300, 302, 303, 304, 500, 502, 503, 504, 599)),
    ],
)
def test_every_status_has_its_meaning(status: int, meaning: Meaning) -> None:
    assert replies.meaning(status) == meaning


async def send(one: Call) -> Answered | Unsent | NoAnswer:
    async with sending.client() as http, asyncio.timeout(10):
        return await sending.send(http, one)


async def test_an_answer_is_read_with_its_status_and_retry_after() -> None:
    async with agents.agent() as agent:
        agent.script = [agents.status(429, "slow down", Retry_After="7")]
        assert await send(call(agent.url)) == Answered(429, b"slow down", "7")
        headers, body = agent.heard[0]
    assert (headers["x-key"], headers["accept-encoding"], body) == (SECRET, "identity", {})


async def test_a_redirect_is_not_followed() -> None:
    async with agents.agent() as agent:
        agent.script = [agents.status(307, Location="/elsewhere")]
        answered = await send(call(agent.url))
        assert isinstance(answered, Answered)
        assert (answered.status, len(agent.heard)) == (307, 1)


@pytest.mark.parametrize("location", ["http://[::bad", "//", "http://x:port/", "/a b"])
@pytest.mark.parametrize("status", [302, 307, 308])
async def test_an_answer_whose_location_is_no_address_is_an_answer(status: int, location: str) -> None:
    async with agents.agent() as agent:
        agent.script = [agents.status(status, "moved", Location=location)]
        answered = await send(call(agent.url))
    assert answered == Answered(status, b"moved", None)


async def test_a_body_is_read_to_its_limit_only() -> None:
    async with agents.agent() as agent:
        agent.script = [agents.endless]
        answered = await send(call(agent.url))
    assert isinstance(answered, Answered)
    assert (answered.status, len(answered.body)) == (200, sending.BODY_MAX_BYTES)


async def test_a_body_that_breaks_off_changes_no_status() -> None:
    async with agents.agent() as agent:
        agent.script = [agents.broken_body]
        answered = await send(call(agent.url))
    assert isinstance(answered, Answered)
    assert answered.status == 200


@pytest.mark.parametrize("fault", [agents.drop, agents.reset])
async def test_a_request_that_left_and_was_not_answered_is_doubt(fault: agents.Answer) -> None:
    async with agents.agent() as agent:
        agent.script = [fault]
        answered = await send(call(agent.url))
        assert len(agent.heard) == 1
    assert isinstance(answered, NoAnswer)
    assert SECRET not in repr(answered)


async def test_silence_ends_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TOTAL_S", 0.2)
    async with agents.agent() as agent:
        agent.otherwise = agents.silence
        assert await send(call(agent.url)) == NoAnswer("no answer in time")


async def test_a_closed_port_proves_that_nothing_left() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answered = await send(call(f"http://127.0.0.1:{port}"))
    assert isinstance(answered, Unsent)
    assert "connect" in answered.why


async def test_a_tls_handshake_that_fails_proves_that_nothing_left() -> None:
    heard = b""

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += await reader.read(5)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answered = await send(call(f"https://127.0.0.1:{port}"))
    assert isinstance(answered, Unsent)
    assert heard[:1] == b"\x16"  # a handshake, and nothing of the request


@pytest.mark.parametrize("secret", ["line\nbreak-canary", "ümläut-canary€", "\ud800-canary"])
async def test_a_secret_that_is_no_header_never_leaves_and_is_never_quoted(secret: str) -> None:
    async with agents.agent() as agent:
        answered = await send(call(agent.url, headers={"x-key": secret}))
        assert agent.heard == []
    assert isinstance(answered, Unsent)
    assert "canary" not in repr(answered)


@pytest.mark.parametrize("url", ["http://[::bad", "ftp://127.0.0.1", "nonsense", "http://"])
async def test_an_address_that_is_none_never_leaves(url: str) -> None:
    assert isinstance(await send(call(url)), Unsent)


# --- before a deadline ----------------------------------------------------------------------------------------------


async def test_a_connection_that_takes_too_long_is_given_up_in_time_and_nothing_leaves() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    async with (
        await asyncio.start_server(mute, "127.0.0.1", 0) as server,
        sending.client() as http,
        asyncio.timeout(10),
    ):
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # its handshake never ends
        leave_by = asyncio.get_running_loop().time() + 0.1
        assert await sending.send(http, call(url), leave_by=leave_by) == Unsent(sending.TOO_LATE)


class Connected(httpx.AsyncBaseTransport):
    """A connection that is there at once, and what is then about to leave."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        raise AssertionError("it left")


async def test_a_connection_that_comes_after_the_last_moment_is_not_used() -> None:
    """Also where the loop stood still, so that its timer had no chance."""
    leave_by = asyncio.get_running_loop().time() - 1
    assert await sending.send(Connected(), call("http://agent.example"), leave_by=leave_by) == Unsent(sending.TOO_LATE)


async def test_an_answer_is_waited_for_beyond_the_last_moment_to_leave() -> None:
    async with agents.agent() as agent, sending.client() as http, asyncio.timeout(10):
        over = asyncio.Event()

        async def late(writer: asyncio.StreamWriter) -> None:
            await over.wait()
            await agents.status(200, "taken")(writer)

        agent.script = [late]
        leave_by = asyncio.get_running_loop().time() + 1
        sent = asyncio.create_task(sending.send(http, call(agent.url), leave_by=leave_by))
        await agent.came.wait()
        asyncio.get_running_loop().call_at(leave_by + 0.05, over.set)
        assert await sent == Answered(200, b"taken", None)
