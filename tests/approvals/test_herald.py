"""The herald's loop against real sockets: everybody is told, nobody delays another, nothing forbidden is called."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import standardwebhooks
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections

from approvals import courier, herald, targets, tries, webhook, webhook_client, webhooks
from approvals.models import Delivery, DeliveryState, WebhookEndpoint
from approvals.webhook_client import Posted
from dashboard import server
from streams import offload
from streams.events import Ended
from streams.models import Run
from tests.approvals import agents
from tests.approvals.agents import Agent, status
from tests.approvals.fakes import asked, tell

pytestmark = pytest.mark.django_db(transaction=True)
D = DeliveryState
BY = {"actor": "ada", "origin": "tests"}
PATIENT_S = 60.0


@pytest.fixture(autouse=True)
async def _close_the_threads_connection() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture(autouse=True)
def _loopback_permitted(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = ["127.0.0.1"]


@asynccontextmanager
async def sending(owner: str = "host:1:test", **options: Any) -> AsyncIterator[asyncio.Event]:
    """A herald at work; yields its wake event."""
    stop, wake = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(herald.carry(stop, owner, wake=wake, **options))
    try:
        yield wake
    finally:
        stop.set()
        async with asyncio.timeout(PATIENT_S):
            await task


async def until(holds: Callable[[], bool], *wakes: asyncio.Event) -> None:
    """Wait until rows say so; the herald is woken, as by a hint."""
    async with asyncio.timeout(PATIENT_S):
        while not await sync_to_async(holds)():
            for wake in wakes:
                wake.set()
            await asyncio.sleep(0.01)


@sync_to_async
def added(url: str, *events: str) -> tuple[WebhookEndpoint, str]:
    return webhooks.add(url, events=events, **BY)


@sync_to_async
def pinged(endpoint: WebhookEndpoint, count: int = 1) -> list[UUID]:
    return [webhooks.ping(endpoint, **BY).pk for _ in range(count)]


@sync_to_async
def asked_for(run: Run, *calls: str) -> None:
    for call_id in calls:
        tell(run, asked(call_id))


@sync_to_async
def rows(**match: Any) -> list[Delivery]:
    return list(Delivery.objects.filter(**match).order_by("created_at"))


def states(*expected: DeliveryState) -> Callable[[], bool]:
    return lambda: set(Delivery.objects.values_list("state", flat=True)) == set(expected)


def events_of(agent: Agent) -> list[str]:
    return [body["type"] for _, body in agent.heard]


# --- told -----------------------------------------------------------------------------------------------------------


async def test_what_happens_is_told_signed_and_in_order(run: Run) -> None:
    async with agents.agent() as receiver:
        _, secret = await added(f"{receiver.url}/hook")
        async with sending() as wake:
            await asked_for(run, "c1", "c2", "c3")
            await sync_to_async(tell)(run, Ended("finished"))
            await until(states(D.DELIVERED), wake)
    made = {webhook.message_id(row.pk): row for row in await rows()}
    assert len(receiver.heard) == len(made) == 6
    told: dict[str, list[str]] = {}
    for headers, body in receiver.heard:
        row = made.pop(headers["webhook-id"])
        standardwebhooks.Webhook(secret).verify(row.body, headers)
        assert json.loads(row.body) == body
        assert (headers["content-type"], headers["user-agent"]) == ("application/json", "Countersign")
        told.setdefault(body["data"]["id"], []).append(body["type"])
    assert list(told.values()) == [["approval.pending", "approval.settled"]] * 3


async def test_without_a_hint_it_is_told_too(run: Run) -> None:
    async with agents.agent() as receiver:
        await added(receiver.url)
        async with sending():
            await asked_for(run, "c1")
            await until(states(D.DELIVERED))
        assert len(receiver.heard) == 1


async def test_each_try_has_the_same_id_and_a_signature_of_its_own() -> None:
    async with agents.agent() as receiver:
        receiver.script = [status(500), agents.drop, agents.reset]
        endpoint, secret = await added(receiver.url)
        (delivery_id,) = await pinged(endpoint)
        for number in range(4):
            await sync_to_async(Delivery.objects.update)(
                state=D.READY, event=webhook.PENDING, next_at="2020-01-01T00:00Z"
            )
            async with sending() as wake:
                await until(lambda: Delivery.objects.get().attempts == number + 1, wake)  # noqa: B023
        (row,) = await rows()
        assert (row.pk, row.state, row.attempts) == (delivery_id, D.DELIVERED, 4)
    assert {headers["webhook-id"] for headers, _ in receiver.heard} == {webhook.message_id(delivery_id)}
    for headers, _ in receiver.heard:
        standardwebhooks.Webhook(secret).verify(row.body, headers)


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (status(204), D.DELIVERED, ""),
        (agents.broken_body, D.DELIVERED, ""),
        (agents.endless, D.DELIVERED, ""),
        (status(302, Location="http://169.254.169.254/"), D.READY, "redirects are not followed"),
        (status(401, "who are you"), D.READY, "HTTP 401"),
        (status(429, Retry_After="60"), D.READY, "HTTP 429"),
        (status(410), D.REFUSED, "wants no more"),
        (agents.drop, D.READY, "not HTTP, or broke off"),
        (agents.reset, D.READY, ""),
    ],
)
async def test_each_answer_has_its_meaning(run: Run, answer: agents.Answer, state: DeliveryState, words: str) -> None:
    async with agents.agent() as receiver:
        receiver.script = [answer]
        await added(receiver.url)
        await asked_for(run, "c1")
        async with sending() as wake:
            await until(lambda: Delivery.objects.get().attempts == 1, wake)
        (row,) = await rows()
        assert row.state == state
        assert words in row.last_error
        assert len(receiver.heard) == 1


async def test_a_redirect_is_not_followed_anywhere(run: Run) -> None:
    async with agents.agent() as there, agents.agent() as receiver:
        receiver.otherwise = status(307, Location=f"{there.url}/")
        await added(receiver.url)
        await asked_for(run, "c1")
        async with sending() as wake:
            await until(lambda: Delivery.objects.get().attempts == 1, wake)
        assert (len(receiver.heard), len(there.heard)) == (1, 0)


async def test_a_receiver_that_is_slow_to_answer_is_waited_for_no_longer_than_the_limit(run: Run) -> None:
    short = partial(webhook_client.post, limits=webhook_client.Limits(total_s=0.2, connect_s=0.2, body_s=0.2))
    async with agents.agent() as receiver:
        receiver.otherwise = agents.silence
        await added(receiver.url)
        await asked_for(run, "c1")
        async with sending(post=short) as wake:
            await until(lambda: Delivery.objects.get().attempts == 1, wake)
        (row,) = await rows()
        assert (row.state, row.last_error) == (D.READY, "no answer in time")


# --- nobody delays another ------------------------------------------------------------------------------------------


async def test_endpoints_that_never_answer_delay_no_other() -> None:
    async with agents.agent() as dead, agents.agent() as receiver:
        dead.otherwise = agents.silence
        for number in range(20):
            endpoint, _ = await added(f"{dead.url}/{number}")
            await pinged(endpoint, 10)
        good, _ = await added(receiver.url)
        expected = await pinged(good, 40)
        async with sending() as wake:
            await until(lambda: Delivery.objects.filter(endpoint=good, state=D.DELIVERED).count() == 40, wake)
            assert await sync_to_async(Delivery.objects.filter(attempts=0).count)() == 200
            assert len(dead.heard) <= 20 * tries.AT_ONCE_EACH
    assert {headers["webhook-id"] for headers, _ in receiver.heard} == set(map(webhook.message_id, expected))


async def test_an_endpoint_whose_last_try_failed_is_knocked_at_by_one_at_a_time() -> None:
    at_once = most = 0

    async def post(url: str, body: bytes, headers: Any) -> Posted:
        nonlocal at_once, most
        at_once += 1
        if len(seen) >= tries.AT_ONCE_EACH:
            most = max(most, at_once)
        seen.append(url)
        await asyncio.sleep(0)
        at_once -= 1
        return Posted(why="connection failed: Connection refused")

    seen: list[str] = []
    endpoint, _ = await added("https://hooks.example.com/")
    await pinged(endpoint, 30)
    async with sending(post=post) as wake:
        await until(states(D.REFUSED), wake)
    assert (len(seen), most) == (30, 1)


async def test_a_try_that_fails_in_ways_nobody_thought_of_ends_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with agents.agent() as receiver:
        broken, _ = await added("https://broken.example.com/canary-4711")
        good, _ = await added(receiver.url)
        sealed_wrong, _ = await added("https://sealed.example.com/")
        await sync_to_async(WebhookEndpoint.objects.filter(pk=sealed_wrong.pk).update)(secret_sealed=good.secret_sealed)
        for endpoint in (broken, sealed_wrong, good):
            await pinged(endpoint)

        async def post(url: str, body: bytes, headers: Any) -> Posted:
            if "broken" in url:
                raise LookupError("canary-4711")
            return await webhook_client.post(url, body, headers)

        async with sending(post=post) as wake:
            await until(states(D.REFUSED, D.DELIVERED), wake)
            await until(lambda: not Delivery.objects.filter(state=D.CLAIMED).exists(), wake)
        (row,) = await rows(endpoint=broken)
        assert (row.state, row.last_error) == (D.REFUSED, "it could not be sent: LookupError")
        (row,) = await rows(endpoint=sealed_wrong)
        assert (row.state, "was sealed for" in row.last_error) == (D.REFUSED, True)
        assert len(receiver.heard) == 1
    assert "canary" not in caplog.text


async def test_a_database_that_is_away_for_a_moment_is_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.LOOK_EVERY_S = 0.05
    monkeypatch.setattr(herald, "WRITE_AGAIN_S", (0.0, 0.0))
    away = {"look": 2, "conclude": 2}

    def flaky(name: str) -> Callable[..., Any]:
        real = getattr(tries, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if away[name]:
                away[name] -= 1
                raise OperationalError("gone")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(tries, "look", flaky("look"))
    monkeypatch.setattr(tries, "conclude", flaky("conclude"))
    async with agents.agent() as receiver:
        await added(receiver.url)
        await asked_for(run, "c1")
        async with sending() as wake:
            await until(states(D.DELIVERED), wake)
        assert (len(receiver.heard), away) == (1, {"look": 0, "conclude": 0})


async def test_several_heralds_send_everything_once() -> None:
    async with agents.agent() as receiver:
        endpoints = [(await added(f"{receiver.url}/{number}"))[0] for number in range(5)]
        async with sending("one") as first, sending("two") as second, sending("three") as third:
            expected = [one for endpoint in endpoints for one in await pinged(endpoint, 20)]
            await until(states(D.DELIVERED), first, second, third)
    heard = [headers["webhook-id"] for headers, _ in receiver.heard]
    assert set(heard) == set(map(webhook.message_id, expected))
    if connection.vendor == "postgresql":  # on SQLite each one that starts takes itself for the only one
        assert len(heard) == len(expected)


# --- the end --------------------------------------------------------------------------------------------------------


async def test_a_stop_lets_a_try_end_that_is_under_way(run: Run) -> None:
    go = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await status(200)(writer)

    async with agents.agent() as receiver:
        receiver.otherwise = answer
        await added(receiver.url)
        await asked_for(run, "c1")
        stop = asyncio.Event()
        task = asyncio.create_task(herald.carry(stop, "one"))
        async with asyncio.timeout(PATIENT_S):
            await receiver.came.wait()
            stop.set()
            go.set()
            await task
    assert [row.state for row in await rows()] == [D.DELIVERED]


async def test_what_a_stop_breaks_off_is_free_again_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "DRAIN_S", 0.05)
    async with agents.agent() as receiver:
        receiver.script = [agents.silence]
        await added(receiver.url)
        await asked_for(run, "c1")
        async with sending("one"):
            async with asyncio.timeout(PATIENT_S):
                await receiver.came.wait()
        assert [(row.state, row.attempts) for row in await rows()] == [(D.READY, 0)]
        async with sending("two") as wake:
            await until(states(D.DELIVERED), wake)
        first, again = receiver.heard
        assert first[0]["webhook-id"] == again[0]["webhook-id"]
        assert first[1] == again[1]


async def test_a_process_whose_herald_ends_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*args: Any, **kwargs: Any) -> None:
        raise OSError("gone")

    async def returns(*args: Any, **kwargs: Any) -> None:
        pass

    for dies in (fails, returns):
        monkeypatch.setattr(herald, "carry", dies)
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(PATIENT_S):
                await server.work(asyncio.Event())
    await asyncio.to_thread(offload.close_all)


async def test_one_hint_wakes_courier_and_herald(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    stop = asyncio.Event()

    def waits(name: str) -> Callable[..., Any]:
        async def carry(stopped: asyncio.Event, *args: Any, wake: asyncio.Event, **kwargs: Any) -> None:
            await wake.wait()
            woken.append(name)
            if len(woken) == 2:
                stop.set()
            await stopped.wait()

        return carry

    monkeypatch.setattr(herald, "carry", waits("herald"))
    monkeypatch.setattr(courier, "carry", waits("courier"))

    async def part(stopped: asyncio.Event) -> None:
        endpoint, _ = await added("https://hooks.example.com/")
        await pinged(endpoint)
        await stopped.wait()

    async with asyncio.timeout(PATIENT_S):
        await server.work(stop, part)
    assert sorted(woken) == ["courier", "herald"]
    await asyncio.to_thread(offload.close_all)


# --- what is not connected to ---------------------------------------------------------------------------------------

LOOPBACK = """
    127.0.0.1 127.0.0.2 127.1 127.0.1 127.255.255.254 0x7f.1 0x7f000001 0x7F.0.0.1 0177.0.0.1 0177.1 017700000001
    2130706433 0 0.0.0.0 00.0.0.0 127.0.0.1. 127.000.000.001 0127.0.0.1 127.0.0.0x1 127.0.0.01 127..0.1 .127.0.0.1 [::1]
    [::] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:0001] [::127.0.0.1] [::7f00:1]
    [::ffff:0:7f00:1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::1] [2001:0:7f00:1::] [2600::5efe:7f00:1]
    [::1%25lo] [::1%lo] [fe80::1] localhost LOCALHOST localhost. a.localhost localhost.localdomain x.local x.internal db
    redis metadata.google.internal １２７.0.0.1 127。0。0。1 ①②⑦.0.0.1 ⓛocalhost ｌocalhost %31%32%37.0.0.1 127.0.0.1%2f
    u@127.0.0.1 u:p@127.0.0.1 example.com@127.0.0.1 127.0.0.1\\@example.com 127.0.0.1#@example.com 10.0.0.1 192.168.0.1
    127.0.0.1;example.com 169.254.169.254 100.64.0.1 [fd00::1] [fec0::1]"""
HOSTS = LOOPBACK.split()


async def leads_here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def test_more_than_sixty_forbidden_targets_are_refused_on_sending_and_a_canary_on_loopback_hears_nothing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connects = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connects
        connects += 1
        writer.close()

    canary = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = canary.sockets[0].getsockname()[1]
    try:
        canary_6 = await asyncio.start_server(connected, "::1", port)
    except OSError:
        canary_6 = canary  # no IPv6 here
    monkeypatch.setattr(targets, "PORTS", {*targets.PORTS, port})  # so that its port is no reason
    urls = [f"http://{host}:{port}/hook" for host in HOSTS]
    # Names that are public as they are written, and lead here.
    named = [f"http://r{number}.example.com:{port}/" for number in range(5)]
    assert len(set(HOSTS)) == len(HOSTS) >= 60

    @sync_to_async
    def saved_before_that_was_forbidden() -> None:
        for url in [*urls, *named]:
            row = WebhookEndpoint(url=url)
            row.set_secret(webhook.new_secret())
            row.save()
            webhooks.ping(row, **BY)

    settings.WEBHOOK_HOSTS = []
    await saved_before_that_was_forbidden()
    came_to: list[Posted] = []

    async def post(url: str, body: bytes, headers: Any) -> Posted:
        came_to.append(await webhook_client.post(url, body, headers, resolve=leads_here))
        return came_to[-1]

    async with canary, canary_6, sending(post=post) as wake:
        await until(states(D.REFUSED), wake)
        assert len(came_to) == len(urls) + len(named)
        assert all(one.refused and one.status is None and one.why for one in came_to)
        assert connects == 0
        settings.WEBHOOK_HOSTS = [f"127.0.0.1:{port}"]
        told = await webhook_client.post(f"http://127.0.0.1:{port}/", b"{}", {})
        assert (told.status, connects) == (None, 1), "the canary listens"
