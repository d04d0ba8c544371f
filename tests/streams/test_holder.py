"""Holding one run: what each answer means, replays and cuts, opened once, and nothing of a secret anywhere."""

import asyncio
import logging
import random
import socket
from typing import Any

import pytest
from django.utils import timezone

from streams import client, folding, providers
from streams.backoff import Backoff
from streams.client import Exchange, RedirectRefused, read_head, redirect_target
from streams.errors import StaleEpoch
from streams.models import Checkpoint, Lease, RunStatus
from streams.providers.base import Call
from streams.providers.fake import Fake, State
from tests.streams.holding import (
    fresh,
    held,
    hold,
    house_kinds,
    in_database,
    make_run,
    provider_events,
    provider_of,
    running,
)
from tests.streams.scripted import (
    DONE,
    STREAM_HEAD,
    Answer,
    frame,
    plain,
    scripted,
    silence,
    staying,
    stream,
    texts,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
SECRET = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in (Fake(), Fake("once", replay="none", stall_s=None, stall_waiting_s=None, reads_on=True)):
        monkeypatch.setitem(providers.REGISTRY, adapter.kind, adapter)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# --- a stream that can be joined again ------------------------------------------------------------------------------


async def test_a_run_is_followed_to_its_last_word_and_no_further() -> None:
    async with running() as tools, scripted(staying(*texts("ab"), DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert [data for _, data in await provider_events(run)][:2] == ["a", "b"]
        assert (await fresh(run)).status == RunStatus.FINISHED
        assert len(server.requests) == 1
        assert run.connected_at is None


async def test_what_the_request_says() -> None:
    async with running() as tools, scripted(stream(DONE)) as server:
        run = await held(server.url, secret=SECRET)
        await hold(run, tools)
        asked = server.requests[0]
        assert asked.headers["accept"] == "text/event-stream"
        assert asked.headers["accept-encoding"] == "identity"
        assert asked.headers["cache-control"] == "no-store"
        assert asked.headers["x-api-key"] == SECRET
        assert "last-event-id" not in asked.headers


async def test_the_last_id_is_sent_and_carried_over_a_connection_without_one() -> None:
    answers = (
        stream(frame("text", "a", "7")),
        stream(frame("text", "b")),
        stream(b": only a comment\n\n"),
        stream(DONE),
    )
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert [asked.headers.get("last-event-id") for asked in server.requests] == [None, "7", "7", "7"]


@pytest.mark.parametrize("with_ids", [False, True])
async def test_cuts_lose_nothing_and_double_nothing(with_ids: bool) -> None:
    chance = random.Random(7)
    whole = [frame("text", f"word {n}", str(n) if with_ids else "") for n in range(2000)] + [DONE]
    body = STREAM_HEAD + b"".join(whole)

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(body[: chance.randrange(len(STREAM_HEAD), len(body))])
        await writer.drain()
        writer.transport.abort() if chance.random() < 0.5 else writer.close()

    async with running() as tools, scripted(*[cut] * 20, body) as server:
        run = await held(server.url)
        await hold(run, tools)
        events = await provider_events(run)
        assert [data for _, data in events[:-1]] == [f"word {n}" for n in range(2000)]
        kinds = await house_kinds(run)
        assert set(kinds) == {"connected", "disconnected"}
        assert (await fresh(run)).status == RunStatus.FINISHED
        assert run.reconnects == 20


async def test_a_tail_shows_one_mark_for_each_reconnect() -> None:
    answers = (stream(*texts("ab")), stream(*texts("cd")), stream(*texts("ef"), DONE))
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert [kind for kind in await house_kinds(run) if kind == "gap"] == ["gap", "gap"]
        assert len(await provider_events(run)) == 7


async def test_a_past_that_differs_is_told_once_and_overwrites_nothing() -> None:
    words = [f"w{n}" for n in range(30)]
    changed = [*words[:17], "other", *words[18:]]
    answers = (stream(*texts(words)), stream(*texts(changed)), stream(*texts(changed), DONE))
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert [data for _, data in await provider_events(run)][:31] == [*words, "other"]
        assert (await house_kinds(run)).count("divergence") == 1


async def test_a_replay_reopens_nothing_and_leaves_a_waiting_run_waiting() -> None:
    ask = frame("ask", '{"id": "q1", "tool": "send", "input": {"n": 1}}')
    seen: list[Any] = []
    async with (
        running(lambda stored: seen.extend(fact for one in stored for fact in one.facts)) as tools,
        scripted(stream(*texts("ab"), ask), staying(*texts("ab"), ask)) as server,
    ):
        run = await held(server.url)
        task = asyncio.create_task(hold(run, tools))
        await server.heard(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [type(fact).__name__ for fact in seen] == ["Asked", "Paused"]
        assert (await fresh(run)).status == RunStatus.WAITING


@pytest.mark.parametrize(
    ("refusals", "kinds"),
    [
        ([plain(500)], []),
        ([plain(503, retry_after="0")], []),
        ([plain(429, retry_after="garbage")], []),
        ([plain(408), plain(425), plain(502)], []),
        ([silence], []),
        ([plain(200, "<html>Sign in", content_type="text/html")], []),
        ([plain(200, "<html>Sign in", content_type="text/html")] * 4, ["misconfigured"]),
        ([plain(302)], []),
        ([plain(301, location="http://localhost:1/")], []),
        ([plain(302, location="http://[broken/")], []),
        ([plain(302, location="http://a:port/")], []),
        ([plain(418)], []),
        ([STREAM_HEAD.replace(b"connection", b"content-encoding: gzip\r\nconnection") + b"\x1f\x8b"], []),
    ],
)
async def test_an_answer_that_is_no_stream_is_tried_again(refusals: list[Answer], kinds: list[str]) -> None:
    async with running() as tools, scripted(*refusals, stream(DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert len(server.requests) == len(refusals) + 1
        assert len(await provider_events(run)) == 1  # nothing of the refusals is an event
        assert [kind for kind in await house_kinds(run) if kind not in ("connected", "disconnected")] == kinds


@pytest.mark.parametrize(
    ("status", "becomes", "kinds"),
    [
        (204, RunStatus.TRUNCATED, ["truncated"]),
        (404, RunStatus.LOST, ["lost"]),
        (410, RunStatus.LOST, ["lost"]),
        (401, RunStatus.CONNECTING, ["credential"]),
        (403, RunStatus.CONNECTING, ["credential"]),
    ],
)
async def test_an_answer_that_ends_the_holding(status: int, becomes: RunStatus, kinds: list[str]) -> None:
    async with running() as tools, scripted(plain(status)) as server:
        run = await held(server.url, secret=SECRET)
        await hold(run, tools)
        assert (await fresh(run)).status == becomes
        assert await house_kinds(run) == kinds
        assert len(server.requests) == 1
        assert ((await provider_of(run)).credential_refused_at is not None) == (status in (401, 403))


async def test_a_refused_credential_is_told_once() -> None:
    async with running() as tools, scripted(plain(401)) as server:
        run = await held(server.url)
        await hold(run, tools)
        await hold(run, tools)  # blocked: not even tried
        assert await house_kinds(run) == ["credential"]
        assert len(server.requests) == 1


async def test_a_redirect_is_followed_on_the_same_host_alone() -> None:
    async with (
        running() as tools,
        scripted(plain(200)) as foreign,
        scripted(plain(307, location="/moved"), plain(302, location=f"{foreign.url}/"), stream(DONE)) as server,
    ):
        run = await held(server.url, secret=SECRET)
        await hold(run, tools)
        assert [asked.path for asked in server.requests] == [
            f"/stream/{run.external_id}", "/moved", f"/stream/{run.external_id}",
        ]  # fmt: skip
        assert foreign.requests == []


@pytest.mark.parametrize("location", ["http://[broken/", "http://a:port/", "https://exa mple/", "//[::1"])
async def test_a_redirect_to_an_address_that_is_none_is_a_refused_redirect(location: str) -> None:
    async with scripted(plain(302, location=location)) as server:
        exchange = Exchange()
        with pytest.raises(RedirectRefused):
            await exchange.send(Call("GET", server.url, repeatable=True, streams=True))
        once = await exchange.send(Call("POST", server.url))
        assert once.status_code == 302
        await exchange.aclose()


async def test_a_redirect_loop_ends_at_three() -> None:
    async with scripted(plain(302, location="/again")) as server:
        exchange = Exchange()
        with pytest.raises(RedirectRefused):
            await exchange.send(Call("GET", server.url, repeatable=True, streams=True))
        await exchange.aclose()
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location", ["", "http://other/", "http://a.test:81/", "//other", "http://u:p@a.test/", "ftp://a.test/"]
)
def test_redirects_that_are_not_followed(location: str) -> None:
    with pytest.raises(RedirectRefused):
        redirect_target("http://a.test/x", location)


def test_a_redirect_never_leads_from_https_to_http() -> None:
    with pytest.raises(RedirectRefused):
        redirect_target("https://a.test/x", "http://a.test/x")
    assert redirect_target("http://a.test/x", "https://a.test/y") == "https://a.test/y"


async def test_a_stall_is_noticed_and_comments_are_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(providers.REGISTRY, "quick", Fake("quick", stall_s=0.3))

    async def comments(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for _ in range(8):
            writer.write(b": alive\n")
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(DONE)

    async with running() as tools, scripted(staying(*texts("a")), comments) as server:
        run = await held(server.url, kind="quick")
        await hold(run, tools)
        assert (await house_kinds(run)).count("stalled") == 1
        assert (await fresh(run)).status == RunStatus.FINISHED


async def test_an_event_that_is_too_large_drops_the_connection_and_not_the_run(settings: Any) -> None:
    settings.EVENT_MAX_BYTES = 1000
    answers = (stream(*texts("a"), frame("text", "x" * 5000)), stream(*texts("a"), DONE))
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert (await house_kinds(run)).count("oversize") == 1
        assert [kind for kind, _ in await provider_events(run)] == ["text", "done"]


async def test_a_stale_holder_writes_nothing_more() -> None:
    async with running() as tools, scripted(staying(*texts("a"))) as server:
        run = await held(server.url)
        await in_database(Lease.objects.filter(run=run).update, epoch=2)
        with pytest.raises(StaleEpoch):
            await hold(run, tools)
        assert await provider_events(run) == []


async def test_a_restart_folds_the_checkpoint_and_what_came_after_it() -> None:
    ask = frame("ask", '{"id": "q1", "tool": "send", "input": 1}')
    async with running() as tools, scripted(stream(*texts("ab"), ask, *texts("cd")), plain(404)) as server:
        run = await held(server.url)
        await hold(run, tools)
        saved = await in_database(Checkpoint.objects.get, run=run)
        assert '"frames": 3' in saved.state
        adapter: Any = Fake()
        assert await in_database(folding.resume, run.pk, adapter) == (State(5, "d"), "")


# --- calls that act -------------------------------------------------------------------------------------------------


async def test_a_start_is_sent_once_and_its_stream_followed() -> None:
    async with running() as tools, scripted(plain(201, '{"id": "ext-1"}'), stream(DONE)) as server:
        run = await held(server.url, external_id=None)
        await hold(run, tools)
        assert (await fresh(run)).external_id == "ext-1"
        assert run.status == RunStatus.FINISHED
        assert [(asked.method, asked.path) for asked in server.requests] == [
            ("POST", "/start"),
            ("GET", "/stream/ext-1"),
        ]
        assert run.opened_at is not None


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (silence, RunStatus.LOST),
        (plain(500), RunStatus.LOST),
        (plain(200, "no json"), RunStatus.LOST),
        (plain(422, f"no, not with {SECRET}"), RunStatus.FAILED),
        (plain(429, retry_after="0"), RunStatus.FAILED),
        (plain(307, location="/start"), RunStatus.FAILED),
        (plain(307, location="http://[broken/"), RunStatus.FAILED),
        (plain(401), RunStatus.FAILED),
    ],
)
async def test_a_start_is_never_sent_again_once_a_byte_left(answer: Answer, becomes: RunStatus) -> None:
    async with running() as tools, scripted(answer) as server:
        run = await held(server.url, external_id=None, secret=SECRET)
        await hold(run, tools)
        await hold(run, tools)
        assert len(server.requests) == 1
        assert (await fresh(run)).status == becomes
        assert SECRET not in run.error
        assert ("check at the provider" in run.error) == (becomes == RunStatus.LOST)


async def test_a_start_that_provably_never_left_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as tools, scripted(plain(200, '{"id": "ext-1"}'), stream(DONE)) as server:
        nobody = closed_port()
        run = await held(nobody, external_id=None)
        waits: list[float] = []
        real = Backoff.next_s

        def next_s(self: Backoff, **asked: float) -> float:
            waits.append(real(self, **asked))
            return 0.0

        monkeypatch.setattr(Backoff, "next_s", next_s)
        task = asyncio.create_task(hold(run, tools))
        while not waits:
            await asyncio.sleep(0)
        provider = await provider_of(run)
        provider.base_url = server.url
        await in_database(provider.save)
        await task
        assert (await fresh(run)).status == RunStatus.FINISHED
        assert [asked.method for asked in server.requests] == ["POST", "GET"]


async def test_a_start_that_may_have_left_before_a_crash_is_lost() -> None:
    async with running() as tools, scripted(stream(DONE)) as server:
        run = await held(server.url, external_id=None, status=RunStatus.CONNECTING, opened_at=timezone.now())
        await hold(run, tools)
        assert (await fresh(run)).status == RunStatus.LOST
        assert server.requests == []


async def test_a_start_that_streams_is_the_run() -> None:
    begun = frame("begun", '{"run": "r-1", "thread": "t-1"}')
    async with running() as tools, scripted(stream(begun, *texts("ab"), DONE)) as server:
        run = await held(server.url, kind="once", external_id=None)
        await hold(run, tools)
        assert ((await fresh(run)).status, run.external_id, run.thread_id) == (RunStatus.FINISHED, "r-1", "t-1")
        assert [asked.method for asked in server.requests] == ["POST"]


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (stream(*texts("ab")), RunStatus.TRUNCATED),
        (silence, RunStatus.TRUNCATED),
        (plain(200, "hello", content_type="text/plain"), RunStatus.TRUNCATED),
        (plain(500, "down"), RunStatus.TRUNCATED),
        (plain(422, "no"), RunStatus.FAILED),
        (stream(*texts("a"), frame("paused", "")), RunStatus.WAITING),
        (stream(*texts("a"), frame("paused", ""), *texts("late")), RunStatus.WAITING),
        (stream(DONE, frame("done", '{"how": "failed"}')), RunStatus.FAILED),
    ],
)
async def test_a_stream_that_cannot_be_joined_again_ends_as_it_ends(answer: Answer, becomes: RunStatus) -> None:
    async with running() as tools, scripted(answer) as server:
        run = await held(server.url, kind="once", external_id=None)
        await hold(run, tools)
        await hold(run, tools)
        assert (await fresh(run)).status == becomes
        assert len(server.requests) == 1
        assert run.connected_at is None


async def test_a_stream_that_a_dead_process_held_is_truncated() -> None:
    async with running() as tools, scripted(stream(DONE)) as server:
        run = await held(server.url, kind="once", status=RunStatus.STREAMING, opened_at=timezone.now())
        await hold(run, tools)
        assert (await fresh(run)).status == RunStatus.TRUNCATED
        assert server.requests == []


async def test_somebody_elses_lease_opens_nothing() -> None:
    async with running() as tools, scripted(stream(DONE)) as server:
        run = await in_database(make_run, server.url, kind="once", external_id=None)
        await hold(run, tools)
        assert (await fresh(run)).opened_at is None
        assert server.requests == []


# --- secrets and limits ---------------------------------------------------------------------------------------------


async def test_no_secret_in_errors_logs_or_rows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = plain(400, f"your key {SECRET} is wrong", content_type=f"text/{SECRET}")
    async with running() as tools, scripted(echo, plain(302, location=f"http://x/{SECRET}"), plain(404)) as server:
        run = await held(server.url, secret=SECRET)
        await hold(run, tools)
        rows = str(await provider_events(run)) + str(await house_kinds(run)) + (await fresh(run)).error
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpcore", "hpack"))]
    assert SECRET not in rows + "".join(ours)


async def test_a_secret_that_no_header_can_carry_is_named_without_being_shown() -> None:
    exchange = Exchange(secret="a\nb")
    with pytest.raises(client.CallUnsent) as caught:
        await exchange.send(Call("GET", "http://127.0.0.1:9/", {"x-api-key": "a\nb"}))
    await exchange.aclose()
    assert "x-api-key" in str(caught.value)
    assert "a\nb" not in str(caught.value)


async def test_each_stage_of_a_connection_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.3)
    monkeypatch.setattr(client, "HEADERS_S", 0.3)

    async def mute(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(10), scripted(mute) as server:
        exchange = Exchange()
        with pytest.raises(client.CallUnanswered):
            await exchange.send(Call("GET", server.url, repeatable=True))
        with pytest.raises(client.CallUnsent):  # TLS that never shakes hands
            await exchange.send(Call("GET", server.url.replace("http:", "https:"), repeatable=True))
        await exchange.aclose()


@pytest.mark.parametrize(
    ("content_type", "means"),
    [
        ("text/event-stream", "stream"),
        ("Text/Event-Stream ; charset=latin-1", "stream"),
        ("text/html", "wrong"),
        ("application/json", "wrong"),
        ("", "wrong"),
    ],
)
def test_the_type_decides_whether_200_is_a_stream(content_type: str, means: str) -> None:
    assert read_head(200, {"content-type": content_type}, now=timezone.now()).means == means
