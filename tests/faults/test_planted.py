"""The history checker finds faults that are planted into the running product; without one it finds nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

from approvals import audit, courier, decisions, lifecycle, outbox, requests, sending
from approvals.courier import Courier
from approvals.models import ApprovalRequest
from approvals.sending import Answered
from streams import standing
from streams.errors import StaleEpoch
from streams.holder import Holder, Tools
from streams.journal import Entry, Journal
from streams.models import Lease, Run
from streams.reader import Reader
from tests.emulator import Emulator, emulator
from tests.faults.system import ON_ITS_WAY, System, system
from tests.streams.holding import in_database

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Path]]:
    folder = tmp_path_factory.mktemp("agents")
    with emulator("all", state=folder) as made:
        yield made, folder


@pytest.fixture(autouse=True)
async def _close_the_threads_connection() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture(autouse=True)
def _long_leases(settings: Any) -> None:
    """Nobody notices by himself that his lease was taken over."""
    settings.LEASE_RENEW_S = settings.LEASE_TTL_S = settings.LEASE_SELF_STOP_S = 600


# --- what is planted --------------------------------------------------------------------------------------------------


def acknowledged_before_it_is_sent(patch: Patch) -> None:
    async def send(self: Courier, prepared: Any, opened: UUID | None) -> Answered:
        return Answered(200, b"", None)

    patch.setattr(Courier, "_send", send)


def sent_twice(patch: Patch) -> None:
    real = sending.send

    async def send(*args: Any, **kwargs: Any) -> Any:
        await real(*args, **kwargs)
        return await real(*args, **kwargs)

    patch.setattr(sending, "send", send)


class AnyEpoch(int):
    """Equal to every epoch."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def no_epoch_is_asked_for(patch: Patch) -> None:
    real = standing.read

    def read(entries: Any) -> Any:
        found = real(entries)
        for run in found.values():
            run.epoch = AnyEpoch(run.epoch)
        return found

    patch.setattr(standing, "read", read)


def entries_changed(patch: Patch, change: Callable[[list[Entry]], list[Entry]]) -> None:
    real = Reader._entries

    def entries(self: Reader, frames: Any) -> list[Entry]:
        found = real(self, frames)
        plain = [entry for entry in found if entry.kind == "chunk"]
        return change(found) if plain else found

    patch.setattr(Reader, "_entries", entries)


def an_event_lost(patch: Patch) -> None:
    left = [1]

    def change(found: list[Entry]) -> list[Entry]:
        at = next(n for n, entry in enumerate(found) if entry.kind == "chunk")
        return found[:at] + found[at + 1 :] if left and left.pop() else found

    entries_changed(patch, change)


def an_event_doubled(patch: Patch) -> None:
    def change(found: list[Entry]) -> list[Entry]:
        at = next(n for n, entry in enumerate(found) if entry.kind == "chunk")
        return [*found[:at], found[at], *found[at:]]

    entries_changed(patch, change)


def events_out_of_order(patch: Patch) -> None:
    """The first chunk comes one event too late."""
    real, held, late = Reader._entries, list[Entry](), [True]

    def entries(self: Reader, frames: Any) -> list[Entry]:
        found = real(self, frames)
        at = next((n for n, entry in enumerate(found) if entry.kind == "chunk"), None)
        if late and at is not None:
            late.clear()
            held.append(found.pop(at))
        elif held and any(entry.source == "provider" for entry in found):
            found.append(held.pop())
        return found

    patch.setattr(Reader, "_entries", entries)


def a_request_overlooked(patch: Patch) -> None:
    real = requests.project

    def project(stored: Any) -> Any:
        return real([one for one in stored if one.kind != "approval_request"])

    patch.setattr(requests, "project", project)


def other_arguments_decided(patch: Patch) -> None:
    real = lifecycle.try_settle

    def try_settle(*args: Any, **conditions: Any) -> bool:
        conditions.pop("input_sha256", None)
        return real(*args, **conditions)

    patch.setattr(lifecycle, "try_settle", try_settle)


def a_decision_lost(patch: Patch) -> None:
    real = decisions.decide

    def decide(*args: Any, **kwargs: Any) -> Any:
        with transaction.atomic():
            made = real(*args, **kwargs)
            transaction.set_rollback(True)
        return made

    patch.setattr(decisions, "decide", decide)


def settled_without_evidence(patch: Patch) -> None:
    def no_answer(claim: outbox.Claim, *args: Any, **kwargs: Any) -> None:
        outbox.mark_delivered(claim, status=200)

    patch.setattr(courier, "_no_answer", no_answer)


def an_undo_ignored(patch: Patch) -> None:
    patch.setattr(decisions, "undo", lambda request_id, **_: ApprovalRequest.objects.get(pk=request_id))


def audit_left_out(patch: Patch) -> None:
    real = audit.append_all
    patch.setattr(audit, "append_all", lambda entries: real([one for one in entries if one.action != "decision.made"]))


def never_unknown(patch: Patch) -> None:
    """After a doubt it is sent again, as if a repeat could not act twice."""

    def no_answer(claim: outbox.Claim, kind: str, why: str, **_: Any) -> None:
        outbox.mark_later(claim, why=why, wait_s=0)

    patch.setattr(courier, "_no_answer", no_answer)


# --- what is done meanwhile -------------------------------------------------------------------------------------------


async def one_decision(on: System, *, faults: str = "", seen: str = "") -> None:
    run_id = await on.start("mindra", faults=faults)
    await on.decide(await on.asked(run_id), seen=seen)
    await on.at_rest(run_id)


async def one_of_each(on: System) -> None:
    runs = [await on.start(kind) for kind in ("mindra", "agui")]
    for run_id, verdict in zip(runs, ("approve", "reject"), strict=True):
        await on.decide(await on.asked(run_id), verdict)
    await on.at_rest(*runs)


async def one_that_waits(on: System) -> None:
    run_id = await on.start("mindra")
    await on.until(lambda: Run.objects.filter(pk=run_id, status="waiting").exists())


async def one_that_is_confirmed_only(on: System) -> None:
    await on.decide(await on.asked(await on.start("mindra")))


async def one_decision_on_what_nobody_sees(on: System) -> None:
    await one_decision(on, seen="0" * 64)


async def one_answer_that_is_dropped(on: System) -> None:
    await one_decision(on, faults="fault:drop-before-effect")


async def one_answer_that_acts_again(on: System) -> None:
    """Two questions are open, so that nothing on the stream tells which of them the dropped answer reached."""
    run_id = await on.start("mindra", "account-deletion", faults="fault:effect-then-drop fault:repeat,how=acts")
    first = await on.asked(run_id)
    await on.decide(first)
    await on.until(ApprovalRequest.objects.filter(pk=first.pk).exclude(status__in=ON_ITS_WAY).exists)
    await on.decide(await on.asked(run_id), "reject")
    await on.at_rest(run_id)


async def one_that_is_taken_back(on: System) -> None:
    run_id = await on.start("mindra")
    asked = await on.asked(run_id)
    await on.decide(asked, undo_s=1)
    await on.undo(asked)
    await on.until(lambda: not ApprovalRequest.objects.filter(pk=asked.pk, status="held").exists())
    if not await in_database(ApprovalRequest.objects.filter(pk=asked.pk, status="pending").exists):
        await on.at_rest(run_id)


async def two_holders_of_one_run(on: System) -> None:
    """The second one reads under a newer epoch; the first does not know that its lease was taken over."""
    run_id = await on.start("mindra")
    asked = await on.asked(run_id)
    journal = Journal(requests.project)
    journal.start()
    lease = await in_database(Lease.objects.get, run=run_id)
    newer = lease.epoch + 1
    await in_database(
        lambda: Lease.objects.filter(run=run_id).update(
            owner="another", epoch=newer, expires_at=lease.expires_at + timedelta(hours=1)
        )
    )
    second = asyncio.create_task(Holder(run_id, newer, Tools("another", journal)).hold())
    await on.until(lambda: Run.objects.get(pk=run_id).events.filter(kind="connected").count() == 2)
    await on.decide(asked)
    with suppress(StaleEpoch):
        await second
    await on.at_rest(run_id)
    await journal.close()


@dataclass(frozen=True)
class Planted:
    plant: Callable[[Patch], None]
    act: Callable[[System], Awaitable[None]]
    said: str


PLANTED = [
    Planted(acknowledged_before_it_is_sent, one_that_is_confirmed_only, "its agent never heard of it"),
    Planted(sent_twice, one_decision, "was told 2 times yes"),
    Planted(no_epoch_is_asked_for, two_holders_of_one_run, "events: run"),
    Planted(an_event_lost, one_decision, "1 lost"),
    Planted(an_event_doubled, one_decision, "doubled or invented"),
    Planted(events_out_of_order, one_decision, "out of order"),
    Planted(a_request_overlooked, one_that_waits, "the agent asked, and there is no request"),
    Planted(other_arguments_decided, one_decision_on_what_nobody_sees, "decided on other arguments than it has"),
    Planted(a_decision_lost, one_that_is_confirmed_only, "was confirmed and is gone"),
    Planted(settled_without_evidence, one_answer_that_is_dropped, "delivered, but took effect 0 times"),
    Planted(an_undo_ignored, one_that_is_taken_back, "was confirmed and is gone"),
    Planted(audit_left_out, one_decision, "the audit chain does not have its decision"),
    Planted(never_unknown, one_answer_that_acts_again, "acted 2 + 0 times"),
]
ACTS = [one_of_each, one_answer_that_is_dropped, one_answer_that_acts_again, one_that_is_taken_back]
ACTS += [one_that_waits, two_holders_of_one_run]  # the others are parts of these


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
async def test_what_the_product_does_breaks_no_rule(
    agents: tuple[Emulator, Path], act: Callable[[System], Awaitable[None]]
) -> None:
    async with system(*agents) as on:
        await act(on)
        assert await on.broken() == []


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.plant.__name__)
async def test_a_planted_fault_is_found(agents: tuple[Emulator, Path], monkeypatch: Patch, planted: Planted) -> None:
    if planted.plant is no_epoch_is_asked_for and connection.vendor == "postgresql":
        pytest.skip("two writers meet at the same number there, and the database takes it once")
    planted.plant(monkeypatch)
    async with system(*agents) as on:
        await planted.act(on)
        found = await on.broken(looks=10)
    assert [one for one in found if planted.said in one], found
