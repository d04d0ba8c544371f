"""What stands around the pages: the list of keys, and what goes on paper."""

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visit
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]

EVERYWHERE = {"?", "Esc"}
ON_A_SLIP = {"j", "k", "a", "r", "1", "4", "e", "u", "v"}
IN_THE_QUEUE = {"↑", "↓", "Enter", "o", "n", "/"}


def test_the_list_of_keys_names_those_that_work_on_the_page(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = visit(on.house)
    pages = {
        "/": ON_A_SLIP | IN_THE_QUEUE,
        f"/requests/{asked['id']}/": ON_A_SLIP,
        "/runs/": {"/"},
        f"/runs/{asked['run_id']}/": set(),
    }
    for path, keys in pages.items():
        me.go(path)
        me.live()
        me.page.keyboard.press("?")
        expect(me.page.get_by_role("dialog")).to_be_visible()
        shown = me.page.locator("#help kbd:visible").all_inner_texts()
        assert set(shown) == keys | EVERYWHERE, path
        me.page.keyboard.press("Escape")
        expect(me.page.get_by_role("dialog")).to_be_hidden()


def test_a_request_goes_on_paper_whole_and_without_the_house_around_it(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = visit(on.house)
    for path in (f"/requests/{asked['id']}/", f"/?open={asked['id']}", f"/runs/{asked['run_id']}/"):
        me.go(path)
        me.live()
        closed = me.page.locator("details:not([open])").count()
        me.page.emulate_media(media="print")
        me.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        for chrome in (".rail", ".live", "#decide", ".top", ".queue", "kbd"):
            assert me.page.locator(f"{chrome}:visible").count() == 0, (path, chrome)
        assert me.page.locator("details:not([open])").count() == 0
        assert me.page.locator(".print-only:visible").count() == 1
        if "/runs/" not in path:
            expect(me.page.locator("#payload")).to_be_visible()
            expect(me.page.locator(".print-only")).to_contain_text(asked["input_sha256"])
        me.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        me.page.emulate_media(media="screen")
        assert me.page.locator("details:not([open])").count() == closed
