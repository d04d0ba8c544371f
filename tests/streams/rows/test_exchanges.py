"""Rows B12, B13, B16: each stage of a call has its limit, redirects carry no key away, no error tells one."""

import asyncio
import base64
import logging
import time
import traceback
from collections.abc import Iterator

import pytest

from streams import client
from streams.client import CallFailed, CallUnanswered, CallUnsent, Exchange, RedirectRefused
from streams.holder import Unsent, knock
from streams.providers.base import Account, Call
from tests.faults.proxy import DEAF, hole, proxy, unanswered
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.rows import virtual
from tests.streams.scripted import DONE, Answer, Asked, plain, scripted, silence, stream

SECRET = "sk-canary-5f0c77d1e9b24a68"


def get(url: str, *, secret: str = "") -> Call:
    return Call("GET", url, {"X-Api-Key": secret} if secret else {}, repeatable=True, streams=True)


async def ends_after(url: str, expected: type[CallFailed]) -> float:
    """How long a call took that nobody answers, in seconds."""
    exchange = Exchange()
    began = time.monotonic()
    with pytest.raises(expected):
        await exchange.send(get(url))
    took_s = time.monotonic() - began
    await exchange.aclose()
    return took_s


async def test_b12_a_black_hole_at_any_stage_ends_the_call(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """With the real limits in the long form; the short one shows that each stage has one."""
    assert max(client.CONNECT_S, client.HEADERS_S) <= 10
    if not LONG:
        monkeypatch.setattr(client, "CONNECT_S", 0.3)
        monkeypatch.setattr(client, "HEADERS_S", 0.3)
    took: dict[str, float] = {}
    async with scripted(stream(DONE)) as server:
        with unanswered() as port:
            took["connect"] = await ends_after(f"http://127.0.0.1:{port}/", CallUnsent)
        with proxy(server.url) as between:
            between.plan = DEAF
            took["TLS"] = await ends_after(between.url.replace("http:", "https:"), CallUnsent)
            took["request, never heard"] = await ends_after(between.url, CallUnanswered)
            between.plan = hole()
            took["header"] = await ends_after(between.url, CallUnanswered)
            between.plan = hole(after=20)  # within the status line and the headers
            took["within the header"] = await ends_after(between.url, CallUnanswered)
    worst = max(took.values())
    unit = "s until the call ended" + ("" if LONG else " (limits 0.3 s)")
    figure("B12", worst=round(worst, 2), n=len(took), unit=unit)


ELSEWHERE = ("{other}/", "//{other_host}/x", "http://localhost:{other_port}/", "http://user:pw@{host}/", "https://{host}/",
             "http://{host}.evil.test/", "\\\\{other_host}/", "  {other}/  ")  # fmt: skip
NOWHERE = ("", " ", "http://[::", "http://a:port/", "mailto:a@b", "javascript:0", "http://\x7f/")


async def test_b13_no_credential_follows_a_redirect_to_another_place(figure: Figure) -> None:
    tried = 0
    async with scripted(plain(200)) as other:
        host, other_host = "", other.url.removeprefix("http://")

        def pick(asked: Asked) -> Answer:
            status, _, location = asked.path.removeprefix("/").partition("/")
            return plain(int(status), location=bytes.fromhex(location).decode("latin-1"))

        async with scripted(pick=pick) as server:
            host = server.url.removeprefix("http://")
            named = {
                "other": other.url,
                "other_host": other_host,
                "other_port": other_host[-5:].lstrip(":"),
                "host": host,
            }
            for status in (301, 302, 303, 307, 308):
                for location in (*ELSEWHERE, *NOWHERE):
                    where = location.format(**named).encode("latin-1").hex()
                    exchange = Exchange(secret=SECRET)
                    with pytest.raises((RedirectRefused, CallFailed)) as caught:
                        await exchange.send(get(f"{server.url}/{status}/{where}", secret=SECRET))
                    await exchange.aclose()
                    assert SECRET not in str(caught.value)
                    tried += 1
            assert len(server.requests) == tried  # none was followed on its own host either
        assert other.requests == []
    figure("B13", worst=len(other.requests), n=tried, unit="requests or credentials at the second place")


async def test_b13_a_redirect_without_a_location_and_a_loop_are_errors(figure: Figure) -> None:
    for status in (301, 302, 303, 307, 308):
        for given, requests in ((plain(status), 1), (plain(status, location="/again"), 4)):
            async with scripted(given) as server:
                exchange = Exchange()
                with pytest.raises(RedirectRefused):
                    await exchange.send(get(server.url))
                await exchange.aclose()
                assert len(server.requests) == requests
    figure("B13", worst=3, n=5, unit="redirects followed of a loop")


async def test_b13_a_call_that_acts_follows_no_redirect_at_all() -> None:
    for status in (301, 302, 303, 307, 308):
        async with scripted(plain(status, location="/moved"), plain(200)) as server:
            exchange = Exchange()
            assert (await exchange.send(Call("POST", server.url))).status_code == status
            await exchange.aclose()
            assert len(server.requests) == 1


# --- a last moment --------------------------------------------------------------------------------------------------


async def test_a_connection_that_comes_too_late_is_not_used() -> None:
    """The request is not there to be answered any more: not a byte of it leaves."""
    async with scripted(plain(200)) as server:
        exchange = Exchange()
        late = Call("POST", server.url, leave_by=asyncio.get_running_loop().time() - 0.001)
        with pytest.raises(CallUnsent, match="in time"):
            await exchange.send(late)
        in_time = Call("POST", server.url, leave_by=asyncio.get_running_loop().time() + 60)
        assert (await exchange.send(in_time)).status_code == 200
        await exchange.aclose()
        assert len(server.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connect_that_takes_longer_than_there_is_time_ends_unsent(scheme: str) -> None:
    async with scripted(plain(200)) as server:
        with proxy(server.url) as between, unanswered() as port:
            between.plan = DEAF
            url = f"http://127.0.0.1:{port}/" if scheme == "http" else between.url.replace("http:", "https:")
            call = Call("POST", url, streams=True, leave_by=asyncio.get_running_loop().time() + 0.2)
            exchange = Exchange()
            answered, response = await knock(virtual.held(), call, exchange)
            await exchange.aclose()
            assert (answered, response) == (Unsent(client.TOO_LATE), None)
            assert server.requests == []


# --- keys -----------------------------------------------------------------------------------------------------------


def dumped(exc: BaseException) -> Iterator[str]:
    """What services that collect errors write down: the trace, and the locals of each of its frames."""
    yield "".join(traceback.format_exception(exc))
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield f"{exc!r} {exc} {exc.args!r} {vars(exc)!r}"
        for frame, _ in traceback.walk_tb(exc.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                yield repr(frame.f_locals)
                yield from (repr(value) for value in frame.f_locals.values())
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)  # type: ignore[assignment]


async def test_b16_no_error_log_or_repr_tells_a_key(caplog: pytest.LogCaptureFixture, figure: Figure) -> None:
    caplog.set_level(logging.DEBUG)
    spelled = [SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET[3:], SECRET[:-3]]
    told: list[str] = [
        repr(Account("http://x", SECRET)),
        repr(get("http://x", secret=SECRET)),
        repr(Exchange(secret=SECRET)),
    ]
    errors = 0
    answers: dict[str, Answer] = {
        "/reset": silence,
        "/echo": plain(400, f"your key {SECRET} is wrong", x_key=SECRET),
        "/away": plain(302, location=f"http://elsewhere/{SECRET}"),
        "/broken": f"HTTP/1.1 {SECRET}\r\n\r\n".encode(),
        "/header": f"HTTP/1.1 200 OK\r\n{SECRET} {SECRET}\r\n\r\n".encode(),
        "/length": f"HTTP/1.1 200 OK\r\ncontent-length: {SECRET}\r\n\r\n".encode(),
    }
    async with scripted(pick=lambda asked: answers[asked.path]) as server:
        for url in (
            *(f"{server.url}{path}" for path in answers),
            "http://127.0.0.1:1/",
            "http://[broken/",
            "gopher://x/",
        ):
            for secret in (SECRET, f"{SECRET}\n", f"{SECRET}é"):
                exchange = Exchange(secret=secret)
                for call in (get(url, secret=secret), Call("POST", url, {"authorization": f"Bearer {secret}"}, b"{}")):
                    try:
                        response = await exchange.send(call)
                        told.append(exchange.without_secret((await exchange.read(response)).decode()))
                    except (CallFailed, RedirectRefused) as exc:
                        errors += 1
                        told += dumped(exc)
                await exchange.aclose()
    told += [record.getMessage() for record in caplog.records if not record.name.startswith("tests")]
    hits = [text for text in told if any(one in text for one in spelled)]
    assert errors > 30
    assert hits == []
    figure("B16", worst=len(hits), n=len(told), unit=f"texts with a key, of {errors} errors")
