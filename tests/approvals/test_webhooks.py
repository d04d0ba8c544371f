"""Endpoints: added, rotated, tried, disabled; and what becomes of a delivery, try by try."""

import json
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import standardwebhooks
import time_machine
from django.core import checks
from django.core.management import CommandError, call_command

from approvals import audit, tries, webhook, webhooks
from approvals.allowances import outside, readable
from approvals.models import AuditEntry, Delivery, DeliveryState, WebhookEndpoint
from approvals.tries import Claim
from approvals.webhook_client import Posted
from approvals.webhooks import EndpointRefused, NotResendable
from streams.errors import SecretError
from streams.events import Ended
from streams.models import Run
from tests.approvals.fakes import Clock, asked, tell
from tests.approvals.test_targets import TABLE

pytestmark = pytest.mark.django_db
D = DeliveryState
URL = "https://hooks.example.com/T0/canary-4711"
BY: dict[str, Any] = {"actor": "ada", "origin": "127.0.0.1 page"}


@pytest.fixture(autouse=True)
def _nothing_permitted(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = []


def added(url: str = URL, *events: str) -> WebhookEndpoint:
    return webhooks.add(url, events=events, **BY)[0]


def pinged(endpoint: WebhookEndpoint | None = None) -> Delivery:
    return webhooks.ping(endpoint or added(), **BY)


def claimed(owner: str = "one", **options: Any) -> list[Claim]:
    return tries.look(owner, options.pop("room", 100), options.pop("busy", {}), **options)[0]


def answered(status: int | None = 200, claim: Claim | None = None, **fields: Any) -> Delivery:
    """One try of the delivery that is due."""
    if claim is None:
        (claim,) = claimed()
    tries.conclude(claim, Posted(status, **fields), chance=0.0)
    return Delivery.objects.get(pk=claim.delivery_id)


# --- endpoints ------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_kept_with_its_secret_sealed_and_the_secret_is_returned_once() -> None:
    row, secret = webhooks.add(URL, events=[webhook.SETTLED], **BY)
    kept = WebhookEndpoint.objects.get()
    assert (kept.pk, kept.url, kept.events, kept.disabled_at) == (row.pk, URL, [webhook.SETTLED], None)
    assert webhook.secret_problem(secret) == ""
    assert secret not in kept.secret_sealed
    assert webhooks.signing_secrets(kept, now=kept.created_at) == [secret]


def test_what_is_done_to_endpoints_is_audited_without_secrets_and_paths() -> None:
    row, secret = webhooks.add(URL, **BY)
    newer = webhooks.rotate(row, **BY)
    delivery = webhooks.ping(row, **BY)
    webhooks.resend(delivery, **BY)
    webhooks.disable(row, why="too noisy", **BY)
    webhooks.enable(row, **BY)
    entries = list(AuditEntry.objects.order_by("seq"))
    assert [one.action for one in entries] == [
        f"webhook.{what}" for what in ("added", "rotated", "tested", "resent", "disabled", "enabled")
    ]
    for one in entries:
        assert (one.actor, one.origin, one.target) == ("ada", "127.0.0.1 page", f"webhook:{row.pk}")
        assert json.loads(one.data)["host"] == "hooks.example.com"
        assert not [word for word in (secret, newer, "canary", "whsec") if word in one.data]
    assert audit.verify().bad is None


def test_a_second_rotation_in_the_overlap_is_refused_and_says_until_when(clock: Clock) -> None:
    row, old = webhooks.add(URL, **BY)
    new = webhooks.rotate(row, **BY)
    with pytest.raises(EndpointRefused, match=f"until {clock.at + webhook.OVERLAP:%Y-%m-%d %H:%M} UTC"):
        webhooks.rotate(row, **BY)
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=clock.at) == [new, old]
    clock.at += webhook.OVERLAP
    newest = webhooks.rotate(row, **BY)
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=clock.at) == [newest, new]


@pytest.mark.parametrize("overlapping", [True, False])
def test_a_leaked_secret_is_replaced_at_once_and_signs_no_more(clock: Clock, overlapping: bool) -> None:
    row, _ = webhooks.add(URL, **BY)
    if overlapping:
        webhooks.rotate(row, **BY)
    new = webhooks.rotate(row, force=True, **BY)
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=clock.at) == [new]
    assert (row.previous_secret_sealed, row.previous_until) == ("", None)
    assert json.loads(AuditEntry.objects.order_by("seq").last().data)["forced"] is True  # type: ignore[union-attr]


def test_a_page_about_another_secret_replaces_none() -> None:
    row, old = webhooks.add(URL, **BY)
    seen = webhooks.mark(row)
    new = webhooks.rotate(row, seen=seen, **BY)
    with pytest.raises(EndpointRefused, match="it was replaced after this page was loaded"):
        webhooks.rotate(row, force=True, seen=seen, **BY)
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=row.created_at) == [new, old]


def test_more_than_sixty_forbidden_targets_are_refused_on_save() -> None:
    refused = [url for _, url in TABLE]
    assert len(refused) >= 60
    for url in refused:
        with pytest.raises(EndpointRefused) as said:
            webhooks.add(url, **BY)
        assert list(said.value.problems) == ["url"], url
    assert not WebhookEndpoint.objects.exists()
    assert not AuditEntry.objects.exists()


def test_events_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(EndpointRefused) as said:
        webhooks.add("ftp://x/", events=["approval.pending", "approval.decided"], **BY)
    assert said.value.problems == {
        "url": "the URL must begin with http:// or https://",
        "events": "unknown event 'approval.decided'; there are approval.pending, approval.settled",
    }


def test_one_url_is_told_of_one_event_once() -> None:
    row = added(URL, webhook.PENDING)
    added(URL, webhook.SETTLED)
    for events in ([], [webhook.PENDING]):
        with pytest.raises(EndpointRefused, match="told of that already"):
            added(URL, *events)
    webhooks.disable(row, why="moved", **BY)
    added(URL, webhook.PENDING)


def test_without_a_field_key_no_endpoint_is_kept(settings: Any) -> None:
    settings.FIELD_KEYS = []
    with pytest.raises(SecretError):
        added()
    assert not WebhookEndpoint.objects.exists()


def test_a_disabled_endpoint_is_sent_nothing_and_what_waited_is_cancelled(run: Run) -> None:
    row = added()
    pinged(row)
    webhooks.disable(row, why="moved", **BY)
    webhooks.disable(row, why="again", **BY)
    row.refresh_from_db()
    assert (row.disabled_at is not None, row.disabled_why) == (True, "moved")
    waited = Delivery.objects.get(endpoint=row)
    assert (waited.state, waited.last_error) == (D.CANCELLED, webhooks.DISABLED)
    tell(run, asked())
    assert not Delivery.objects.filter(endpoint=row).exclude(pk=waited.pk).exists()
    with pytest.raises(EndpointRefused, match="disabled"):
        webhooks.ping(row, **BY)
    with pytest.raises(NotResendable, match="disabled"):
        webhooks.resend(waited, **BY)
    webhooks.enable(row, **BY)
    webhooks.enable(row, **BY)
    row.refresh_from_db()
    assert (row.disabled_at, row.disabled_why) == (None, "")
    assert webhooks.resend(waited, **BY).state == D.READY
    assert [claim.delivery_id for claim in claimed()] == [waited.pk]


def test_what_was_queued_at_the_moment_of_disabling_is_not_sent_either() -> None:
    row = added()
    pinged(row)
    WebhookEndpoint.objects.update(disabled_at=row.created_at)  # as by another process, in between
    assert claimed() == []
    assert Delivery.objects.get().state == D.CANCELLED


def test_what_was_claimed_at_the_moment_of_disabling_is_not_sent_either() -> None:
    row = added()
    pinged(row)
    (claim,) = claimed()
    webhooks.disable(row, why="moved", **BY)
    assert tries.prepare(claim) is None
    assert claimed() == []
    assert Delivery.objects.get().state == D.CANCELLED


def test_an_endpoint_that_may_not_be_called_any_more_is_not_enabled(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = ["10.0.0.1"]
    row = added("http://10.0.0.1/")
    webhooks.disable(row, why="moved", **BY)
    settings.WEBHOOK_HOSTS = []
    with pytest.raises(EndpointRefused, match="private"):
        webhooks.enable(row, **BY)


# --- secrets --------------------------------------------------------------------------------------------------------


def accepts(secret: str, letter: tries.Letter) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(letter.body, letter.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def test_for_a_day_after_a_rotation_both_secrets_sign_and_then_the_new_one_alone(clock: Clock) -> None:
    row, old = webhooks.add(URL, **BY)
    new = webhooks.rotate(row, **BY)
    message_ids = set()
    for hours, both in ((0, True), (23.99, True), (24, False), (48, False)):
        clock.at = row.created_at + timedelta(hours=hours, seconds=1 if hours == 24 else 0)
        delivery = Delivery.objects.first() or pinged(row)
        Delivery.objects.update(state=D.READY, next_at=clock.at)
        (claim,) = claimed()
        letter = tries.prepare(claim)
        assert letter is not None
        with time_machine.travel(clock.at, tick=False):
            assert (accepts(old, letter), accepts(new, letter)) == (both, True)
        assert letter.headers["webhook-timestamp"] == str(int(clock.at.timestamp()))
        message_ids.add(letter.headers["webhook-id"])
        Delivery.objects.update(state=D.READY)
    assert message_ids == {webhook.message_id(delivery.pk)}


def test_a_secret_that_does_not_open_is_an_error_that_names_no_secret(settings: Any) -> None:
    pinged()
    (claim,) = claimed()
    settings.FIELD_KEYS = ["b3RoZXItLW9ubHktLS0tLS0tLS0tLS0tLS0tLS0tLS0="]
    with pytest.raises(SecretError, match="no configured field key"):
        tries.prepare(claim)


def test_a_secret_does_not_open_in_another_endpoints_row() -> None:
    first, second = added(), added("https://other.example/")
    second.secret_sealed = first.secret_sealed
    with pytest.raises(SecretError):
        webhooks.signing_secrets(second, now=second.created_at)


# --- tries ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(run: Run, clock: Clock) -> Delivery:
    """A notice that is due."""
    added()
    tell(run, asked())
    return Delivery.objects.get()


@pytest.mark.usefixtures("waiting")
def test_an_answer_of_2xx_is_the_end() -> None:
    row = answered(204)
    assert (row.state, row.attempts, row.answer_status, row.last_error) == (D.DELIVERED, 1, 204, "")
    assert row.finished_at is not None
    assert claimed() == []


@pytest.mark.usefixtures("waiting")
def test_everything_else_is_tried_again_by_the_schedule_with_one_id_and_then_given_up(clock: Clock) -> None:
    seen: list[float] = []
    for number in range(1, webhook.TRIES + 1):
        (claim,) = claimed()
        letter = tries.prepare(claim)
        assert letter is not None
        assert letter.headers["webhook-timestamp"] == str(int(clock.at.timestamp()))
        row = answered(503, claim, body=b"\x00busy\xff")
        assert (row.attempts, row.answer_status) == (number, 503)
        if number < webhook.TRIES:
            assert row.state == D.READY and row.next_at is not None
            assert (row.last_error, row.answer) == ("HTTP 503", "\\u0000busy\ufffd")
            seen.append((row.next_at - clock.at).total_seconds())
            assert claimed() == []
            clock.at = row.next_at
    assert seen == list(webhook.DELAYS_S[1:])
    assert (row.state, row.last_error) == (D.REFUSED, "Given up after 10 tries: HTTP 503")
    assert claimed() == []


@pytest.mark.usefixtures("waiting")
def test_retry_after_is_kept(clock: Clock) -> None:
    row = answered(429, retry_after="120")
    assert row.next_at == clock.at + timedelta(seconds=120)


@pytest.mark.usefixtures("waiting")
def test_a_redirect_is_said_in_words() -> None:
    assert answered(302).last_error == "HTTP 302: redirects are not followed, give the final address"


@pytest.mark.usefixtures("waiting")
def test_gone_disables_the_endpoint_and_cancels_what_waits_for_it() -> None:
    (claim,) = claimed()
    pinged(WebhookEndpoint.objects.get())
    row = answered(410, claim)
    endpoint = WebhookEndpoint.objects.get()
    assert (row.state, row.last_error) == (D.REFUSED, "HTTP 410: the receiver wants no more")
    assert (endpoint.disabled_at is not None, endpoint.disabled_why) == (True, "HTTP 410: the receiver wants no more")
    assert Delivery.objects.get(event=webhook.PING).state == D.CANCELLED
    last = AuditEntry.objects.latest("seq")
    assert (last.action, last.actor, last.origin) == ("webhook.disabled", "system", "its answer")


@pytest.mark.parametrize(("status", "state"), [(200, D.DELIVERED), (500, D.REFUSED), (None, D.REFUSED)])
def test_a_test_is_tried_once(status: int | None, state: DeliveryState) -> None:
    pinged()
    row = answered(status, why="" if status else "no answer in time")
    assert (row.state, row.attempts) == (state, 1)
    assert row.last_error == {200: "", 500: "HTTP 500", None: "no answer in time"}[status]


@pytest.mark.usefixtures("waiting")
def test_the_log_names_neither_url_nor_secret(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.DEBUG)
    answered(500)
    Delivery.objects.update(attempts=9, next_at=clock.at)
    answered(None, why="no answer in time")
    assert "given up after try 10: no answer in time" in caplog.text
    assert "canary" not in caplog.text and "whsec" not in caplog.text


# --- claims ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("waiting")
def test_a_delivery_has_one_claim_at_a_time() -> None:
    assert len(claimed("one")) == 1
    assert claimed("two") == []


@pytest.mark.usefixtures("waiting")
def test_a_claim_that_runs_out_is_anothers_and_the_late_writer_changes_nothing(clock: Clock) -> None:
    (first,) = claimed("one")
    clock.forward(tries.CLAIM_S + 1)
    (second,) = claimed("two")
    assert (second.delivery_id, second.epoch) == (first.delivery_id, first.epoch + 1)
    assert tries.prepare(first) is None
    assert answered(500, first).state == D.CLAIMED
    tries.give_back([first])
    assert answered(200, second).state == D.DELIVERED


@pytest.mark.usefixtures("waiting")
def test_the_only_process_takes_up_claims_of_before_at_once() -> None:
    claimed("one")
    assert len(claimed("two", every=True)) == 1


@pytest.mark.usefixtures("waiting")
def test_what_was_broken_off_is_given_back_without_counting() -> None:
    tries.give_back(claimed())
    assert (Delivery.objects.get().state, Delivery.objects.get().attempts) == (D.READY, 0)
    assert len(claimed()) == 1


def test_an_endpoint_keeps_only_so_many_places_and_one_that_fails_a_single_one() -> None:
    slow, good = added(), added("https://good.example/")
    for _ in range(10):
        pinged(slow)
    pinged(good)
    first = claimed(room=8)
    assert [claim.endpoint_id for claim in first] == [slow.pk] * tries.AT_ONCE_EACH
    assert [claim.endpoint_id for claim in claimed(room=4, busy={slow.pk: 4})] == [good.pk]
    tries.give_back(first)
    assert len(claimed(failing=[slow.pk])) == 1
    assert claimed(failing=[slow.pk], busy={slow.pk: 1}) == []


def test_settled_waits_until_pending_is_through_or_given_up(run: Run, clock: Clock) -> None:
    added()
    tell(run, asked())
    tell(run, Ended("finished"))
    (first,) = claimed()
    assert Delivery.objects.get(pk=first.delivery_id).event == webhook.PENDING
    assert claimed() == []
    assert answered(500, first).state == D.READY
    assert claimed() == [], "it has not got through yet"
    clock.forward(6)
    assert answered(200).event == webhook.PENDING
    assert answered(200).event == webhook.SETTLED


def test_another_requests_notices_do_not_wait(run: Run) -> None:
    added()
    tell(run, asked("c1"))
    answered(500)
    tell(run, asked("c2"))
    assert answered(200).event == webhook.PENDING


# --- sent again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 410, 500])
def test_a_delivery_is_sent_again_under_its_id(waiting: Delivery, status: int, clock: Clock) -> None:
    answered(status)
    endpoint = WebhookEndpoint.objects.get()
    webhooks.enable(endpoint, **BY)
    again = webhooks.resend(Delivery.objects.get(), **BY)
    assert (again.pk, again.state, again.attempts, again.finished_at) == (waiting.pk, D.READY, 0, None)
    (claim,) = claimed()
    letter = tries.prepare(claim)
    assert letter is not None
    assert letter.headers["webhook-id"] == webhook.message_id(waiting.pk)
    assert letter.body.decode() == waiting.body
    assert answered(200, claim).attempts == 1


def test_what_is_being_sent_or_is_no_webhook_is_not_sent_again(waiting: Delivery, run: Run) -> None:
    claimed()
    with pytest.raises(NotResendable, match="right now"):
        webhooks.resend(waiting, **BY)
    with pytest.raises(NotResendable, match="only webhooks"):
        webhooks.resend(Delivery(kind="decision", run=run), **BY)


# --- commands -------------------------------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:
    out = StringIO()
    call_command("webhooks", *arguments, stdout=out)
    return out.getvalue()


def test_add_prints_the_secret_alone() -> None:
    said = run_command("add", URL, "--event", webhook.SETTLED, "--event", webhook.PENDING)
    (row,) = WebhookEndpoint.objects.all()
    assert said == webhooks.signing_secrets(row, now=row.created_at)[0] + "\n"
    assert row.events == [webhook.PENDING, webhook.SETTLED]
    assert AuditEntry.objects.get().origin == "command line"


def test_a_command_says_what_is_wrong() -> None:
    for arguments, words in (
        (("add", "http://127.0.0.1/"), "url: the host is a loopback address"),
        (("add", URL, "--event", "x"), "events: unknown event 'x'"),
        (("test",), "no endpoints"),
        (("test", "https://nobody.example/"), "there is no endpoint"),
        (("rotate", "3f0e7d52-1c8a-4f7e-9d3f-0a1b2c3d4e5f"), "there is no endpoint"),
    ):
        with pytest.raises(CommandError, match=words):
            run_command(*arguments)


def test_list_shows_everything_but_secrets() -> None:
    row, secret = webhooks.add(URL, events=[webhook.PENDING], **BY)
    pinged(row)
    (shown,) = json.loads(run_command("list", "--json"))
    assert shown == {
        "id": str(row.pk), "url": URL, "events": ["approval.pending"], "waiting": 1,
        "created_at": row.created_at.isoformat(), "previous_until": None, "disabled_at": None, "disabled_why": "",
    }  # fmt: skip
    heads, line = run_command("list").splitlines()
    assert heads.split() == ["ID", "URL", "EVENTS", "WAITING", "STATE"]
    assert line.split() == [str(row.pk), URL, "approval.pending", "1", "enabled"]
    assert secret not in run_command("list")


def test_endpoints_are_kept_by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    row, old = webhooks.add(URL, **BY)
    new = run_command("rotate", URL).strip()
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=row.created_at) == [new, old]
    with pytest.raises(CommandError, match="a new secret was made already, .* replace both at once with --force"):
        run_command("rotate", URL)
    newest = run_command("rotate", URL, "--force").strip()
    row.refresh_from_db()
    assert webhooks.signing_secrets(row, now=row.created_at) == [newest]
    run_command("disable", str(row.pk))
    assert "disabled: disabled from the command line" in run_command("list")
    assert json.loads(run_command("list", "--json"))[0]["disabled_at"]
    run_command("enable", URL)
    assert "enabled" in run_command("list")


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (lambda: answered(204), None),
        (lambda: answered(500), "FAILED: HTTP 500"),
        (lambda: None, "WAITS: nobody has sent it yet"),
    ],
)
def test_test_says_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, ends: Callable[[], object], words: str | None
) -> None:
    from dashboard.management.commands import webhooks as command

    added()
    monkeypatch.setattr(command, "WAIT_S", 0.0)
    sent = webhooks.ping

    def ping(*args: Any, **kwargs: Any) -> Delivery:
        made = sent(*args, **kwargs)
        ends()
        return made

    monkeypatch.setattr(webhooks, "ping", ping)
    out = StringIO()
    if words is None:
        call_command("webhooks", "test", URL, stdout=out)
        assert out.getvalue() == f"{URL}: ok: HTTP 204\n"
    else:
        with pytest.raises(CommandError, match="1 of 1 not delivered"):
            call_command("webhooks", "test", stdout=out)
        assert words in out.getvalue()


# --- what the operator allows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "always", "deployed"),
    [
        ("hooks.example.org", [], []),
        ("hooks.example.org:9000", [], []),
        ("8.8.8.8", [], []),
        ("*.example.org", ["approvals.E001"], []),
        ("http://example.org", ["approvals.E001"], []),
        ("10.0.0.0/8", ["approvals.E001"], []),
        ("127.1", ["approvals.E001"], []),
        ("127.0.0.1", [], ["approvals.E002"]),
        ("127.8.9.10:8080", [], ["approvals.E002"]),
        ("localhost:8080", [], ["approvals.E002"]),
        ("app.localhost", [], ["approvals.E002"]),
        ("[::1]:8080", [], ["approvals.E002"]),
        ("::ffff:7f00:1", [], ["approvals.E002"]),
        ("0.0.0.0", [], ["approvals.E002"]),
        ("10.1.2.3:8080", [], ["approvals.W001"]),
        ("169.254.169.254", [], ["approvals.W001"]),
        ("[fd00::1]", [], ["approvals.W001"]),
        ("receiver", [], ["approvals.W001"]),
        ("hooks.internal:9000", [], ["approvals.W001"]),
    ],
)
def test_what_webhooks_may_call_is_checked(entry: str, always: list[str], deployed: list[str], settings: Any) -> None:
    settings.WEBHOOK_HOSTS = [entry]
    assert [found.id for found in readable(None)] == always
    assert [found.id for found in outside(None)] == deployed
    for found in [*readable(None), *outside(None)]:
        assert f"COUNTERSIGN_WEBHOOK_HOSTS: {entry!r}" in str(found.msg)
    assert {found.id for found in checks.run_checks() if str(found.id).startswith("approvals.")} == set(always)
    every = checks.run_checks(include_deployment_checks=True)
    assert {found.id for found in every if str(found.id).startswith("approvals.")} == {*always, *deployed}


def test_any_order_of_answers_ends_every_delivery(run: Run, clock: Clock) -> None:
    """Random answers, lost claims and late writers: nothing is left behind, nothing is sent after its end."""
    chance = random.Random(4711)
    for number in range(3):
        added(f"https://r{number}.example/")
    for number in range(8):
        tell(run, asked(f"c{number}"))
    tell(run, Ended("finished"))
    late: list[Claim] = []
    ended: set[Any] = set()
    while Delivery.objects.exclude(state__in=(D.DELIVERED, D.REFUSED, D.CANCELLED)).exists():
        for claim in claimed():
            assert claim.delivery_id not in ended
            match chance.randint(0, 3):
                case 0:
                    late.append(claim)  # whoever had it was killed
                case 1:
                    tries.give_back([claim])
                case _:
                    row = answered(chance.choice([200, 200, 500, None]), claim, why="x")
                    if row.state in (D.DELIVERED, D.REFUSED):
                        ended.add(row.pk)
        if late and chance.random() < 0.3:
            tries.conclude(late.pop(), Posted(200), chance=0.0)
            ended |= set(Delivery.objects.filter(state=D.DELIVERED).values_list("pk", flat=True))
        clock.forward(chance.choice([1, 60, 90_000]))
    assert Delivery.objects.count() == 48
