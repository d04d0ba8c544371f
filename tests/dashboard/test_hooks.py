"""Webhooks from providers: only what is signed is read, once, and all it does is to have the run read."""

import hashlib
import hmac
import json
import logging
import socket
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.test import Client
from django.utils import timezone

from approvals.models import AuditEntry
from dashboard import accounts, hooks
from dashboard.models import User
from streams import runs
from streams.models import Provider, ProviderHook, Run, RunStatus
from tests import factories

pytestmark = pytest.mark.django_db
SECRET = "canary-hook-secret-4711"
RUN_ID = "c1d2e3f4-5678-90ab-cdef-1234567890ab"


def account(name: str = "kyb", secret: str = SECRET, **fields: Any) -> Provider:
    row = factories.provider(name=name, **{"kind": "middesk", **fields})
    if secret:
        row.set_webhook_secret(secret)
        row.save()
    return row


def event(kind: str = "run.interrupted", run_id: str = RUN_ID, event_id: str = "ev-1") -> bytes:
    run = {"object": "run", "id": run_id, "status": "interrupted", "interrupts": [{"id": "int-1", "value": {}}]}
    return json.dumps({"object": "event", "id": event_id, "type": kind, "data": {"object": run}}).encode()


def signature(raw: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def post(raw: bytes, *, name: str = "kyb", signed: str | None = None, client: Any = None, **more: Any) -> Any:
    """Deliver a body, signed with the account's secret unless told otherwise; an empty signature is left out."""
    given = signature(raw) if signed is None else signed
    headers = {"X-Middesk-Signature-256": given} if given else {}
    return (client or Client()).post(f"/hooks/{name}/", raw, "application/json", headers=headers, **more)


def waiting(row: Provider) -> Run:
    return factories.run(provider=row, external_id=RUN_ID, status=RunStatus.WAITING)


# --- taken ----------------------------------------------------------------------------------------------------------


def test_a_signed_webhook_is_kept_and_has_its_run_read() -> None:
    row = account()
    run = waiting(row)
    assert post(event()).status_code == 204
    kept = ProviderHook.objects.get()
    assert (kept.provider, kept.event_id, kept.kind, kept.external_id) == (row, "ev-1", "run.interrupted", RUN_ID)
    run.refresh_from_db()
    assert run.nudged_at is not None
    assert run.status == RunStatus.WAITING, "what the webhook says is no news: the run itself is"


def test_a_run_that_nobody_followed_is_followed_from_now_on() -> None:
    row = account()
    assert post(event()).status_code == 204
    run = Run.objects.get()
    assert (run.provider, run.external_id, run.status) == (row, RUN_ID, RunStatus.QUEUED)


def test_a_second_delivery_is_answered_and_does_nothing() -> None:
    run = waiting(account())
    assert post(event()).status_code == 204
    run.refresh_from_db()
    first = run.nudged_at
    assert post(event()).status_code == 204
    run.refresh_from_db()
    assert run.nudged_at == first
    assert ProviderHook.objects.count() == 1


def test_the_same_event_id_of_two_accounts_is_two_events() -> None:
    account("one")
    account("two")
    assert post(event(), name="one").status_code == post(event(), name="two").status_code == 204
    assert ProviderHook.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_deliveries_that_arrive_at_once_are_one() -> None:
    account()
    together, answers = threading.Barrier(4), list[int]()

    def deliver() -> None:
        together.wait(20)
        answers.append(post(event()).status_code)
        connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [204] * 4
    assert (ProviderHook.objects.count(), Run.objects.count()) == (1, 1)


@pytest.mark.parametrize("kind", ["business.updated", "run.resumed", "tin.retried"])
def test_a_known_good_event_that_is_not_needed_is_answered_and_leaves_nothing(kind: str) -> None:
    account()
    assert post(event(kind)).status_code == 204
    assert not ProviderHook.objects.exists()
    assert not Run.objects.exists()


def test_a_paused_account_keeps_its_webhooks_and_loses_no_run() -> None:
    row = account(paused=True)
    assert post(event()).status_code == 204
    assert ProviderHook.objects.count() == 1
    assert Run.objects.get(provider=row).status == RunStatus.QUEUED, "it is read once the account is resumed"


def test_the_run_of_a_start_that_is_under_way_is_not_followed_twice() -> None:
    """Its webhook may overtake the answer that tells its id."""
    row = account()
    ours = factories.run(
        provider=row, external_id=None, status=RunStatus.QUEUED, opened_at=timezone.now(), opened_by="me"
    )
    answer = post(event("run.created"))
    assert answer.status_code == 503, "so that it comes again"
    assert (ProviderHook.objects.count(), Run.objects.count()) == (0, 1)
    Run.objects.filter(pk=ours.pk).update(external_id=RUN_ID)
    assert post(event("run.created")).status_code == 204
    assert (ProviderHook.objects.count(), Run.objects.count()) == (1, 1)


def test_a_start_that_is_over_without_an_id_holds_nothing_up() -> None:
    row = account()
    factories.run(
        provider=row, external_id=None, status=RunStatus.LOST, opened_at=timezone.now(), ended_at=timezone.now()
    )
    assert post(event()).status_code == 204
    assert Run.objects.filter(external_id=RUN_ID).count() == 1


def test_what_cannot_be_stored_whole_is_not_stored_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    account()

    def fails(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(runs, "nudge_external", fails)
    assert post(event(), client=Client(raise_request_exception=False)).status_code == 500
    assert not ProviderHook.objects.exists()


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signed",
    ["", "x", "0" * 64, signature(event(), "another secret"), signature(event() + b" "), signature(event())[:-1]],
    ids=["none", "no digest", "zeros", "another secret", "another body", "cut"],
)
def test_an_unsigned_or_wrongly_signed_webhook_is_refused_and_changes_nothing(signed: str) -> None:
    run = waiting(account())
    answer = post(event(), signed=signed)
    assert answer.status_code == 401
    run.refresh_from_db()
    assert run.nudged_at is None
    assert not ProviderHook.objects.exists()


def test_the_secret_of_one_account_opens_no_other() -> None:
    account("one", secret="secret of one")
    account("two", secret="secret of two")
    assert post(event(), name="two", signed=signature(event(), "secret of one")).status_code == 401


def test_the_signature_is_over_the_bytes_as_they_came() -> None:
    account()
    assert post(json.dumps(json.loads(event()), indent=1).encode(), signed=signature(event())).status_code == 401


@pytest.mark.parametrize("signed", ["", signature(event(), "")], ids=["unsigned", "signed with nothing"])
def test_while_no_secret_is_set_nothing_is_taken_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, signed: str
) -> None:
    account(secret="")
    assert post(event(), signed=signed).status_code == 401
    assert "provider kyb: a webhook was refused: no secret is set" in caplog.text


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"id":5,"type":"run.created"}', b"\xff", b"[" * 50_000])
def test_a_signed_body_that_is_no_event_is_400(raw: bytes) -> None:
    account()
    assert post(raw).status_code == 400
    assert not ProviderHook.objects.exists()


def test_an_unknown_account_and_one_that_sends_no_webhooks_look_the_same() -> None:
    account("mindra", secret="", kind="mindra")
    answers = [post(event(), name=name) for name in ("nobody", "mindra")]
    assert {(one.status_code, one.content, *sorted(one.headers.items())) for one in answers} == {
        (404, answers[0].content, *sorted(answers[0].headers.items()))
    }


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch"])
def test_only_post_is_taken(method: str) -> None:
    account()
    assert getattr(Client(), method)("/hooks/kyb/").status_code == 405


def in_pieces(raw: bytes) -> Any:
    """A body whose length nobody told."""
    headers = [(b"x-middesk-signature-256", signature(raw).encode())]
    scope = {"type": "http", "method": "POST", "path": "/hooks/kyb/", "query_string": b"", "headers": headers}
    return hooks.receive(ASGIRequest(scope, BytesIO(raw)), "kyb")


@pytest.mark.parametrize("deliver", [post, in_pieces])
def test_a_body_of_a_megabyte_is_taken_and_a_larger_one_refused(deliver: Callable[[bytes], Any]) -> None:
    account()
    whole = event()[:-1] + b" " * (hooks.BODY_MAX_BYTES - len(event())) + b"}"
    assert len(whole) == hooks.BODY_MAX_BYTES
    assert deliver(whole + b" ").status_code == 413
    assert not ProviderHook.objects.exists()
    assert deliver(whole).status_code == 204


@pytest.mark.parametrize("length", ["9" * 5_000, "1048577"])
def test_a_length_that_is_told_is_enough_to_refuse(length: str) -> None:
    account()
    assert post(event(), CONTENT_LENGTH=length).status_code == 413


def test_without_the_field_key_it_is_to_come_again(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    account()
    settings.FIELD_KEYS = ["b3RoZXIta2V5LTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
    assert post(event()).status_code == 503
    assert any(record.levelno == logging.ERROR and "field key" in record.message for record in caplog.records)


# --- what it does not need or touch -----------------------------------------------------------------------------------


def test_it_needs_no_sign_in_and_leaves_no_session_or_cookie() -> None:
    account()
    signed_in = Client(enforce_csrf_checks=True)
    signed_in.force_login(User.objects.create_superuser("boss", password="a long pass phrase"))
    before = Session.objects.count()
    for number, client in enumerate((Client(enforce_csrf_checks=True), signed_in)):
        answer = post(event(event_id=f"ev-{number}"), client=client)
        assert answer.status_code == 204
        assert not answer.cookies
        assert "no-store" in answer.headers["Cache-Control"]
    assert Session.objects.count() == before
    assert post(event(), signed="", client=signed_in).status_code == 401, "being signed in is no signature"


def test_it_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    account(base_url="http://127.0.0.1:9")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a call went out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert post(event()).status_code == 204


def test_it_comes_through_a_proxy_that_ends_tls(settings: Any) -> None:
    account()
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["approvals.example.org"]
    assert post(event(), secure=True, SERVER_NAME="approvals.example.org").status_code == 204
    assert post(event(), secure=True, SERVER_NAME="elsewhere.example").status_code == 400


def test_the_log_tells_what_came_and_never_the_secret_or_the_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    account()
    post(event())
    post(event())
    post(event(), signed="0" * 64)
    ours = [record.getMessage() for record in caplog.records if record.name == "dashboard.hooks"]
    run = Run.objects.get()
    assert ours == [
        f"provider kyb: webhook run.interrupted ev-1: run {run.pk} will be read",
        "provider kyb: webhook run.interrupted ev-1: came before",
        "provider kyb: a webhook was refused: the webhook's signature does not fit its body",
    ]
    assert "canary" not in caplog.text
    assert "interrupts" not in caplog.text


def test_rubbish_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    account()
    for _ in range(20):
        post(event(), signed="0" * 64)
    assert caplog.text.count("was refused") == 1


def test_a_hostile_event_id_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    account()
    assert post(event(event_id="a\nprovider kyb: \x1b[2J forged")).status_code == 204
    assert "\x1b" not in caplog.text
    assert "a⟨U+000A⟩provider kyb: ⟨U+001B⟩[2J forged" in caplog.text


# --- the secret -------------------------------------------------------------------------------------------------------


def test_a_webhook_secret_is_sealed_audited_and_can_be_taken_away() -> None:
    row = account(secret="")
    accounts.set_webhook_secret(row, SECRET, actor="boss", origin="page")
    row.refresh_from_db()
    assert row.webhook_secret == SECRET
    assert SECRET not in row.webhook_secret_sealed
    assert post(event()).status_code == 204
    accounts.set_webhook_secret(row, "", actor="boss", origin="page")
    assert post(event(event_id="ev-2"), signed=signature(event(event_id="ev-2"))).status_code == 401
    told = list(AuditEntry.objects.order_by("pk").values_list("action", "actor", "target"))
    assert told == [
        ("provider.webhook_secret_set", "boss", f"provider:{row.pk}"),
        ("provider.webhook_secret_removed", "boss", f"provider:{row.pk}"),
    ]


def test_a_sealed_secret_copied_to_another_account_opens_nothing() -> None:
    one, other = account("one"), account("two", secret="")
    Provider.objects.filter(pk=other.pk).update(webhook_secret_sealed=one.webhook_secret_sealed)
    assert post(event(), name="two").status_code == 503


@pytest.mark.parametrize("kind", ["mindra", "agui", "gone"])
def test_an_account_that_sends_no_webhooks_takes_no_secret_and_has_no_address(kind: str) -> None:
    row = factories.provider(kind=kind)
    with pytest.raises(accounts.AccountRefused, match="sends no webhooks"):
        accounts.set_webhook_secret(row, SECRET, actor="boss", origin="page")
    assert hooks.address(row) == ""


def test_the_address_is_where_people_find_the_site(settings: Any) -> None:
    row = account()
    settings.ORIGINS = []
    assert hooks.address(row) == "/hooks/kyb/"
    settings.ORIGINS = ["https://approvals.example.org", "https://other.example.org"]
    assert hooks.address(row) == "https://approvals.example.org/hooks/kyb/"


def test_names_with_every_allowed_character_have_an_address() -> None:
    name = f"a-Z_0{uuid4().hex}"
    account(name)
    assert post(event(), name=name).status_code == 204
