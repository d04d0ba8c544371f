"""Every fault point is come by when the product does all that it does, and a point that fails does no harm."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.db import connections
from django.test import Client

from approvals import webhooks
from approvals.models import Delivery, DeliveryState
from dashboard import access
from dashboard.asgi import application
from dashboard.models import User
from streams import announce, faults
from tests.e2e.test_webhooks import Receiver, receiver
from tests.emulator import Emulator, emulator
from tests.faults.proxy import Proxy, proxy
from tests.faults.system import System, system
from tests.plugins.figures import Figure
from tests.streams.holding import in_database

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
IN_TIME_S = 60


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
def _as_a_small_house(settings: Any) -> None:
    """One process that renews soon, and may tell a receiver on this machine."""
    settings.EMBEDDED = True
    settings.LEASE_RENEW_S = 0.2
    settings.WEBHOOK_HOSTS = ["127.0.0.1"]


@asynccontextmanager
async def a_page() -> AsyncIterator[None]:
    """Somebody watches the inbox."""

    def sign_in() -> Client:
        access.create_groups()
        person = User.objects.get()
        person.groups.add(Group.objects.get(name="Reviewer"))
        client = Client()
        client.force_login(person)
        return client

    client = await in_database(sign_in)
    cookie = "; ".join(f"{name}={value.value}" for name, value in client.cookies.items())
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"cookie", cookie.encode())]
    socket: Any = WebsocketCommunicator(application, "/ws/inbox/", headers=headers)  # type: ignore[no-untyped-call]
    connected, _ = await socket.connect(IN_TIME_S)
    assert connected
    try:
        yield
        await in_database(announce.changed, announce.INBOX)
        while "hx-swap-oob" not in await socket.receive_from(IN_TIME_S):
            pass
    finally:
        await socket.disconnect()


async def a_days_work(on: System, there: Receiver, between: Proxy) -> None:
    """A run of each kind is asked about, decided, delivered and told of by webhook, while a page looks on.

    For a moment nobody reaches one of the agents.
    """
    _, there.secret = await in_database(webhooks.add, there.url, actor="test", origin="test")
    async with a_page():
        runs = [await on.start(kind) for kind in ("mindra", "agui")]
        asked = [await on.asked(run_id) for run_id in runs]
        between.refuse()
        await on.decide(asked[0], "approve")
        await on.until(Delivery.objects.filter(decision__request=asked[0]).exclude(last_error="").exists)
        between.listen()
        await on.decide(asked[1], "reject")
        await on.at_rest(*runs)
        delivered = Delivery.objects.filter(kind="webhook", state=DeliveryState.DELIVERED)
        await on.until(lambda: delivered.count() == 4)


async def test_every_point_is_come_by(agents: tuple[Emulator, Path], figure: Figure) -> None:
    with receiver() as there, proxy(agents[0].mindra) as between, faults.on() as hits:
        async with system(*agents, mindra=between.url) as on:
            await a_days_work(on, there, between)
            async with asyncio.timeout(IN_TIME_S):
                while not hits["lease.renewing"]:
                    await asyncio.sleep(0.05)
            assert await on.broken() == []
    print("\n".join(f"{hits[name]:5} {name}: {words}" for name, words in faults.points().items()))
    missed = sorted(set(faults.points()) - set(hits))
    assert missed == []
    least = min(hits.values())
    counts = ", ".join(f"{name} {hits[name]}" for name in sorted(hits))
    figure("J5", worst=len(missed), n=len(hits), unit=f"points not hit, the rarest {least} times: {counts}")


FORGIVING = ["journal.batch", "journal.inserted", "journal.projected", "journal.committed", "lease.renewing"]
FORGIVING += ["hub.heard", "hub.pushing"]
"""Where one exception is made good by the next try. Elsewhere it ends a holder, a claim or the process, as kills do."""


async def test_points_that_fail_do_no_harm(agents: tuple[Emulator, Path]) -> None:
    together = ["journal.committed", "lease.renewing", "hub.heard"]
    await a_day_with(agents, ", ".join(f"{point}:raise@1" for point in together), together)


@pytest.mark.long
@pytest.mark.parametrize("point", FORGIVING)
async def test_a_point_that_fails_alone_does_no_harm(agents: tuple[Emulator, Path], point: str) -> None:
    await a_day_with(agents, f"{point}:raise@1", [point])


async def a_day_with(agents: tuple[Emulator, Path], plans: str, points: list[str]) -> None:
    with receiver() as there, proxy(agents[0].mindra) as between, faults.on(plans) as hits:
        async with system(*agents, mindra=between.url) as on:
            await a_days_work(on, there, between)
            assert [point for point in points if hits[point] < 2] == [], "tried again"
            assert await on.broken() == []
