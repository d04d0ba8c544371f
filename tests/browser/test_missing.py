"""What may have been missed is told above the queue, live, without moving a row from under the pointer."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_queue import places, some
from tests.browser.visitor import Visit
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]


REMARK = """
import json
from django.utils import timezone
from streams import events
from streams.models import Event
told = json.dumps({"text": "words", "place": 3, "certain": False, "by": "replay"})
seq = Event.objects.filter(run="%s").count() + 100
Event.objects.create(run_id="%s", seq=seq, source="house", kind="%s", payload=told, sha256=events.sha256(told),
                     received_at=timezone.now())
"""


def test_a_gap_is_told_above_the_queue_and_moves_no_row_under_the_pointer(on: Stage, visit: Visit) -> None:
    provider = on.provider("gappy-mindra", "mindra", on.agents.mindra)
    rows = some(on, provider, 2)
    run_id = rows[0]["run_id"]
    me = visit(on.house)
    me.inbox(f"?provider={provider}")
    line = me.page.locator("#missing li").filter(has=me.page.locator(f"a[href='/runs/{run_id}/']"))

    def happens(kind: str) -> None:
        """By another process: the page hears of it with whatever happens next."""
        on.house.command("shell", "-c", REMARK % (run_id, run_id, kind))
        on.start(provider, "refund")

    with me.without_reloading():
        me.row(rows[0]).hover()
        before = places(me)
        happens("gap")
        expect(me.page.locator("#missing")).to_have_attribute("data-late", "yes")
        assert places(me) == before
        me.page.mouse.move(1, 1)
        expect(line).to_contain_text(f"check at {provider}.")
        happens("covered")
        expect(line).to_have_count(0)
