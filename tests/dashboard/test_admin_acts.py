"""What can be done from the admin: asked once more, done by the services of the pages, audited, by whom it is for."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals import audit, webhooks
from approvals.models import ApprovalRequest, AuditEntry, Delivery, DeliveryState, RequestStatus, WebhookEndpoint
from dashboard.models import ApiToken, User
from streams.models import Provider, RunStatus
from tests import factories
from tests.dashboard.test_admin import EVIL, boss, fill, staff, url

__all__ = ["boss"]  # a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
S = RequestStatus
D = DeliveryState
HOOK = "https://hooks.example.com/in"


def act(model: type[models.Model], name: str, row: models.Model) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_act", args=[row.pk, name])


def last() -> AuditEntry:
    return AuditEntry.objects.order_by("-seq")[0]


def people(*codenames: str) -> Client:
    """Somebody of the staff with these permissions and those to see."""
    user = factories.user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def unknown() -> ApprovalRequest:
    asked = factories.request(status=S.UNKNOWN, settled_at=timezone.now())
    return asked


# --- asking once more -----------------------------------------------------------------------------------------------


def test_nothing_is_done_before_it_was_asked_once_more(boss: Client) -> None:
    row = factories.provider()
    page = boss.get(act(Provider, "pause", row))
    assert page.status_code == 200 and "Leave it as it is" in page.content.decode()
    assert boss.post(act(Provider, "pause", row)).status_code == 200  # without the page's own word it asks again
    row.refresh_from_db()
    assert not row.paused
    assert not AuditEntry.objects.exists()


def test_a_provider_is_paused_and_resumed_and_both_are_audited(boss: Client) -> None:
    row = factories.provider()
    assert boss.post(act(Provider, "pause", row), {"confirmed": "yes"}).status_code == 302
    assert Provider.objects.get().paused
    assert (last().action, last().actor, last().target) == ("provider.changed", "boss", f"provider:{row.pk}")
    assert "Resume" in boss.get(url(Provider, "change", row.pk)).content.decode()
    boss.post(act(Provider, "resume", row), {"confirmed": "yes"})
    assert not Provider.objects.get().paused
    assert AuditEntry.objects.count() == 2
    assert last().origin == "127.0.0.1 admin"


def test_several_rows_are_done_at_once_and_those_that_do_not_fit_stay(boss: Client) -> None:
    rows = [factories.provider(), factories.provider(), factories.provider(paused=True)]
    chosen = {"action": "pause", "_selected_action": [row.pk for row in rows]}
    page = boss.post(url(Provider, "changelist"), chosen).content.decode()
    assert "it is paused already" in page and "These 2" in page
    boss.post(url(Provider, "changelist"), {**chosen, "confirmed": "yes"})
    assert Provider.objects.filter(paused=True).count() == 3
    assert AuditEntry.objects.count() == 2


def test_a_note_is_needed_where_the_act_says_so(boss: Client) -> None:
    asked = unknown()
    for note in ("", "   ", "x" * 2_001):
        page = boss.post(act(ApprovalRequest, "happened", asked), {"confirmed": "yes", "note": note})
        assert page.status_code == 422
        assert 'aria-invalid="true"' in page.content.decode()
    asked.refresh_from_db()
    assert asked.status == S.UNKNOWN


def test_what_an_agent_wrote_is_inert_where_it_is_asked_once_more(boss: Client) -> None:
    asked = factories.request(tool=EVIL, status=S.UNKNOWN, settled_at=timezone.now())
    page = boss.get(act(ApprovalRequest, "happened", asked)).content.decode()
    assert "<script>alert" not in page and "\u202e" not in page and "\x1b" not in page
    assert "⟨U+202E⟩" in page
    assert not re.search(r"<(title|h1)[^>]*>[^<]*alert\(", page)


def test_what_there_is_not_is_not_found(boss: Client) -> None:
    row = factories.provider()
    assert boss.get(act(Provider, "explode", row)).status_code == 404
    row.pk = "0" * 32
    assert boss.get(act(Provider, "pause", row)).status_code in (302, 404)


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "status"), [("happened", S.DELIVERED), ("did-not-happen", S.REFUSED)])
def test_a_person_says_what_came_of_an_unknown_answer(boss: Client, name: str, status: str) -> None:
    asked = unknown()
    answer = boss.post(act(ApprovalRequest, name, asked), {"confirmed": "yes", "note": "Seen in the mailbox"})
    assert answer.status_code == 302
    asked.refresh_from_db()
    assert asked.status == status
    assert (last().action, last().actor, last().origin) == ("request.resolved", "boss", "admin 127.0.0.1")
    assert "Seen in the mailbox" not in last().data


def test_an_unknown_one_is_offered_again_as_a_new_version(boss: Client) -> None:
    asked = unknown()
    boss.post(act(ApprovalRequest, "offer-again", asked), {"confirmed": "yes", "note": "It still waits there"})
    asked.refresh_from_db()
    again = ApprovalRequest.objects.get(reoffers=asked)
    assert (asked.status, again.status, again.version) == (S.STALE, S.PENDING, 2)
    page = boss.get(url(ApprovalRequest, "change", again.pk)).content.decode()
    assert url(ApprovalRequest, "change", asked.pk) in page


def test_a_run_that_is_over_is_offered_nothing_again(boss: Client) -> None:
    run = factories.run(status=RunStatus.FINISHED, ended_at=timezone.now())
    asked = factories.request(run=run, status=S.UNKNOWN, settled_at=timezone.now())
    assert "Offer again" not in boss.get(url(ApprovalRequest, "change", asked.pk)).content.decode()
    page = boss.post(act(ApprovalRequest, "offer-again", asked), {"confirmed": "yes", "note": "x"})
    assert "its run is over" in page.content.decode()
    asked.refresh_from_db()
    assert asked.status == S.UNKNOWN


def test_a_request_is_withdrawn_with_a_reason(boss: Client) -> None:
    asked = factories.request()
    boss.post(act(ApprovalRequest, "withdraw", asked), {"confirmed": "yes", "note": "The order was cancelled"})
    asked.refresh_from_db()
    assert (asked.status, asked.ended_why) == (S.WITHDRAWN, "Withdrawn by boss: The order was cancelled")
    assert last().action == "request.withdrawn"
    assert not Delivery.objects.exists()


def test_somebody_was_quicker_and_the_page_says_so(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = factories.request()

    def meanwhile(row: Any) -> str:
        ApprovalRequest.objects.filter(pk=row.pk).update(status=S.EXPIRED, settled_at=timezone.now())
        return ""

    from approvals.admin import resolving

    withdraw = next(one for one in resolving.ACTS if one.name == "withdraw")
    monkeypatch.setattr(type(withdraw), "refusal", property(lambda self: meanwhile), raising=False)
    answer = boss.post(
        act(ApprovalRequest, "withdraw", asked), {"confirmed": "yes", "note": "No longer needed"}, follow=True
    )
    assert "Nothing was changed." in answer.content.decode()
    asked.refresh_from_db()
    assert asked.status == S.EXPIRED


# --- deliveries and endpoints ---------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> WebhookEndpoint:
    row, _ = webhooks.add(HOOK, actor="system", origin="test")
    return row


def test_a_webhook_is_sent_again_with_its_own_id(boss: Client, endpoint: WebhookEndpoint) -> None:
    sent = webhooks.ping(endpoint, actor="system", origin="test")
    Delivery.objects.filter(pk=sent.pk).update(state=D.DELIVERED, finished_at=timezone.now())
    assert boss.post(act(Delivery, "resend", sent), {"confirmed": "yes"}).status_code == 302
    sent.refresh_from_db()
    assert (sent.state, sent.finished_at) == (D.READY, None)
    assert Delivery.objects.count() == 1
    assert (last().action, last().actor) == ("webhook.resent", "boss")


def test_a_decision_is_never_sent_again(boss: Client) -> None:
    fill()
    for kind in ("decision", "batch"):
        row = Delivery.objects.get(kind=kind)
        assert "Send again" not in boss.get(url(Delivery, "change", row.pk)).content.decode()
        page = boss.post(act(Delivery, "resend", row), {"confirmed": "yes"}).content.decode()
        assert "never sent again from here" in page
        before, after = row.state, Delivery.objects.get(pk=row.pk).state
        assert before == after


def test_what_was_parked_goes_on_unless_the_secret_is_still_refused(boss: Client) -> None:
    fill()
    row = Delivery.objects.get(kind="decision")
    Delivery.objects.filter(pk=row.pk).update(state=D.PARKED, next_at=timezone.now() + timedelta(hours=1))
    assert row.run is not None
    Provider.objects.filter(pk=row.run.provider_id).update(credential_refused_at=timezone.now())
    page = boss.post(act(Delivery, "go-on", row), {"confirmed": "yes"}).content.decode()
    assert "the provider refuses the present secret" in page
    row.refresh_from_db()
    assert row.state == D.PARKED
    Provider.objects.filter(pk=row.run.provider_id).update(credential_refused_at=None)
    boss.post(act(Delivery, "go-on", row), {"confirmed": "yes"})
    row.refresh_from_db()
    assert row.state == D.READY and row.next_at and row.next_at <= timezone.now()
    assert (last().action, last().target) == ("delivery.unparked", f"delivery:{row.pk}")


def test_an_endpoint_is_disabled_with_a_reason_and_enabled(boss: Client, endpoint: WebhookEndpoint) -> None:
    boss.post(act(WebhookEndpoint, "disable", endpoint), {"confirmed": "yes", "note": "It moved"})
    endpoint.refresh_from_db()
    assert endpoint.disabled_at and endpoint.disabled_why == "It moved"
    boss.post(act(WebhookEndpoint, "enable", endpoint), {"confirmed": "yes"})
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None


def test_a_test_message_stands_in_the_endpoints_log(boss: Client, endpoint: WebhookEndpoint) -> None:
    answer = boss.post(act(WebhookEndpoint, "ping", endpoint), {"confirmed": "yes"}, follow=True)
    sent = Delivery.objects.get(endpoint=endpoint)
    page = answer.content.decode()
    assert url(Delivery, "change", sent.pk) in page
    assert "Delivery log" in page


def test_a_new_secret_is_shown_this_one_time(boss: Client, endpoint: WebhookEndpoint) -> None:
    answer = boss.post(act(WebhookEndpoint, "rotate", endpoint), {"confirmed": "yes"})
    page = answer.content.decode()
    found = re.search(r"whsec_[A-Za-z0-9+/=]+", page)
    assert answer.status_code == 200 and found
    assert "no-store" in answer.headers["Cache-Control"]
    for address in (url(WebhookEndpoint, "change", endpoint.pk), url(WebhookEndpoint, "changelist"), "/admin/"):
        assert found[0] not in boss.get(address).content.decode()
    assert not any(found[0] in entry.data for entry in AuditEntry.objects.all())
    before = WebhookEndpoint.objects.get(pk=endpoint.pk).secret_sealed
    boss.get(act(WebhookEndpoint, "rotate", endpoint))
    boss.post(act(WebhookEndpoint, "rotate", endpoint), {"confirmed": "yes"})
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).secret_sealed == before, "the one before signs too until then"
    refused = boss.get(act(WebhookEndpoint, "rotate", endpoint)).content.decode()
    assert "a new secret was made already" in refused
    assert (
        "whsec_" in boss.post(act(WebhookEndpoint, "replace-secret", endpoint), {"confirmed": "yes"}).content.decode()
    )
    row = WebhookEndpoint.objects.get(pk=endpoint.pk)
    assert (row.previous_until, row.secret_sealed == before) == (None, False)


def test_a_leaked_secret_is_replaced_at_once_and_by_one_press(boss: Client, endpoint: WebhookEndpoint) -> None:
    boss.post(act(WebhookEndpoint, "rotate", endpoint), {"confirmed": "yes"})
    page = boss.post(act(WebhookEndpoint, "rotate", endpoint), {"confirmed": "yes"}).content.decode()
    assert "a new secret was made already" in page
    asked = boss.get(act(WebhookEndpoint, "replace-secret", endpoint)).content.decode()
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', asked)
    assert seen
    said = {"confirmed": "yes", "seen": seen[1]}
    assert "whsec_" in boss.post(act(WebhookEndpoint, "replace-secret", endpoint), said).content.decode()
    endpoint.refresh_from_db()
    assert (endpoint.previous_secret_sealed, endpoint.previous_until) == ("", None)
    again = boss.post(act(WebhookEndpoint, "replace-secret", endpoint), said, follow=True).content.decode()
    assert "whsec_" not in again and "it was replaced after this page was loaded" in again
    assert WebhookEndpoint.objects.get().secret_sealed == endpoint.secret_sealed


# --- for whom it is -------------------------------------------------------------------------------------------------

Made = Callable[[], models.Model]
EVERY: list[tuple[type[models.Model], str, str, Made]] = [
    (Provider, "pause", "change_provider", factories.provider),
    (Provider, "resume", "change_provider", lambda: factories.provider(paused=True)),
    (ApprovalRequest, "happened", "decide_request", unknown),
    (ApprovalRequest, "did-not-happen", "decide_request", unknown),
    (ApprovalRequest, "offer-again", "decide_request", unknown),
    (ApprovalRequest, "withdraw", "withdraw_request", factories.request),
    (WebhookEndpoint, "ping", "change_webhookendpoint", lambda: hook()),
    (WebhookEndpoint, "rotate", "change_webhookendpoint", lambda: hook()),
    (WebhookEndpoint, "replace-secret", "change_webhookendpoint", lambda: hook()),
    (WebhookEndpoint, "replace-secret", "change_webhookendpoint", lambda: hook()),
    (WebhookEndpoint, "disable", "change_webhookendpoint", lambda: hook()),
    (WebhookEndpoint, "enable", "change_webhookendpoint", lambda: hook(disabled_at=timezone.now())),
    (Delivery, "resend", "change_delivery", lambda: ended()),
    (ApiToken, "revoke", "change_apitoken", lambda: ApiToken.issue(name="ci", user=factories.user(), scopes=[])[0]),
]


def hook(**fields: Any) -> WebhookEndpoint:
    row = WebhookEndpoint(url=HOOK, **fields)
    row.set_secret("whsec_x")
    row.save()
    return row


def ended() -> Delivery:
    return Delivery.objects.create(kind="webhook", endpoint=hook(), state=D.REFUSED, finished_at=timezone.now())


NAMES = [f"{model.__name__}-{name}" for model, name, *_ in EVERY]


def state(row: models.Model) -> dict[str, Any]:
    return type(row)._default_manager.filter(pk=row.pk).values().get()


@pytest.mark.parametrize(("model", "name", "permission", "make"), EVERY, ids=NAMES)
def test_each_act_is_done_by_whom_it_is_for_and_refused_to_all_others(
    model: type[models.Model], name: str, permission: str, make: Made
) -> None:
    row = make()
    before = state(row)
    outsider, insider = people(), people(permission)
    said = {"confirmed": "yes", "note": "Because of this"}
    assert act(model, name, row) not in outsider.get(url(model, "change", row.pk)).content.decode()
    assert outsider.get(act(model, name, row)).status_code == 403
    assert outsider.post(act(model, name, row), said).status_code == 403
    outsider.post(url(model, "changelist"), {"action": name, "_selected_action": [row.pk], **said})
    assert state(row) == before
    assert not AuditEntry.objects.exists()
    assert act(model, name, row) in insider.get(url(model, "change", row.pk)).content.decode()
    assert insider.post(act(model, name, row), said).status_code in (200, 302)
    assert AuditEntry.objects.exists()
    assert audit.verify().bad is None


@pytest.mark.parametrize(("model", "name", "permission", "make"), EVERY, ids=NAMES)
def test_an_auditor_does_nothing(model: type[models.Model], name: str, permission: str, make: Made) -> None:
    row = make()
    before = state(row)
    client = staff("Auditor")
    assert client.post(act(model, name, row), {"confirmed": "yes", "note": "x"}).status_code == 403
    assert client.get(act(model, name, row)).status_code == 403
    assert state(row) == before
    assert not AuditEntry.objects.exists()


def test_four_eyes_hold_in_the_admin_too() -> None:
    client = people("decide_request")
    me = User.objects.get(pk=client.session["_auth_user_id"])
    run = factories.run(provider=factories.provider(options={"four_eyes": True}), started_by=me)
    asked = factories.request(run=run, status=S.UNKNOWN, settled_at=timezone.now())
    answer = client.post(act(ApprovalRequest, "happened", asked), {"confirmed": "yes", "note": "I saw it"}, follow=True)
    assert "may not decide what it asks" in answer.content.decode()
    asked.refresh_from_db()
    assert asked.status == S.UNKNOWN


@pytest.mark.parametrize("name", ["pause", "happened"])
def test_who_is_no_staff_is_sent_to_the_door(name: str) -> None:
    row = factories.provider() if name == "pause" else unknown()
    client = Client()
    client.force_login(factories.user())
    answer = client.post(act(type(row), name, row), {"confirmed": "yes"})
    assert answer.status_code == 302 and "/admin/login/" in answer.headers["Location"]
