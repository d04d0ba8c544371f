"""A person in a browser of their own; whatever their pages do wrong is kept until the end of the journey."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, expect

from tests.countersign import Countersign

PASSWORD = "a long pass phrase"
WATCH = """
window.canary = (where) => console.error("canary: " + where);
document.addEventListener("securitypolicyviolation", (one) => {
  console.error("policy: " + one.violatedDirective + " " + one.blockedURI + " on " + location.pathname);
});
"""
EXPECTED = ("Failed to load resource: ",)  # an answer of 404, 409 or 422: the tests ask what the page shows for it
CUT_OFF = (
    "WebSocket connection to ",
    "htmx:sendError",
    "htmx:afterRequest",
    "[object Event]",
)  # where a test cuts the line
WAIT_MS = 60_000.0  # for what never comes; a slow machine must not reach it
MAKE = """
from django.contrib.auth.models import Group
from dashboard.models import User
user = User.objects.create_user("{name}", password="{password}")
user.groups.add(Group.objects.get(name="Reviewer"))
"""

expect.set_options(timeout=WAIT_MS)


@dataclass
class Visitor:
    """A context with one page, signed in or not."""

    house: Countersign
    context: BrowserContext
    page: Page
    expected: tuple[str, ...] = EXPECTED
    wrong: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Keep errors, refusals by the policy, requests to others, dialogs."""
        self.context.add_init_script(WATCH)
        self.context.on("request", self._on_request)
        self.context.on("weberror", lambda error: self.wrong.append(str(error.error)))
        self.context.on("console", self._on_console)
        self.page.on("dialog", self._on_dialog)

    def _on_dialog(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.house.url}/", "data:", "about:")):
            self.wrong.append(f"request to {request.url}")

    def _on_console(self, said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith(self.expected):
            self.wrong.append(f"{self.page.url}: {said.text}")

    # -- where they are

    def go(self, path: str) -> None:
        """Open a page of the house; any answer will do."""
        self.page.goto(self.house.url + path)

    def open(self, asked: Any) -> None:
        """Open a request on its own page, live and ready to be signed."""
        self.go(f"/requests/{asked['id']}/")
        self.live()

    def inbox(self, query: str = "") -> None:
        """Open the inbox, live."""
        self.go(f"/{query}")
        self.live()

    def live(self) -> None:
        """Wait for the socket's first frame."""
        expect(self.page.locator("[data-live-word]").first).to_have_text("Live")

    def sign_in(self, name: str, password: str) -> None:
        """Through the form that stands there."""
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    @contextmanager
    def without_reloading(self) -> Iterator[None]:
        """Whatever changes meanwhile changes in the same document."""
        self.page.evaluate("window.sameDocument = true")
        yield
        assert self.page.evaluate("window.sameDocument === true"), "the page was loaded again"

    # -- what they see

    @property
    def slip(self) -> Locator:
        return self.page.locator("#slip")

    @property
    def stub(self) -> Locator:
        return self.page.locator("#sign")

    @property
    def approve_button(self) -> Locator:
        return self.page.locator("#approve")

    @property
    def reject_button(self) -> Locator:
        return self.stub.get_by_role("button", name="Reject")

    @property
    def banner(self) -> Locator:
        return self.page.locator("#banner")

    def row(self, asked: Any) -> Locator:
        return self.page.locator(f"#row-{asked['id']}")

    def shows(self, asked: Any) -> None:
        """Wait until this request's slip is up."""
        expect(self.slip).to_have_attribute("data-request", asked["id"])

    def status(self, *wanted: str) -> None:
        """Wait until the stub says one of these statuses."""
        expect(self.stub).to_have_attribute("data-status", re.compile("|".join(f"^{one}$" for one in wanted)))

    # -- what they do

    def ready(self) -> None:
        """Wait until Approve is armed."""
        expect(self.approve_button).not_to_have_attribute("aria-disabled", "true")

    def armed(self) -> None:
        """Wait until the page takes verdicts."""
        expect(self.stub).to_have_attribute("data-armed", "")

    def approve(self) -> None:
        self.ready()
        self.approve_button.click()

    def reject(self, chip: str = "", words: str = "") -> None:
        """Reject with a reason, once the page takes clicks."""
        if chip:
            self.page.locator(".reasons label", has_text=chip).click()
        if words:
            self.page.get_by_label("Reason in your words").fill(words)
        self.armed()
        self.reject_button.click()


Visit = Callable[..., Visitor]


class Reception:
    """Lets visitors in. Each person signs in through the form once; later visits carry the same cookie."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._keys: dict[tuple[str, str], Any] = {}

    def admit(self, house: Countersign, name: str, **options: Any) -> Visitor:
        """A visitor at the inbox's door: signed in as `name`, or as nobody if that is empty."""
        state = self._key(house, name) if name else None
        context = self._browser.new_context(storage_state=state, **options)
        context.set_default_timeout(WAIT_MS)
        visitor = Visitor(house, context, context.new_page())
        visitor.watch()
        return visitor

    def _key(self, house: Countersign, name: str) -> Any:
        if (house.url, name) not in self._keys:
            if name != "admin":
                house.command("shell", "--no-imports", "-c", MAKE.format(name=name, password=PASSWORD))
            visitor = self.admit(house, "")
            visitor.go("/")
            visitor.sign_in(name, house.password if name == "admin" else PASSWORD)
            visitor.page.wait_for_url(f"{house.url}/")
            self._keys[house.url, name] = visitor.context.storage_state()
            visitor.context.close()
            assert visitor.wrong == []
        return self._keys[house.url, name]
