"""The admin: every model is there, history cannot be touched, secrets never come out, hostile text stays inert."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    AuditHead,
    Batch,
    Decision,
    Delivery,
    RequestStatus,
    Vote,
    WebhookEndpoint,
)
from dashboard import tokens
from dashboard.models import ApiToken, User
from streams.models import Checkpoint, Event, FieldKey, HolderProcess, Lease, Provider, ProviderHook, Run
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
OURS = [model for app in ("streams", "approvals", "dashboard") for model in apps.get_app_config(app).get_models()]
CHANGEABLE = {Provider, User}
HISTORY = [model for model in OURS if model not in CHANGEABLE]
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202etxt\x1b{{ 7 }}"


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss", password="a long pass phrase"))
    return client


def url(model: type[models.Model], what: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)


def fill(count: int = 1) -> None:
    """At least `count` rows of every model, with hostile text wherever a provider's text goes."""
    for _ in range(count):
        now = timezone.now()
        user = factories.user()
        provider = factories.provider()
        first = factories.run(provider=provider, title=EVIL, error=EVIL, task=EVIL, outcome=EVIL[:60], workflow=EVIL)
        run = factories.run(provider=provider, continues=first, external_id=f"{EVIL}{uuid4()}", thread_id=EVIL)
        batch = Batch.objects.create(run=run, total=2)
        asked = factories.request(
            run=run, batch=batch, tool=EVIL, arguments=EVIL, message=EVIL, call_id=f"{EVIL}{uuid4()}",
            answer_schema=EVIL, problem=EVIL, reason=EVIL, tool_call_id=EVIL, deadline_text=EVIL,
        )  # fmt: skip
        factories.request(run=run, tool=EVIL, reoffers=asked, call_id=str(uuid4()))
        given: dict[str, Any] = {"by": user, "verdict": "approve", "reason": EVIL, "seen_sha256": asked.input_sha256}
        Vote.objects.create(request=asked, **given)
        decision = Decision.objects.create(request=asked, leaves_at=now, edited=EVIL, answer=EVIL, **given)
        hook = WebhookEndpoint(url=f"https://hooks.example/{uuid4()}")
        hook.set_secret("canary-hook")
        hook.save()
        Delivery.objects.create(
            kind="decision",
            run=run,
            decision=decision,
            answer=EVIL,
            last_error=EVIL,
            evidence=EVIL,
            answering_run=first,
        )
        Delivery.objects.create(kind="batch", run=run, batch=batch)
        Delivery.objects.create(kind="webhook", endpoint=hook, body=EVIL)
        Event.objects.create(
            run=run, seq=1, kind=EVIL[:100], payload=EVIL, own_id=EVIL, sha256="0" * 64, received_at=now
        )
        Checkpoint.objects.create(run=run, seq=1, state=EVIL)
        Lease.objects.create(run=run, owner="host:1", epoch=1, expires_at=now)
        HolderProcess.objects.create(owner=str(uuid4()), started_at=now, seen_at=now)
        FieldKey.objects.create(fingerprint=uuid4().hex[:16], check_value="x")
        ProviderHook.objects.create(
            provider=provider,
            event_id=f"{EVIL}{uuid4()}",
            kind=EVIL[:100],
            external_id=str(run.external_id),
            received_at=now,
        )
        tokens.create(name="ci", user=user, scopes=["runs:read"], actor="system", origin=EVIL)


@pytest.mark.parametrize("model", OURS)
def test_every_model_is_in_the_admin_and_costs_a_fixed_number_of_queries(
    boss: Client, model: type[models.Model]
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as made:
            assert boss.get(url(model, "changelist")).status_code == 200
        return len(made)

    assert admin.site.is_registered(model)
    fill(1)
    queries()  # content types and the like are cached
    few = queries()
    fill(3)
    assert queries() <= few


@pytest.mark.parametrize("model", HISTORY)
def test_history_is_read_and_never_touched(boss: Client, model: type[models.Model]) -> None:
    fill()
    row = model._default_manager.all()[0]
    page = boss.get(url(model, "change", row.pk))
    assert page.status_code == 200
    before = model._default_manager.filter(pk=row.pk).values().get()
    assert boss.post(url(model, "change", row.pk), {"status": "x"}).status_code == 403
    assert boss.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert boss.get(url(model, "add")).status_code == 403
    assert boss.post(url(model, "add"), {}).status_code == 403
    boss.post(url(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert model._default_manager.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize("model", OURS)
def test_hostile_text_is_inert_in_every_page(boss: Client, model: type[models.Model]) -> None:
    fill()
    for address in (url(model, "changelist"), url(model, "change", model._default_manager.all()[0].pk)):
        text = boss.get(address).content.decode()
        assert "<script>alert" not in text and "<img src=x" not in text
        assert "\u202e" not in text and "\x1b" not in text
        assert "canary" not in text and "secret_sealed" not in text
        for part in ("title", "h1", "h2"):
            for said in re.findall(rf"<{part}[^>]*>(.*?)</{part}>", text, re.DOTALL):
                assert "alert(" not in said
        crumbs = re.search(r'class="breadcrumbs">(.*?)</(?:div|ol)>', text, re.DOTALL)
        assert crumbs is None or "alert(" not in crumbs[1]


def test_rows_are_linked_with_each_other(boss: Client) -> None:
    fill()
    run = Run.objects.get(continues__isnull=False)
    page = boss.get(url(Run, "change", run.pk)).content.decode()
    for model in (Event, ApprovalRequest, Batch, Delivery):
        address = f"{url(model, 'changelist')}?run__id__exact={run.pk}"
        assert address in page
        assert boss.get(address).context["cl"].result_count >= 1
    assert url(Run, "change", run.continues_id) in page
    assert url(Provider, "change", run.provider_id) in page
    decision = Decision.objects.get()
    assert (
        url(ApprovalRequest, "change", decision.request_id)
        in boss.get(url(Decision, "change", decision.pk)).content.decode()
    )


@pytest.mark.parametrize("model", OURS)
def test_search_and_date_pages_answer(boss: Client, model: type[models.Model]) -> None:
    fill()
    shown = admin.site.get_model_admin(model)
    words = ("x", str(uuid4()), "\x00", "1") if shown.search_fields else ()
    for word in words:
        assert boss.get(url(model, "changelist"), {"q": word}).status_code == 200
    if shown.date_hierarchy:
        assert boss.get(url(model, "changelist"), {f"{shown.date_hierarchy}__year": 2026}).status_code == 200
        assert boss.get(url(model, "changelist"), {"nonsense": 1}).status_code == 302


def test_a_very_long_text_is_cut_in_the_page(boss: Client) -> None:
    asked = factories.request(arguments="x" * 1_000_000)
    page = boss.get(url(ApprovalRequest, "change", asked.pk)).content.decode()
    assert len(page) < 200_000
    assert "934,464 more characters" in page


# --- who may look ---------------------------------------------------------------------------------------------------


def staff(*groups: str) -> Client:
    user = factories.user(is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    client = Client()
    client.force_login(user)
    return client


def test_an_auditor_reads_everything_and_adds_nothing() -> None:
    fill()
    client = staff("Auditor")
    assert client.get(url(AuditEntry, "changelist")).status_code == 200
    assert client.get(url(Provider, "changelist")).status_code == 200
    page = client.get(url(Provider, "change", Provider.objects.all()[0].pk)).content.decode()
    assert "new_secret" not in page
    assert client.get(url(Provider, "add")).status_code == 403
    for model in (ApiToken, User, Group):
        assert client.get(url(model, "changelist")).status_code == 200
        assert client.get(url(model, "add")).status_code == 403
    somebody = User.objects.create_user("rita", password="a fine old password")
    page = client.get(url(User, "change", somebody.pk)).content.decode()
    assert "rita" in page
    assert somebody.password not in page
    assert somebody.password.split("$")[-1][:10] not in page


def test_an_operator_has_accounts_and_tokens() -> None:
    fill()
    client = staff("Operator")
    assert client.get(url(Provider, "add")).status_code == 200
    assert client.get(url(ApiToken, "changelist")).status_code == 200
    assert client.get(url(User, "changelist")).status_code == 403


def test_there_is_one_door() -> None:
    client = Client()
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")
    assert client.get("/admin/login/").headers["Location"].startswith("/accounts/login/")
    client.force_login(factories.user())
    assert "not authorized" in client.get("/admin/login/").content.decode()


# --- provider accounts ----------------------------------------------------------------------------------------------


def given(**fields: Any) -> dict[str, Any]:
    return {"name": "agent", "kind": "agui", "base_url": "http://agent:8000/", "options": "{}", **fields}


def test_a_secret_goes_in_and_never_comes_out(boss: Client) -> None:
    assert boss.post(url(Provider, "add"), given(new_secret="canary-key-1")).status_code == 302
    row = Provider.objects.get()
    assert (row.secret, row.base_url) == ("canary-key-1", "http://agent:8000/")
    page = boss.get(url(Provider, "change", row.pk)).content.decode()
    assert "canary" not in page and row.secret_sealed not in page
    wrong = boss.post(url(Provider, "change", row.pk), given(name="not a slug", new_secret="canary-key-2"))
    assert "canary" not in wrong.content.decode()
    assert Provider.objects.get().secret == "canary-key-1"


def test_an_empty_secret_keeps_the_present_one_and_a_new_one_lifts_the_alert(boss: Client) -> None:
    row = factories.provider(credential_refused_at=timezone.now())
    row.set_secret("first")
    row.credential_refused_at = timezone.now()
    row.save()
    boss.post(url(Provider, "change", row.pk), given(name=row.name, base_url="http://127.0.0.1:9/", paused="on"))
    row.refresh_from_db()
    assert (row.secret, row.paused, bool(row.credential_refused_at)) == ("first", True, True)
    boss.post(url(Provider, "change", row.pk), given(name=row.name, new_secret="second"))
    row.refresh_from_db()
    assert (row.secret, row.paused) == ("second", False)
    assert Provider.objects.get(pk=row.pk).credential_refused_at is None
    assert row.kind == "mindra"  # its runs speak that
    told = list(AuditEntry.objects.order_by("seq").values_list("action", "actor", "data"))
    assert [(action, actor) for action, actor, _ in told] == [("provider.changed", "boss")] * 2
    assert ['"new_secret":true' in data.replace(" ", "") for _, _, data in told] == [False, True]
    assert not any("second" in data for _, _, data in told)


@pytest.mark.parametrize(
    "wrong", [{"base_url": "agent"}, {"kind": "other"}, {"name": "a b"}, {"options": "{"}, {"dialect": "x"}]
)
def test_an_account_that_cannot_be_kept_is_refused(boss: Client, wrong: dict[str, str]) -> None:
    answer = boss.post(url(Provider, "add"), given(**wrong))
    assert next(iter(wrong)) in answer.context["adminform"].form.errors
    assert not Provider.objects.exists()


def test_without_a_field_key_no_secret_is_taken(boss: Client, settings: Any) -> None:
    settings.FIELD_KEYS = []
    answer = boss.post(url(Provider, "add"), given(new_secret="canary"))
    assert "COUNTERSIGN_FIELD_KEYS" in str(answer.context["adminform"].form.errors["new_secret"])
    assert not Provider.objects.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('{\n  "four_eyes": true,\n}', "at line 3, column 1"),
        ("[1]", "A JSON object is needed"),
        ('{"a": 1, "a": 2}', "a stands in it twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[" * 50_000, "nested too deeply"),
        ('{"four_eyes": "yes"}', "four_eyes is true or false"),
    ],
)
def test_what_is_wrong_with_the_options_is_said_with_its_place(boss: Client, options: str, said: str) -> None:
    answer = boss.post(url(Provider, "add"), given(options=options))
    assert said in str(answer.context["adminform"].form.errors["options"])
    assert not Provider.objects.exists()


def test_options_are_kept_as_they_were_meant(boss: Client) -> None:
    boss.post(url(Provider, "add"), given(options='{"four_eyes": true, "wörter": ["ä"]}'))
    row = Provider.objects.get()
    assert row.options == {"four_eyes": True, "wörter": ["ä"]}
    assert "wörter" in boss.get(url(Provider, "change", row.pk)).content.decode()
    boss.post(url(Provider, "change", row.pk), given(options=""))
    assert Provider.objects.get().options == {}


def test_a_webhook_secret_goes_in_and_never_comes_out(boss: Client) -> None:
    row = factories.provider(kind="middesk")
    secret = "canary-webhook-secret-0123456789abcdef"
    boss.post(url(Provider, "change", row.pk), given(name=row.name, new_webhook_secret=secret))
    assert Provider.objects.get().webhook_secret == secret
    boss.post(url(Provider, "change", row.pk), given(name=row.name))
    assert Provider.objects.get().webhook_secret == secret
    page = boss.get(url(Provider, "change", row.pk)).content.decode()
    assert "canary" not in page and f"/hooks/{row.name}/" in page
    assert not any("canary" in entry.data for entry in AuditEntry.objects.all())


def test_a_kind_that_sends_no_webhooks_takes_no_secret_for_them(boss: Client) -> None:
    answer = boss.post(url(Provider, "add"), given(new_webhook_secret="canary-webhook-secret-0123456789"))
    assert "new_webhook_secret" in answer.context["adminform"].form.errors
    assert "canary" not in answer.content.decode()
    assert not Provider.objects.exists()


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_tokens_are_revoked_at_once_and_audited(boss: Client) -> None:
    fill()
    row, token = tokens.create(name="x", user=factories.user(), scopes=["runs:read"], actor="system", origin="t")
    action = {"action": "revoke", "_selected_action": [row.pk]}
    assert boss.post(url(ApiToken, "changelist"), action).status_code == 200  # it asks once more
    assert tokens.find(token) == row
    action["confirmed"] = "yes"
    assert boss.post(url(ApiToken, "changelist"), action).status_code == 302
    assert tokens.find(token) is None
    last = AuditEntry.objects.order_by("-seq")[0]
    assert (last.action, last.actor, last.target) == ("token.revoked", "boss", f"token:{row.pk}")
    assert ApiToken.objects.filter(revoked_at__isnull=True).count() == 1


def test_only_who_may_change_tokens_revokes_them() -> None:
    user = factories.user(is_staff=True)
    user.user_permissions.add(*_permissions("view_apitoken"))
    client = Client()
    client.force_login(user)
    row, token = tokens.create(name="x", user=user, scopes=["runs:read"], actor="system", origin="t")
    client.post(url(ApiToken, "changelist"), {"action": "revoke", "_selected_action": [row.pk], "confirmed": "yes"})
    assert tokens.find(token) == row


def _permissions(*names: str) -> Iterator[Any]:
    from django.contrib.auth.models import Permission

    return iter(Permission.objects.filter(codename__in=names))


def test_the_factory_above_fills_every_model() -> None:
    fill()
    empty = [model for model in OURS if model not in {AuditHead} and not model._default_manager.exists()]
    assert not empty
    assert ApprovalRequest.objects.filter(status=RequestStatus.PENDING).count() == 2
    assert timezone.now() - Run.objects.latest("started_at").started_at < timedelta(minutes=1)
