"""axe on every page, light and dark, wide and narrow; and no page scrolls sideways, down to 360 px."""

import json
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.visitor import Visit, Visitor
from tests.countersign import Countersign, countersign
from tests.e2e.stage import Stage
from tests.long_form import LONG

pytestmark = [pytest.mark.browser, pytest.mark.process]

SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
NARROWEST = (360, 780)
Look = tuple[str, Literal["light", "dark"]]
LOOKS: list[Look] = [("wide", "light"), ("narrow", "dark")]  # each size and each scheme once
if LONG:
    LOOKS += [("wide", "dark"), ("narrow", "light")]
GRAVE = ("serious", "critical")
IDS = """
import json
from approvals.models import WebhookEndpoint
from dashboard.models import ApiToken, User
print(json.dumps({
    "webhook": str(WebhookEndpoint.objects.first().pk),
    "token": str(ApiToken.objects.first().pk),
    "person": User.objects.create_user("joon-of-axe").pk,
}))
"""
TOKEN = ("tokens", "create", "axe", "--user", "admin", "--scope", "runs:read")

Pages = dict[str, str]


@pytest.fixture(scope="module")
def pages(unhurried: Stage) -> Pages:
    """Name -> path: a page of each kind, in each state that looks different."""
    on = unhurried
    pending = on.asked(on.start("the-agui", "outbound-email"))[0]
    held, delivered = (on.asked(on.start("the-mindra", scenario))[0] for scenario in ("refund", "sql-migration"))
    odd = on.asked(on.start("the-agui", "odd-characters"))[0]
    lost = on.asked(on.start("the-agui", "shell-command", faults="fault:effect-then-drop"))[0]
    first, second = on.asked(on.start("the-agui", "account-deletion"), 2)
    combined = on.asked(on.start("the-middesk", "cip_orchestrator"))[0]
    strange = on.asked(on.start("the-middesk", "odd_findings"))[0]
    by_policy = on.start("the-middesk", "address_risk")
    failed = on.start("the-middesk", "registry_search")
    expired = on.requests(on.start("the-agui", "access-grant", faults="fault:expires=1"))
    on.approve(held, undo_s=600)
    on.reject(delivered, undo_s=0, reason="Not on a Friday")
    on.approve(lost, undo_s=0)
    on.approve(first, undo_s=600)
    on.becomes(delivered["id"], "delivered")
    on.becomes(lost["id"], "unknown")
    on.ended(by_policy)
    on.ended(failed, "failed")
    expired = on.requests(on.started[-1])
    on.becomes(expired[0]["id"], "expired")
    return {
        "inbox": "/",
        "inbox, a slip open": f"/?open={pending['id']}",
        "inbox, nothing found": "/?q=nothing+like+this",
        "decided": "/?tab=decided",
        "pending": f"/requests/{pending['id']}/",
        "edit": f"/requests/{pending['id']}/edit/",
        "exact": f"/requests/{pending['id']}/exact/",
        "held": f"/requests/{held['id']}/",
        "delivered": f"/requests/{delivered['id']}/",
        "unknown": f"/requests/{lost['id']}/",
        "expired": f"/requests/{expired[0]['id']}/",
        "odd": f"/requests/{odd['id']}/",
        "batch": f"/requests/{second['id']}/",
        "combined proposals": f"/requests/{combined['id']}/",
        "odd findings": f"/requests/{strange['id']}/?parts=all",
        "run": f"/runs/{delivered['run_id']}/",
        "run, answered by policy": f"/runs/{by_policy}/",
        "run, failed": f"/runs/{failed}/",
        "event": f"/runs/{delivered['run_id']}/events/1/",
        "runs": "/runs/",
        "streams": "/streams/",
        "runs, nothing found": "/runs/?q=nothing+like+this",
        "nowhere": "/nowhere/",
    }


@pytest.fixture(scope="module")
def desk(unhurried: Stage) -> Pages:
    """The pages where people set things up."""
    house = unhurried.house
    house.command("webhooks", "add", "https://hooks.example.com/countersign")
    house.command(*TOKEN)
    ids = json.loads(house.command("shell", "--no-imports", "-c", IDS).splitlines()[-1])
    kinds = {f"settings: add {kind}": f"/settings/add-provider/?kind={kind}" for kind in ("mindra", "middesk", "agui")}
    starts = {f"start at {kind}": f"/runs/start/?provider=the-{kind}" for kind in ("mindra", "middesk", "agui")}
    return {
        "settings": "/settings/",
        "settings: providers": "/settings/providers/",
        "settings: which kind": "/settings/add-provider/",
        **kinds,
        "settings: Mindra": "/settings/providers/the-mindra/",
        "settings: Middesk": "/settings/providers/the-middesk/",
        "settings: webhooks": "/settings/webhooks/",
        "settings: a webhook": f"/settings/webhooks/{ids['webhook']}/",
        "settings: a new secret": f"/settings/webhooks/{ids['webhook']}/secret/",
        "settings: tokens": "/settings/tokens/",
        "settings: revoke": f"/settings/tokens/{ids['token']}/revoke/",
        "settings: people": "/settings/people/",
        "settings: a person": f"/settings/people/{ids['person']}/",
        "start": "/runs/start/",
        **starts,
        "watch": "/runs/watch/",
    }


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countersign]:
    """A house where nothing was ever set up."""
    with countersign(tmp_path_factory.mktemp("empty")) as house:
        yield house


def looks(name: str) -> list[Look]:
    """How a page is looked at: one way or the other in the short form, and half of the pages each way."""
    return LOOKS if len(LOOKS) > 2 else [LOOKS[zlib.crc32(name.encode()) % 2]]


def shaped(me: Visitor, size: tuple[int, int]) -> None:
    me.page.set_viewport_size({"width": size[0], "height": size[1]})


def too_wide(me: Visitor) -> int:
    """By how many pixels the page can be scrolled sideways."""
    over: int = me.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return over


def found(me: Visitor, scheme: Any) -> list[str]:
    """What axe calls serious on the page as it is."""
    me.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    said = Axe().run(me.page, options={"resultTypes": ["violations"]}).response
    assert said["passes"], "axe looked at something"
    return [
        f"{scheme}: {one['id']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in said["violations"]
        if one["impact"] in GRAVE
    ]


def faults(me: Visitor, name: str) -> list[str]:
    """What is wrong with the page that is up, in both sizes and schemes."""
    wrong = []
    for size, scheme in looks(name):
        shaped(me, SIZES[size])
        wrong += [f"{name}, {size}, {line}" for line in found(me, scheme)]
    for pixels in (NARROWEST, *SIZES.values()):
        shaped(me, pixels)
        if over := too_wide(me):
            wrong.append(f"{name}: {over} px too wide at {pixels[0]} px")
    return wrong


def walked(me: Visitor, pages: Pages) -> list[str]:
    """All faults of these pages."""
    wrong = []
    for name, path in pages.items():
        answer = me.page.goto(me.house.url + path)
        assert answer is not None
        assert (answer.status == 200) == (name != "nowhere"), f"{name}: {answer.status}"
        if me.page.locator("[data-live]").count():
            me.live()
        wrong += faults(me, name)
    return wrong


def test_no_page_of_the_work_has_a_serious_fault(unhurried: Stage, pages: Pages, visit: Visit) -> None:
    assert walked(visit(unhurried.house), pages) == []


def test_no_page_of_the_desk_has_one(unhurried: Stage, desk: Pages, visit: Visit) -> None:
    assert walked(visit(unhurried.house), desk) == []


@pytest.mark.long
def test_no_form_has_one_when_it_comes_back_with_what_is_wrong(unhurried: Stage, desk: Pages, visit: Visit) -> None:
    me, wrong = visit(unhurried.house), []
    forms = (
        "settings: add mindra",
        "settings: webhooks",
        "settings: tokens",
        "settings: people",
        "start at middesk",
        "watch",
    )
    for name in forms:
        me.go(desk[name])
        with me.page.expect_navigation():
            me.page.locator("main form button").last.click()
        assert me.page.locator("main [aria-invalid=true]").count(), name
        wrong += faults(me, f"{name}, refused")
    assert wrong == []


def test_a_secret_that_is_shown_once_is_shown_well(unhurried: Stage, visit: Visit) -> None:
    me = visit(unhurried.house)
    me.go("/settings/tokens/")
    me.page.locator("main").get_by_label("Name").fill("shown once")
    me.page.locator("main input[type=checkbox]").first.check()
    with me.page.expect_navigation():
        me.page.locator("main form button").last.click()
    assert faults(me, "a secret") == []


@pytest.mark.long
def test_a_new_installation_has_none(empty: Countersign, visit: Visit) -> None:
    me = visit(empty)
    assert walked(me, {"first use": "/", "no runs": "/runs/", "settings": "/settings/", "start": "/runs/start/"}) == []


def test_the_sign_in_has_none(unhurried: Stage, visit: Visit) -> None:
    me = visit(unhurried.house, "")
    me.go("/accounts/login/")
    wrong = faults(me, "sign-in")
    me.sign_in("admin", "not the password")
    me.page.get_by_role("alert").wait_for()
    assert wrong + faults(me, "sign-in refused") == []


@pytest.mark.long
def test_what_somebody_may_not_do_is_said_on_a_page_without_faults(empty: Countersign, visit: Visit) -> None:
    me, wrong = visit(empty, "reviewer-of-axe"), []
    for path in ("/settings/", "/runs/start/"):
        answer = me.page.goto(empty.url + path)
        assert answer is not None
        assert answer.status == 403, path
        wrong += faults(me, path)
    me.go("/settings/tokens/")
    wrong += faults(me, "own tokens")
    assert wrong == []


@pytest.mark.long
def test_every_page_has_its_landmarks_and_one_heading(
    unhurried: Stage, pages: Pages, desk: Pages, visit: Visit
) -> None:
    me = visit(unhurried.house)
    for name, path in (pages | desk).items():
        me.go(path)
        assert me.page.locator("main").count() == 1, name
        assert me.page.locator("h1:visible").count() == 1 or name == "inbox, a slip open", name
        me.page.keyboard.press("Tab")
        first = me.page.evaluate("document.activeElement.className || document.activeElement.tagName")
        assert name == "nowhere" or first == "skip", name
