"""Rows A8, B14, B15 and B18 with the database and the projector: what becomes of a run and of what it asked."""

import asyncio
import json
import random
import time
from typing import Any

import pytest
from channels.db import database_sync_to_async

from approvals import decisions, lifecycle, requests
from approvals.errors import InvalidDecision
from approvals.models import ApprovalRequest, RequestStatus
from streams import client, events, providers
from streams.emulator.payloads import PAYLOADS
from streams.models import Event, Provider, RunStatus
from streams.providers.fake import Fake
from tests import factories
from tests.faults.proxy import PASS, hole, proxy
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.holding import fresh, held, hold, house_kinds, in_database, make_run, provider_events, running
from tests.streams.scripted import DONE, STREAM_HEAD, Answer, frame, plain, scripted, staying, stream, texts
from tests.streams.test_supervisor import has, supervising, until

pytestmark = pytest.mark.django_db(transaction=True)
S = RequestStatus


def ask(call_id: str) -> bytes:
    return frame("ask", json.dumps({"id": call_id, "tool": "send", "input": {"to": call_id}}))


@database_sync_to_async
def asked(run: Any) -> dict[str, str]:
    """Call id -> status of the newest version, and how many versions there are behind a slash."""
    rows = ApprovalRequest.objects.filter(run=run).order_by("version").values_list("call_id", "status", "version")
    return {call_id: f"{status}/{version}" for call_id, status, version in rows}


# --- a run that its provider has forgotten --------------------------------------------------------------------------


async def test_b14_a_run_that_is_gone_is_lost_unless_its_end_was_seen(figure: Figure) -> None:
    chance = random.Random(14)
    count, wrong = (100 if LONG else 12), 0
    async with running(project=requests.project) as tools:
        for n in range(count):
            seen, gone = n % 2 == 0, plain(chance.choice([404, 410]), "gone")
            begun = [*texts(range(chance.randint(0, 5))), *([ask("q1")] if chance.random() < 0.7 else [])]
            pending = len(begun) and begun[-1] == ask("q1")
            parts = [stream(*begun[: chance.randint(0, len(begun))]) for _ in range(chance.randint(0, 2))]
            answers = [*parts, stream(*begun, *([DONE] if seen else [])), gone]
            async with scripted(*answers) as server:
                run = await held(server.url)
                await hold(run, tools)
                await hold(run, tools)
                connects = len(server.requests)
            status, requests_now = (await fresh(run)).status, await asked(run)
            wrong += status != (RunStatus.FINISHED if seen else RunStatus.LOST)
            wrong += connects != len(answers) - seen
            wrong += requests_now != ({"q1": "withdrawn/1" if seen else "stale/1"} if pending else {})
    assert wrong == 0
    figure("B14", worst=wrong, n=count, unit="runs that ended otherwise than they should", seed=14)


# --- a credential that is taken back --------------------------------------------------------------------------------


async def test_b15_a_credential_that_is_refused_in_the_middle_of_a_run(figure: Figure) -> None:
    """All runs of the provider together: one alert, no knocking, and back with the new key."""
    count, cut = 5, asyncio.Event()

    async def until_cut(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(texts("ab")))
        await writer.drain()
        await cut.wait()

    def pick(request: Any) -> Answer:
        if request.headers.get("x-api-key") == "new":
            return staying(*texts("abc"), DONE)
        return plain(401, "no") if cut.is_set() else until_cut

    async with scripted(pick=pick) as server:
        first = await in_database(make_run, server.url, secret="old")
        account = await in_database(Provider.objects.get, pk=first.provider_id)
        runs = [first, *[await in_database(factories.run, provider=account, status=RunStatus.QUEUED) for _ in range(4)]]
        async with supervising():
            for run in runs:
                await until(has(run, connected_at__isnull=False))
            cut.set()
            await until(Provider.objects.filter(credential_refused_at__isnull=False).exists)
            for run in runs:
                await until(has(run, connected_at=None))
            await asyncio.sleep(0.5)  # those that were on their way, one after the other
            refused = len(server.requests) - count

            def renew() -> None:
                account.refresh_from_db()
                account.set_secret("new")
                account.save()

            began = time.monotonic()
            await in_database(renew)
            for run in runs:
                await until(has(run, status=RunStatus.FINISHED))
            back_s = time.monotonic() - began
        kinds = [kind for run in runs for kind in await house_kinds(run)]
    assert kinds.count("credential") == 1
    assert refused <= count
    assert await in_database(Event.objects.filter(kind="text").count) == 3 * count
    figure("B15", worst=kinds.count("credential"), n=count, unit=f"alerts, {refused} connects, back in {back_s:.1f} s")


# --- a black hole ---------------------------------------------------------------------------------------------------


async def test_b11_a_black_hole_is_noticed_and_the_stream_joined_again(
    monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """Over real sockets, with a limit of half a second; test_reconnects.py has the real ones in virtual time."""
    monkeypatch.setitem(providers.REGISTRY, "quick", Fake("quick", stall_s=0.5))
    monkeypatch.setattr(client, "HEADERS_S", 0.5)
    answers = staying(*texts("a")), stream(*texts("ab"), DONE)
    async with running() as tools, scripted(*answers) as server:
        with proxy(server.url) as between:
            run = await held(between.url, kind="quick")
            task = asyncio.create_task(hold(run, tools))
            while not await provider_events(run):
                await asyncio.sleep(0.01)
            between.change(hole())
            began = time.monotonic()
            while "stalled" not in await house_kinds(run):
                await asyncio.sleep(0.01)
            noticed_s = time.monotonic() - began
            between.change(PASS)
            await task
        assert [data for kind, data in await provider_events(run) if kind == "text"] == ["a", "b"]
        assert (await fresh(run)).status == RunStatus.FINISHED
        assert "gap" not in await house_kinds(run)
    figure("B11", worst=round(noticed_s, 1), n=1, unit="s until a black hole was noticed (limit 0.5 s)")


# --- what is no stream ----------------------------------------------------------------------------------------------

PORTAL = b'<!doctype html><title>Sign in to the WLAN</title>\n\ndata: {}\n\nevent: ask\ndata: {"id": "q"}\n\n'


async def test_b18_nothing_of_a_captive_portal_is_stored(figure: Figure) -> None:
    types = ("text/html; charset=utf-8", "text/plain", "application/json", "application/octet-stream", "", "text/event",
             "text/event-stream-x", "x-text/event-stream", "multipart/mixed", "application/x-ndjson")  # fmt: skip
    answers = [plain(200, PORTAL, **({"content_type": one} if one else {})) for one in types]
    answers += [plain(status, PORTAL, content_type="text/event-stream") for status in (201, 203, 206, 302, 418, 511)]
    encoded = STREAM_HEAD.replace(b"connection", b"content-encoding: gzip\r\nconnection")
    answers += [encoded + PORTAL, encoded.replace(b"gzip", b"br") + PORTAL]
    async with running(project=requests.project) as tools, scripted(*answers, stream(DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        kinds = [kind for kind, _ in await provider_events(run)]
        assert len(server.requests) == len(answers) + 1
        assert await asked(run) == {}
        assert (await house_kinds(run)).count("misconfigured") == 1
    assert kinds == ["done"]
    figure("B18", worst=len(kinds) - 1, n=len(answers), unit="events stored")


# --- what a replay tells of requests --------------------------------------------------------------------------------


async def test_a_replayed_request_that_is_settled_stays_settled() -> None:
    """Decided, expired, withdrawn: whatever it is, the same question told again changes nothing."""
    told = [*texts("ab"), *(ask(name) for name in ("decided", "expired", "withdrawn")), *texts("c")]
    go_on = asyncio.Event()

    async def first(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(told[:5]))
        await writer.drain()
        await go_on.wait()

    def settle() -> None:
        rows = {one.call_id: one for one in ApprovalRequest.objects.all()}
        one = rows["decided"]
        person = factories.user(is_superuser=True, is_staff=True)
        decisions.decide(one.pk, verdict="reject", by=person, seen_sha256=one.input_sha256, undo_s=600)
        for name in ("expired", "withdrawn"):
            assert lifecycle.try_settle(rows[name].pk, to=S(name), at=rows[name].requested_at)

    replays = stream(*told[:3]), stream(*told[:5]), staying(*told)
    async with running(project=requests.project) as tools, scripted(first, *replays) as server:
        run = await held(server.url)
        task = asyncio.create_task(hold(run, tools))
        while len(await asked(run)) < 3:
            await asyncio.sleep(0.01)
        await in_database(settle)
        before = await asked(run)
        go_on.set()
        while [data for kind, data in await provider_events(run) if kind == "text"] != ["a", "b", "c"]:
            await asyncio.sleep(0.01)
        task.cancel()
        assert await asked(run) == before == {"decided": "held/1", "expired": "expired/1", "withdrawn": "withdrawn/1"}


@pytest.mark.parametrize("how", ["cut within it", "in a gap", "in another past"])
async def test_a_request_that_was_never_stored_becomes_pending_with_the_replay_that_brings_it(how: str) -> None:
    before, behind = texts(range(12)), texts("xyz")
    whole = [*before, ask("q1"), *behind]
    first: dict[str, list[Answer]] = {
        "cut within it": [stream(*before, ask("q1")[:-4])],
        "in a gap": [stream(*before), stream(*behind)],
        "in another past": [stream(*before, *behind)],
    }
    async with running(project=requests.project) as tools, scripted(*first[how], staying(*whole)) as server:
        run = await held(server.url)
        task = asyncio.create_task(hold(run, tools))
        while await asked(run) != {"q1": "pending/1"}:
            await asyncio.sleep(0.01)
        if how == "in a gap":
            while "covered" not in await house_kinds(run):
                await asyncio.sleep(0.01)
        task.cancel()


# --- odd payloads ---------------------------------------------------------------------------------------------------


def told(call_id: str, tool: str = '"send_mail"', given: str = "{}") -> str:
    return f'{{"approval_id":{call_id},"tool_name":{tool},"tool_input":{given}}}'


ASKED = [
    *(told(f'"odd-{n}"', given=make()) for n, make in enumerate(PAYLOADS.values())),
    *(told(call_id) for call_id in ("7", "null", '""', '["a"]', '"a\\u0000b"', '"\\ud800"')),
    *(told(f'"tool-{n}"', tool) for n, tool in enumerate(("{}", "null", "7", '["send"]'))),
    *(told(f'"input-{n}"', given=given) for n, given in enumerate(("[1]", "7", "true", "1e999", "NaN"))),
    '{"tool_name":"send","tool_input":{}}', '{"approval_id":"w1","tool_input":{}}',
    '{"approval_id":"w2","tool_name":"s"}',
    "[]", '"approval"', "7", "null", "true", "{", "", "NaN", "1e400", "not JSON at all", "{}{}",
    "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200,
]  # fmt: skip
OTHERS = [
    ("surprise", "{}"), ("surprise", "{"), ("message", "plain"), ("APPROVAL_REQUEST", "{}"), ("x" * 300, "{}"),
    ("approval_request ", "{}"), ("done ", '{"status":"completed"}'), ("tool_executing", "{"), ("chunk", "["),
    ("chunk", '{"content":7}'), ("tool_executing", '{"tool_name":7}'), ("tool_result", "NaN"), ("chunk", "1e999"),
    ("chunk", '{"content":"\\ud83d"}'), ("chunk", '{"content":"a\\u0000b"}'), ("error", "[[["), ("start", "7"),
    ("chunk", '{"content":"a","content":"b"}'), ("\u202edone", "{}"), ("chunk", "9" * 5000),
]  # fmt: skip


async def test_a8_odd_payloads_are_stored_raw_the_stream_goes_on_and_none_is_approvable(figure: Figure) -> None:
    sane = told('"sane"', given='{"to":"someone@shop.example"}')
    corpus = [("approval_request", text) for text in ASKED] + OTHERS + [("approval_request", sane)]
    body = b"".join(frame(kind, text) for kind, text in corpus)
    async with running(project=requests.project) as tools, scripted(staying(body)) as server:
        run = await held(server.url, kind="mindra", secret="key-for-tests")
        task = asyncio.create_task(hold(run, tools))
        while "sane" not in await asked(run):
            assert not task.done(), task
            await asyncio.sleep(0.02)
        stored = await provider_events(run)
        connects = len(server.requests)
        task.cancel()

        def approvable() -> list[str]:
            person = factories.user(is_superuser=True, is_staff=True)
            found = []
            for one in ApprovalRequest.objects.order_by("opened_by_seq"):
                try:
                    decisions.decide(one.pk, verdict="approve", by=person, seen_sha256=one.input_sha256, undo_s=600)
                    found.append(one.call_id)
                except InvalidDecision:
                    pass
            return found

        taken = await in_database(approvable)
        opened = len(await asked(run))
    assert len(corpus) > 60
    assert [(kind[:90], text) for kind, text in stored] == [(kind[:90], events.text(text)[0]) for kind, text in corpus]
    assert connects == 1
    assert taken == ["sane"]
    unit = f"approvable of what is odd; {len(stored)} stored, {opened} opened, 0 disconnects"
    figure("A8", worst=len(taken) - 1, n=len(corpus) - 1, unit=unit)
