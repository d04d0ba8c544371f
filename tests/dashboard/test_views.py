"""Pages and their posts: whole without JavaScript, inert whatever an agent wrote, decided by POST only."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest, AuditEntry, Batch, Decision, Delivery, RequestStatus
from dashboard.models import User
from streams import events
from streams.emulator.payloads import PAYLOADS
from streams.models import Event, Run
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</textarea><svg onload=alert(1)>",
    "</title><script>x</script>",
    "{{ 7|add:7 }}{% csrf_token %}",
    "<a href='javascript:alert(1)'>x</a>",
    "<form action=/x hx-post=/x hx-trigger=load>",
    "<b>Approved by your admin</b>",
    "&lt;script&gt;",
    "\u202e\u2066\u200b\x1b[31m",
]
HTMX = {"HX-Request": "true", "HX-Target": "sign"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and all(attrs.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture
def ada(client: Client) -> User:
    """A signed-in reviewer."""
    user = factories.user(username="ada")
    user.groups.add(Group.objects.get(name="Reviewer"))
    client.force_login(user)
    return user


@pytest.fixture
def bo() -> User:
    user = factories.user(username="bo")
    user.groups.add(Group.objects.get(name="Reviewer"))
    return user


def post(
    client: Client, asked: ApprovalRequest, verdict: str, headers: dict[str, str] | None = None, **fields: str
) -> Any:
    given = {"verdict": verdict, "input_sha256": asked.input_sha256, **fields}
    return client.post(reverse("decide", args=[asked.pk]), given, headers=headers)


def store(run: Run, *told: tuple[str, Any]) -> None:
    for seq, (kind, payload) in enumerate(told, start=1):
        text = payload if isinstance(payload, str) else json.dumps(payload)
        house = kind.startswith("house.")
        Event.objects.create(
            run=run,
            seq=seq,
            source="house" if house else "provider",
            kind=kind.removeprefix("house."),
            payload=text,
            sha256=events.sha256(text),
            received_at=timezone.now(),
        )


# --- who may look ---------------------------------------------------------------------------------------------------


def test_every_page_wants_a_sign_in(client: Client) -> None:
    asked = factories.request()
    store(asked.run, ("chunk", {"content": "x"}))
    pages: list[tuple[str, list[Any]]] = [
        ("inbox", []),
        ("live", []),
        ("request", [asked.pk]),
        ("exact", [asked.pk]),
        ("edit", [asked.pk]),
        ("runs", []),
        ("run", [asked.run_id]),
        ("event", [asked.run_id, 1]),
    ]
    for name, arguments in pages:
        answer = client.get(reverse(name, args=arguments))
        assert answer.status_code == 302, name
        assert answer["Location"].startswith("/accounts/login/"), name
    for name in ("decide", "undo", "resolve"):
        assert client.post(reverse(name, args=[asked.pk])).status_code == 302
    asked.refresh_from_db()
    assert asked.status == RequestStatus.PENDING


def test_the_sign_in_page_says_nothing_about_what_is_inside(client: Client) -> None:
    factories.request(tool="secret_tool")
    html = client.get("/accounts/login/").content.decode()
    page = Page(html)
    assert page.all("input", name="username")
    assert page.all("input", name="password", type="password")
    assert "secret_tool" not in html
    assert "ws-connect" not in html


def test_a_get_never_decides(client: Client, ada: User) -> None:
    asked = factories.request()
    for name in ("decide", "undo", "resolve"):
        assert client.get(reverse(name, args=[asked.pk])).status_code == 405
    client.get(reverse("request", args=[asked.pk]), {"verdict": "approve", "input_sha256": asked.input_sha256})
    assert not Decision.objects.exists()


def test_a_post_without_a_token_of_this_site_is_refused(ada: User) -> None:
    asked = factories.request()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    assert post(strict, asked, "approve").status_code == 403
    assert post(strict, asked, "approve", headers=HTMX).status_code == 403
    assert not Decision.objects.exists()


@pytest.fixture
def everything(client: Client, ada: User) -> Iterator[list[str]]:
    """The path of each kind of page, with an agent's worst in every field."""
    evil = "".join(EVIL)
    provider = factories.provider(name="evil", kind="mindra")
    run = factories.run(provider=provider, title=evil[:290], task=evil, external_id=evil[:250], error=evil)
    arguments = json.dumps({evil: evil, "to": f"a@{evil}", "body": evil, "deep": [{evil: [evil]}]})
    more = {"run": run, "tool": evil[:300], "message": evil, "reason": evil[:190], "deadline_text": evil[:190]}
    asked = factories.request(
        arguments=arguments, call_id="a", offers_edit=True, problem="", alert="It changed.", **more
    )
    broken = factories.request(arguments=evil, call_id="b", problem=f"not JSON: {evil}", **more)
    wants = factories.request(call_id="d", offers_answer=True, answer_schema=json.dumps({"title": evil}), **more)
    unknown = factories.request(arguments=arguments, call_id="c", status="unknown", settled_at=timezone.now(), **more)
    decision = Decision.objects.create(
        request=unknown, by=ada, verdict="approve", reason=evil, seen_sha256="", leaves_at=timezone.now(),
        edited=json.dumps({evil: "x"}),
    )  # fmt: skip
    Delivery.objects.create(
        kind="decision", run=run, decision=decision, state="unknown", answer=evil, last_error=evil, evidence=evil
    )
    store(
        run,
        ("chunk", {"content": evil}),
        ("tool_executing", {"tool_name": evil, "tool_input": {evil: evil}}),
        ("tool_result", {"tool_name": evil, "result": evil}),
        ("approval_request", {"approval_id": "a", "tool_name": evil, "tool_input": {}}),
        ("house.gap", {"text": evil}),
        (evil[:100].replace("\x00", ""), evil),
        ("done", {"status": evil, "final_answer": evil}),
    )
    requests = [asked, broken, wants, unknown]
    yield [
        "/",
        "/?tab=decided",
        f"/?open={asked.pk}",
        f"/?{'&'.join(f'{name}=%3Cscript%3E' for name in ('q', 'tool', 'provider', 'status', 'open'))}",
        *(f"/requests/{one.pk}/" for one in requests),
        *(f"/requests/{one.pk}/?parts=all&edit=1" for one in requests),
        f"/requests/{asked.pk}/exact/",
        f"/requests/{asked.pk}/edit/",
        "/runs/",
        f"/runs/{run.pk}/",
        *(f"/runs/{run.pk}/events/{seq}/" for seq in range(1, 8)),
        f"/live/?queue=1&run={run.pk}",
        f"/live/?queue=1&request={asked.pk}",
    ]


def test_nothing_an_agent_writes_becomes_markup(client: Client, everything: list[str]) -> None:
    for path in everything:
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = Page(answer.content.decode())
        for tag, attrs in page.elements:
            assert tag not in {"img", "iframe", "object", "embed", "b" if "onload" in attrs else "marquee"}, (path, tag)
            assert not [name for name in attrs if name.startswith("on")], (path, tag, attrs)
            assert "style" not in attrs, (path, tag, attrs)
            assert not attrs.get("href", "").startswith("javascript"), path
            if tag == "script":
                assert attrs.get("src", "").startswith("/static/"), path
            if tag == "form":
                assert attrs.get("action", "/").startswith(("/", "")), path
            assert attrs.get("hx-trigger") is None, path


def test_nothing_an_agent_writes_reaches_titles_buttons_or_names(client: Client, everything: list[str]) -> None:
    words = [evil[:12] for evil in EVIL if evil.isascii()] + ["Approved by your admin"]
    for path in everything:
        html = client.get(path).content.decode()
        titles = re.findall(r"<title>(.*?)</title>", html, re.DOTALL)
        buttons = re.findall(r"<button\b.*?</button>", html, re.DOTALL)
        names = re.findall(r'\b(?:aria-label|aria-describedby|alt)="([^"]*)"', html)
        for said in [*titles, *buttons, *names]:
            for word in words:
                assert word not in said.replace("&lt;", "<").replace("&quot;", '"').replace("&#x27;", "'"), (path, said)


def test_hidden_characters_are_shown_as_chips_and_never_raw(client: Client, everything: list[str]) -> None:
    for path in everything:
        html = client.get(path).content.decode()
        shown = re.sub(r"<(textarea|option)\b.*?</\1>|<input\b[^>]*>", "", html, flags=re.DOTALL)
        for char in "\u202e\u2066\u200b\x1b":
            assert char not in shown, (path, hex(ord(char)))
    assert 'class="hid"' in client.get(everything[4]).content.decode()


def test_every_page_keeps_the_strict_policy(client: Client, everything: list[str]) -> None:
    for path in [*everything, "/nowhere/", "/accounts/login/"]:
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy, path
        assert "style-src 'self'" in policy, path
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "nonce" not in policy, path
        assert answer.headers["X-Frame-Options"] == "DENY"
        if answer.status_code == 200 and path != "/accounts/login/":
            assert "no-store" in answer.headers["Cache-Control"], path


def test_htmx_is_told_to_evaluate_nothing_and_to_stay_here(client: Client, ada: User) -> None:
    page = Page(client.get("/").content.decode())
    config = json.loads(page.all("meta", name="htmx-config")[0]["content"])
    assert config["allowEval"] is False
    assert config["selfRequestsOnly"] is True
    assert config["historyCacheSize"] == 0
    assert config["includeIndicatorStyles"] is False
    swapped = {one["code"] for one in config["responseHandling"] if one["swap"]}
    assert {"409", "422"} <= swapped
    assert "X-CSRFToken" in json.loads(page.all("body")[0]["hx-headers"])


def test_agent_frames_are_closed_to_htmx(client: Client, everything: list[str]) -> None:
    for path in everything:
        page = Page(client.get(path).content.decode())
        for attrs in page.all("figure"):
            assert "hx-disable" in attrs, path


# --- the inbox --------------------------------------------------------------------------------------------------------


def rows(client: Client, query: str = "") -> list[str]:
    page = Page(client.get(f"/?{query}").content.decode())
    return [attrs["data-open"] for attrs in page.all("a") if attrs.get("class") == "qr"]


def test_the_inbox_shows_what_waits_riskiest_first(client: Client, ada: User) -> None:
    soon, later = timezone.now() + timedelta(minutes=5), timezone.now() + timedelta(minutes=50)
    easy = factories.request(tier="T1", deadline=soon)
    endless = factories.request(tier="T2")
    late = factories.request(tier="T2", deadline=later)
    near = factories.request(tier="T2", deadline=soon)
    grave = factories.request(tier="T3")
    unknown = factories.request(tier="T1", status="unknown", settled_at=timezone.now())
    factories.request(status="delivered", settled_at=timezone.now())
    assert rows(client) == [str(one.pk) for one in (unknown, grave, near, late, endless, easy)]
    assert "<title>(6) Inbox" in client.get("/").content.decode()


def test_filters_stand_in_the_url_and_narrow_the_list(client: Client, ada: User) -> None:
    mail = factories.request(tool="send_email", arguments='{"to":"ines@harbour.example"}')
    refund = factories.request(tool="refund")
    assert rows(client, "tool=refund") == [str(refund.pk)]
    assert rows(client, "q=HARBOUR") == [str(mail.pk)]
    assert rows(client, f"provider={refund.run.provider.name}") == [str(refund.pk)]
    assert rows(client, "q=nothing+like+it") == []
    assert "Nothing matches" in client.get("/?q=zzz").content.decode()
    assert len(rows(client, "q=%00&tool=%00&tab=%3C&status=%00")) == 2, "what is odd in a filter is left out"


def test_decided_requests_stand_on_their_own_tab(client: Client, ada: User) -> None:
    factories.request()
    gone = factories.request(status="expired", settled_at=timezone.now())
    assert rows(client, "tab=decided") == [str(gone.pk)]
    assert rows(client, "tab=decided&status=delivered") == []


def test_an_empty_inbox_says_what_to_do_next(client: Client, ada: User) -> None:
    assert "No agent is connected yet" in client.get("/").content.decode()
    provider = factories.provider()
    assert "No agent is at work either" in client.get("/").content.decode()
    factories.run(provider=provider)
    assert "Agents are at work" in client.get("/").content.decode()


def test_the_inbox_asks_a_fixed_number_of_queries(
    client: Client, ada: User, django_assert_max_num_queries: Any
) -> None:
    def fill(count: int) -> None:
        for _ in range(count):
            run = factories.run()
            batch = Batch.objects.create(run=run, total=2)
            for member in range(2):
                factories.request(run=run, batch=batch, call_id=f"c{member}")

    fill(3)
    with django_assert_max_num_queries(16) as few:
        client.get("/")
    fill(12)
    with django_assert_max_num_queries(16) as many:
        client.get("/")
    assert len(few) == len(many)


def test_a_slip_and_a_run_ask_a_fixed_number_of_queries(
    client: Client, ada: User, django_assert_max_num_queries: Any
) -> None:
    asked = factories.request()
    store(asked.run, *[("chunk", {"content": "x"})] * 50)
    with django_assert_max_num_queries(20):
        client.get(f"/requests/{asked.pk}/")
    for n in range(20):
        factories.request(run=asked.run, call_id=f"more{n}")
    with django_assert_max_num_queries(20):
        client.get(f"/requests/{asked.pk}/")
    with django_assert_max_num_queries(20):
        client.get(f"/runs/{asked.run_id}/")


# --- a verdict --------------------------------------------------------------------------------------------------------


def test_a_plain_form_decides_and_comes_back(client: Client, ada: User) -> None:
    asked = factories.request()
    form = Page(client.get(f"/requests/{asked.pk}/").content.decode())
    shown = form.all("input", name="input_sha256")[0]["value"]
    answer = client.post(
        form.all("form", id="decide")[0]["action"],
        {"verdict": "reject", "input_sha256": shown, "because": "Too wide", "reason": "one\r\ntwo"},
    )
    assert (answer.status_code, answer["Location"]) == (302, f"/requests/{asked.pk}/")
    decision = Decision.objects.get(request=asked)
    assert (decision.verdict, decision.by, decision.via) == ("reject", ada, "page")
    assert decision.reason == "Too wide. one\ntwo"
    assert decision.seen_sha256 == asked.input_sha256
    assert decision.leaves_at - decision.decided_at == timedelta(seconds=5)
    assert AuditEntry.objects.filter(action="decision.made", actor="ada", origin="page 127.0.0.1").exists()


def test_with_htmx_only_the_stub_comes_back(client: Client, ada: User) -> None:
    asked = factories.request()
    html = post(client, asked, "approve", headers=HTMX).content.decode()
    assert html.startswith('<aside class="sign" id="sign"')
    assert 'data-status="held"' in html
    assert "Undo" in html
    assert "<title>" not in html


def test_enter_in_a_field_can_decide_nothing(client: Client, ada: User) -> None:
    asked = factories.request()
    html = client.get(f"/requests/{asked.pk}/").content.decode()
    form = html[html.index('id="decide"') : html.index("</form>", html.index('id="decide"'))]
    first = re.search(r"<button\b[^>]*>", form)
    assert first is not None
    assert "verdict" not in first[0], "Enter presses a form's first button, which must not be a verdict"
    answer = client.post(reverse("decide", args=[asked.pk]), {"input_sha256": asked.input_sha256})
    assert answer.status_code == 422
    assert "nothing was decided" in answer.content.decode()
    assert not Decision.objects.exists()


def test_neither_verdict_is_focused_or_preferred(client: Client, ada: User) -> None:
    asked = factories.request()
    page = Page(client.get(f"/requests/{asked.pk}/").content.decode())
    verdicts = page.all("button", name="verdict")
    assert [one["value"] for one in verdicts] == ["reject", "approve"]
    assert {one["class"] for one in verdicts} == {"v"}
    assert not [attrs for _, attrs in page.elements if "autofocus" in attrs]


def test_who_comes_second_is_told_who_was_quicker_and_keeps_the_note(client: Client, ada: User, bo: User) -> None:
    asked = factories.request()
    decisions.decide(asked.pk, verdict="reject", by=bo, seen_sha256=asked.input_sha256, undo_s=60)
    for headers in (None, HTMX):
        answer = post(client, asked, "approve", headers=headers, reason="my own words")
        html = answer.content.decode()
        assert answer.status_code == 409
        assert "Nothing you pressed was sent" in html
        assert "bo" in html
        assert "my own words" in html
        assert 'name="verdict"' not in html
    assert Decision.objects.get(request=asked).by == bo


def test_an_answer_and_an_edit_that_came_too_late_are_kept_too(client: Client, ada: User, bo: User) -> None:
    asked = factories.request(offers_edit=True, offers_answer=True)
    decisions.decide(asked.pk, verdict="reject", by=bo, seen_sha256=asked.input_sha256, undo_s=60)
    edited = '{"to": "other@shop.example"}'
    typed: dict[str, Any] = {"answer": '{"sure": "yes"}', "edited": edited, "because": "Too wide"}
    answer = post(client, asked, "approve", **typed)
    page = Page(answer.content.decode())
    assert answer.status_code == 409
    assert len(page.all("textarea")) == 3
    for said in ("other@shop.example", "sure", ">Too wide</textarea>", "bo was quicker and rejected it"):
        assert said in answer.content.decode()


def test_the_stub_brings_along_what_the_trail_says(client: Client, ada: User) -> None:
    asked = factories.request()
    assert "Waits for a person." in client.get(f"/requests/{asked.pk}/").content.decode()
    html = post(client, asked, "approve", headers=HTMX).content.decode()
    assert '<span id="trail-state" hx-swap-oob="true"><b>Approved by you, held.</b>' in html


def test_undo_brings_back_the_reason_as_it_was_given(client: Client, ada: User) -> None:
    asked = factories.request()
    post(client, asked, "reject", because="Too wide", reason="only the logs")
    html = client.post(reverse("undo", args=[asked.pk]), headers=HTMX).content.decode()
    assert 'value="Too wide" checked' in html
    assert ">only the logs</textarea>" in html


def test_every_page_says_in_its_title_how_much_waits(client: Client, ada: User) -> None:
    asked = factories.request()
    store(asked.run, ("chunk", {"content": "x"}))
    paths = ("/", f"/requests/{asked.pk}/", f"/requests/{asked.pk}/exact/", "/runs/", f"/runs/{asked.run_id}/",
             f"/runs/{asked.run_id}/events/1/")  # fmt: skip
    for path in paths:
        html = client.get(path).content.decode()
        assert "<title>(1) " in html, path
        assert 'ws-connect="/ws/' in html, path


def test_changed_arguments_are_not_decided_unseen(client: Client, ada: User) -> None:
    old = factories.request(call_id="c", status="superseded", settled_at=timezone.now())
    new = factories.request(
        run=old.run, call_id="c", version=2, arguments='{"to":"other@shop.example"}', alert="It changed."
    )
    answer = post(client, old, "approve")
    assert answer.status_code == 409
    assert f"/requests/{new.pk}/" in answer.content.decode()
    html = client.get(f"/requests/{new.pk}/").content.decode()
    assert "Changed since version 1" in html
    assert not Decision.objects.exists()


def test_a_decision_on_other_arguments_than_those_shown_is_refused(client: Client, ada: User) -> None:
    asked = factories.request()
    answer = client.post(reverse("decide", args=[asked.pk]), {"verdict": "approve", "input_sha256": "0" * 64})
    assert answer.status_code == 409
    assert "The arguments changed" in answer.content.decode()
    assert client.post(reverse("decide", args=[asked.pk]), {"verdict": "approve"}).status_code == 422
    assert not Decision.objects.exists()


def test_whoever_may_not_decide_reads_why(client: Client) -> None:
    asked = factories.request()
    client.force_login(factories.user(username="eve"))
    html = client.get(f"/requests/{asked.pk}/").content.decode()
    assert "You may read this, not decide it" in html
    assert 'name="verdict"' not in html
    answer = post(client, asked, "approve")
    assert answer.status_code == 403
    assert not Decision.objects.exists()


@pytest.mark.parametrize("name", sorted(set(PAYLOADS) - {"null", "not-an-object", "very-deep"}))
def test_what_cannot_be_read_is_shown_and_cannot_be_approved(client: Client, ada: User, name: str) -> None:
    text, marked = events.text(PAYLOADS[name]())
    asked = factories.request(arguments=text, marked=marked, problem="it cannot be read alike by everybody")
    page = Page(client.get(f"/requests/{asked.pk}/").content.decode())
    assert [one["value"] for one in page.all("button", name="verdict")] == ["reject"]
    assert page.all("button", **{"aria-disabled": "true", "aria-describedby": "why-off"})
    assert post(client, asked, "approve").status_code == 422
    assert post(client, asked, "reject").status_code == 302


def test_a_shortened_payload_must_be_opened_before_it_can_be_approved(client: Client, ada: User) -> None:
    text = json.dumps({"body": " " * 10_000 + "rm -rf /" + " " * 10_000})
    asked = factories.request(arguments=text)
    short = client.get(f"/requests/{asked.pk}/").content.decode()
    assert [one["value"] for one in Page(short).all("button", name="verdict")] == ["reject"]
    assert "characters between" in short
    assert post(client, asked, "approve").status_code == 422
    whole = Page(client.get(f"/requests/{asked.pk}/?parts=all").content.decode())
    assert [one["value"] for one in whole.all("button", name="verdict")] == ["reject", "approve"]
    assert whole.all("input", name="parts", value="all")
    assert post(client, asked, "approve", parts="all").status_code == 302


def test_a_megabyte_is_one_page(client: Client, ada: User) -> None:
    asked = factories.request(arguments=json.dumps({"blob": "ab\u202e" * 350_000}))
    assert len(client.get(f"/requests/{asked.pk}/").content) < 100_000
    assert client.get(f"/requests/{asked.pk}/exact/").status_code == 200


def test_everything_of_a_text_full_of_hidden_characters_is_spelled_out_and_stays_small(
    client: Client, ada: User
) -> None:
    text = json.dumps({"blob": "abc\u202e" * 50_000 + "C:\\end"}, ensure_ascii=False)
    asked = factories.request(arguments=text)
    for path in ("?parts=all", "exact/"):
        answer = client.get(f"/requests/{asked.pk}/{path}")
        html = answer.content.decode()
        assert len(answer.content) < 3 * len(text)
        assert html.count(r"abc\u202e") == 50_000
        assert "\u202e" not in html
        assert r"is written as \u and its number" in html


# --- undo, edit, unknown ----------------------------------------------------------------------------------------------


def test_undo_brings_the_slip_back(client: Client, ada: User) -> None:
    asked = factories.request()
    post(client, asked, "approve")
    assert "Undo" in client.get(f"/requests/{asked.pk}/").content.decode()
    assert client.post(reverse("undo", args=[asked.pk])).status_code == 302
    asked.refresh_from_db()
    assert asked.status == RequestStatus.PENDING
    assert client.post(reverse("undo", args=[asked.pk])).status_code == 409


def test_only_its_author_can_undo(client: Client, ada: User, bo: User) -> None:
    asked = factories.request()
    decisions.decide(asked.pk, verdict="approve", by=bo, seen_sha256=asked.input_sha256, undo_s=60)
    html = client.get(f"/requests/{asked.pk}/").content.decode()
    assert "only bo can undo" in html
    assert client.post(reverse("undo", args=[asked.pk])).status_code == 409


def test_an_edit_is_reviewed_before_it_is_signed(client: Client, ada: User) -> None:
    asked = factories.request(
        offers_edit=True, tool="refund", arguments='{"amount": 480.00, "currency": "EUR", "order": "1"}'
    )
    shown = client.get(reverse("edit", args=[asked.pk])).content.decode()
    assert "480.00" in shown
    changed = '{"amount": 48, "currency": "EUR", "order": "1"}'
    reviewed = client.post(reverse("edit", args=[asked.pk]), {"edited": changed})
    html = reviewed.content.decode()
    assert reviewed.status_code == 200
    assert "Approve edit" in html
    assert "EUR\u00a048.00" in html
    assert not Decision.objects.exists(), "reviewing decides nothing"
    carried = Page(html).all("input", name="edited", form="decide")
    assert carried[0]["value"] == changed
    post(client, asked, "approve", edited=changed)
    assert Decision.objects.get(request=asked).edited == changed
    assert "What you changed" in client.get(f"/requests/{asked.pk}/").content.decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON object is needed"),
        ('{"a":1,"a":2}', "comes twice"),
        ('{"to": "someone@shop.example"}', "nothing differs"),
    ],
)
def test_an_edit_that_is_none_says_so(client: Client, ada: User, text: str, why: str) -> None:
    asked = factories.request(offers_edit=True)
    answer = client.post(reverse("edit", args=[asked.pk]), {"edited": text})
    assert answer.status_code == 422
    assert why.lower() in answer.content.decode().lower()


def test_no_edit_where_none_is_offered(client: Client, ada: User) -> None:
    asked = factories.request(offers_edit=False)
    assert client.get(reverse("edit", args=[asked.pk])).status_code == 404
    assert post(client, asked, "approve", edited='{"to":"x@y.example"}').status_code == 422


def test_a_rejection_leaves_an_unfinished_edit_behind(client: Client, ada: User) -> None:
    asked = factories.request(offers_edit=True)
    post(client, asked, "reject", edited='{"to":"x@y.example"}')
    assert Decision.objects.get(request=asked).edited == ""


@pytest.mark.parametrize(
    ("status", "why", "said"),
    [
        ("withdrawn", "", "The run ended before anyone decided."),
        ("withdrawn", "Answered outside of Countersign.", "Answered outside of Countersign."),
        ("withdrawn", "Withdrawn by bo: the order is cancelled", "Withdrawn by bo: the order is cancelled."),
        ("expired", "", "Nobody answered in time. Not approved."),
        ("stale", "", "This slip is no longer the one that counts."),
    ],
)
def test_what_ended_without_a_decision_says_why_and_looks_over(
    client: Client, ada: User, status: str, why: str, said: str
) -> None:
    asked = factories.request(status=status, settled_at=timezone.now(), ended_why=why)
    html = re.sub(r"<bdi[^>]*>|</bdi>", "", client.get(f"/requests/{asked.pk}/").content.decode())
    assert said in html
    assert "Nothing can be decided here any more." in html
    assert "data-frozen" in html
    if why:
        assert why in client.get(f"/runs/{asked.run_id}/").content.decode()


def test_a_decision_of_ones_own_that_never_left_was_told_to_nobody(client: Client, ada: User) -> None:
    asked = factories.request(status="expired", settled_at=timezone.now())
    Decision.objects.create(
        request=asked, by=ada, verdict="approve", reason="fine", seen_sha256="", leaves_at=timezone.now(),
        undone_at=timezone.now(), undone_why="expired",
    )  # fmt: skip
    html = client.get(f"/requests/{asked.pk}/").content.decode()
    assert "Not sent to anybody." in html
    assert "was told" not in html
    assert "data-frozen" in html


def test_what_the_provider_refused_can_be_offered_again_while_its_run_goes_on(client: Client, ada: User) -> None:
    asked = factories.request(status="refused_by_provider", settled_at=timezone.now())
    decision = Decision.objects.create(
        request=asked, by=ada, verdict="approve", seen_sha256=asked.input_sha256, leaves_at=timezone.now()
    )
    Delivery.objects.create(kind="decision", run=asked.run, decision=decision, state="refused", attempts=1)
    assert "still wait for an answer?" in client.get(f"/requests/{asked.pk}/").content.decode()
    client.post(reverse("resolve", args=[asked.pk]), {"happened": "open", "note": "approvals page, 10:48"})
    asked.refresh_from_db()
    assert asked.status == RequestStatus.STALE
    over = factories.request(
        run=factories.run(status="finished", ended_at=timezone.now()), status="refused_by_provider",
        settled_at=timezone.now(),
    )  # fmt: skip
    assert "still wait for an answer?" not in client.get(f"/requests/{over.pk}/").content.decode()


def unknown(by: User) -> ApprovalRequest:
    asked = factories.request(status="unknown", settled_at=timezone.now())
    decision = Decision.objects.create(
        request=asked, by=by, verdict="approve", seen_sha256=asked.input_sha256, leaves_at=timezone.now()
    )
    Delivery.objects.create(
        kind="decision", run=asked.run, decision=decision, state="unknown", attempts=1, sent_at=timezone.now()
    )
    return asked


def test_the_unknown_looks_like_it_and_a_person_can_say_what_happened(client: Client, ada: User) -> None:
    asked = unknown(ada)
    html = client.get(f"/requests/{asked.pk}/").content.decode()
    assert "Not known if it happened." in html
    assert "We will not send it again by ourselves" in html
    url = reverse("resolve", args=[asked.pk])
    missing = client.post(url, {"happened": "yes", "note": " "})
    assert missing.status_code == 422
    assert "Say where you looked" in missing.content.decode()
    assert client.post(url, {"happened": "yes", "note": "payment list, 10:48"}).status_code == 302
    asked.refresh_from_db()
    assert asked.status == RequestStatus.DELIVERED
    assert client.post(url, {"happened": "no", "note": "again"}).status_code == 409


def test_what_turns_out_to_be_open_comes_back_on_a_new_slip(client: Client, ada: User) -> None:
    asked = unknown(ada)
    answer = client.post(reverse("resolve", args=[asked.pk]), {"happened": "open", "note": "still asks"})
    asked.refresh_from_db()
    assert asked.status == RequestStatus.STALE
    assert answer["Location"] == f"/requests/{asked.reoffered_as.pk}/"


def test_a_batch_says_how_many_are_decided_and_that_nothing_was_sent(client: Client, ada: User) -> None:
    run = factories.run(provider=factories.provider(kind="agui"))
    batch = Batch.objects.create(run=run, total=2)
    first, second = (factories.request(run=run, batch=batch, call_id=f"c{n}") for n in range(2))
    post(client, first, "approve")
    html = client.get(f"/requests/{second.pk}/").content.decode()
    assert "1 of 2 decided, nothing sent yet" in html
    assert f"/requests/{first.pk}/" in html
    assert "1 of 2 decided" in client.get("/").content.decode()
    gone = {"status": RequestStatus.WITHDRAWN, "settled_at": timezone.now()}
    ApprovalRequest.objects.filter(pk=second.pk).update(**gone)  # and asked again
    again = factories.request(run=run, batch=batch, call_id=second.call_id, version=2)
    html = client.get(f"/requests/{again.pk}/").content.decode()
    assert "1 of 2 decided, nothing sent yet" in html
    assert f"/requests/{second.pk}/" not in html


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_shows_text_joined_calls_gaps_and_its_requests(client: Client, ada: User) -> None:
    asked = factories.request(call_id="apr_x", tool="refund", arguments='{"amount": 5, "currency": "EUR"}')
    store(
        asked.run,
        ("house.connected", {"text": "Connected."}),
        ("chunk", {"content": "Look"}),
        ("chunk", {"content": "ing"}),
        ("tool_executing", {"tool_name": "lookup", "tool_input": {"a": 1}}),
        ("tool_result", {"tool_name": "lookup", "result": "found"}),
        ("house.gap", {"text": "Some events were not received."}),
        ("approval_request", {"approval_id": "apr_x", "tool_name": "refund", "tool_input": {}}),
    )
    html = client.get(f"/runs/{asked.run_id}/").content.decode()
    assert "Text, 2 parts joined" in html
    assert "Looking" in html
    assert "found" in html
    assert "Some events were not received." in html
    assert "1 gap" in html
    assert f"/requests/{asked.pk}/" in html
    assert 'data-seq="7"' in html


def test_a_long_run_is_shown_by_its_end_with_a_way_to_what_was_before(client: Client, ada: User) -> None:
    run = factories.run()
    store(run, *[("tool_executing", {"tool_name": f"tool{n:03}", "tool_input": {}}) for n in range(250)])
    html = client.get(f"/runs/{run.pk}/").content.decode()
    assert "tool249" in html
    assert "tool049" not in html
    link = re.search(r'href="\?before=(\d+)"', html)
    assert link is not None
    assert "tool049" in client.get(f"/runs/{run.pk}/?before={link[1]}").content.decode()


def test_the_list_of_runs_can_be_narrowed_and_paged(client: Client, ada: User) -> None:
    for n in range(52):
        factories.run(title=f"Errand {n:02}")
    done = factories.run(title="Finished one", status="finished", ended_at=timezone.now())
    page = client.get("/runs/").content.decode()
    assert "page=2" in page
    assert "Errand 00" in client.get("/runs/?page=2").content.decode()
    found = client.get("/runs/?status=finished&q=one").content.decode()
    assert str(done.pk) in found
    assert "Errand" not in found
    assert client.get("/runs/?page=x&status=%3C&provider=%00").status_code == 200


def test_an_event_is_shown_exactly(client: Client, ada: User) -> None:
    run = factories.run()
    store(run, ("chunk", '{"content": "a  b"}'))
    assert "a  b" in client.get(f"/runs/{run.pk}/events/1/").content.decode()
    assert client.get(f"/runs/{run.pk}/events/2/").status_code == 404
    assert client.get(f"/runs/{run.pk}/events/99999999999999999999/").status_code == 404


def test_a_page_whose_socket_cannot_open_can_ask_for_what_it_missed(client: Client, ada: User) -> None:
    asked = factories.request()
    store(asked.run, ("chunk", {"content": "one"}), ("tool_executing", {"tool_name": "two", "tool_input": {}}))
    html = client.get(f"/live/?queue=1&run={asked.run_id}&after=1").content.decode()
    assert 'id="beat"' in html
    assert str(asked.pk) in html
    assert 'id="e-2"' in html
    assert 'id="e-1"' not in html
    assert client.get("/live/?run=x&after=-1&request=y").status_code == 200
    assert client.get("/live/?run=00000000-0000-0000-0000-000000000000").status_code == 404


@pytest.mark.parametrize("number", ["-1", "x", "٣", str(2**63 - 1), str(2**63), "9" * 19, "9" * 5000])
def test_a_number_that_no_event_has_breaks_no_page(admin_client: Client, number: str) -> None:
    run = factories.request().run
    for query in (f"live/?run={run.pk}&after={number}", f"runs/{run.pk}/?before={number}", f"runs/?page={number}"):
        assert admin_client.get(f"/{query}").status_code == 200, query
    for path in (f"runs/{run.pk}/events/{number}/", f"settings/people/{number}/"):
        assert admin_client.get(f"/{path}").status_code == 404, path
