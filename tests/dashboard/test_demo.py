"""The demo's pace, and that it rests without --demo."""

import pytest
from channels.db import database_sync_to_async

from dashboard import demo
from dashboard.demo import Offer, Pace, programme
from streams.models import Provider
from tests import factories
from tests.countersign import Countersign, eventually

OFFERS = [
    Offer(kind=kind, title=f"{kind} {n}", task="t", asks=asks)
    for kind in ("mindra", "middesk", "agui")
    for n, asks in enumerate((2, 1, 1, 0))
]


def test_one_of_each_kind_comes_first_and_each_story_gets_its_turn() -> None:
    order = programme(OFFERS)
    first = [next(order) for _ in range(48)]
    assert {offer.kind for offer in first[:3]} == {"mindra", "middesk", "agui"}
    assert all(offer.asks == 1 for offer in first[:6])
    assert {offer.title for offer in first} == {offer.title for offer in OFFERS}
    asked = [offer.asks for offer in first]
    assert sum(asks for asks in asked if asks == 1) >= sum(asked) / 2


def test_runs_begin_at_once_then_steadily_then_slowly_then_not_at_all() -> None:
    pace, now, pending, starts = Pace(), 0.0, 0, []
    while now < 400:
        while pace.due(now, pending):
            pace.start(now)
            starts.append(now)
            pending += 2 if len(starts) % 3 == 0 else 1
            assert pending <= 20
        now += 0.5
    assert starts[:3] == [0.0, 0.0, 0.0]
    few = [later - earlier for earlier, later in zip(starts, starts[1:6], strict=False)]
    assert max(few) <= 8
    assert pending >= 18


def test_what_the_emulator_offers_is_started_with_its_options() -> None:
    said = {
        "middesk": [{"title": "m", "task": "", "asks": 1, "workflow": "cip", "options": {"business_id": "b-1"}}],
        "agui": [{"title": "a", "task": "t", "asks": 1, "forwardedProps": {"scenario": "s"}}],
        "mindra": [{"title": "w", "task": "t", "asks": 1, "workflow": "slug"}],
        "unknown": [{"title": "u", "task": "t", "asks": 1}],
    }
    options = {offer.kind: offer.options for offer in demo._offers(said)}
    assert options == {
        "middesk": {"business_id": "b-1"},
        "agui": {"forwardedProps": {"scenario": "s"}},
        "mindra": {},
    }


@pytest.mark.django_db(transaction=True)
async def test_without_demo_its_providers_rest() -> None:
    def make() -> tuple[Provider, Provider]:
        return factories.provider(name="demo-mindra"), factories.provider(name="mine")

    theirs, mine = await database_sync_to_async(make)()
    await demo.pause(None)  # type: ignore[arg-type]
    await database_sync_to_async(theirs.refresh_from_db)()
    await database_sync_to_async(mine.refresh_from_db)()
    assert (theirs.paused, mine.paused) == (True, False)


@pytest.mark.process
def test_the_demo_asks_soon_and_survives_a_kill(tmp_path) -> None:  # type: ignore[no-untyped-def]
    server = Countersign(tmp_path / "data", demo=True)
    try:
        server.start()
        with server.api() as api:

            def pending() -> list[dict[str, object]]:
                items: list[dict[str, object]] = api.get("approvals", params={"status": "pending"}).json()["items"]
                return items

            eventually(lambda: {item["provider"] for item in pending()} == set(demo.NAMES.values()))
            before = {str(item["id"]) for item in pending()}
            server.kill()
            server.start()
            assert before <= {str(item["id"]) for item in eventually(pending)}
        assert server.stop() == 0
    finally:
        server.close()
