"""Settings: who may look and who may change, what is kept, what is shown once, and that all of it is audited."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals import webhooks
from approvals.models import AuditEntry, Delivery, WebhookEndpoint
from dashboard import connection, tokens
from dashboard.connection import Found
from dashboard.desk import health
from dashboard.models import ApiToken, User
from streams.models import Provider, Run
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
PASSWORD = "a long pass phrase"
EVIL = "<script>alert(1)</script>"
SECRET = "sk-9f1c2d3e4a5b"
STAFF_PAGES = ("/settings/", "/settings/providers/", "/settings/webhooks/", "/settings/people/")


@pytest.fixture
def boss(client: Client) -> User:
    """A signed-in superuser."""
    user: User = User.objects.create_superuser("boss", password=PASSWORD)
    client.force_login(user)
    return user


def person(client: Client | None = None, *, group: str = "", may: str = "", **fields: Any) -> User:
    """Somebody, signed in if a client is given; `may` names a permission."""
    user = factories.user(**fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    if may:
        app, _, codename = may.partition(".")
        user.user_permissions.add(Permission.objects.get(codename=codename, content_type__app_label=app))
    if client is not None:
        client.force_login(user)
    return user


def said(answer: Any) -> str:
    """What the next page will tell."""
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("seq").values_list("action", flat=True))


def text(answer: Any) -> str:
    return str(answer.content.decode())


def shown_once(answer: Any) -> str:
    """What the page shows this one time."""
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    found = re.search(r'<textarea class="area mono secret"[^>]*>([^<]+)</textarea>', text(answer))
    assert found
    return found[1]


def posts(provider: Provider, endpoint: WebhookEndpoint, somebody: User) -> list[str]:
    """Every address of the settings that changes something."""
    at = {"name": provider.name}
    return [
        *(reverse(f"settings-provider-{name}", kwargs=at) for name in ("change", "check", "pause", "answers", "hook")),
        reverse("settings-webhook-add"),
        *(reverse(f"settings-webhook-{name}", args=[endpoint.pk]) for name in ("secret", "test", "disable", "enable")),
        reverse("settings-webhook-resend", args=[endpoint.pk, uuid4()]),
        reverse("settings-invite"),
        *(
            reverse(f"settings-person-{name}", args=[somebody.pk])
            for name in ("group", "link", "deactivate", "reactivate")
        ),
    ]


@pytest.fixture
def endpoint() -> WebhookEndpoint:
    return webhooks.add("https://hooks.example.org/x", actor="test", origin="test")[0]


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["Reviewer", "Operator", "Auditor", ""])
def test_who_is_no_staff_neither_looks_nor_changes(client: Client, endpoint: WebhookEndpoint, group: str) -> None:
    provider, somebody = factories.provider(kind="middesk"), person()
    person(client, group=group)
    before = actions()
    for path in (*STAFF_PAGES, f"/settings/providers/{provider.name}/", "/settings/add-provider/"):
        assert client.get(path).status_code == 403, path
    for path in posts(provider, endpoint, somebody):
        assert client.post(path, {}).status_code == 403, path
    assert actions() == before
    assert "Settings" not in text(client.get("/runs/"))


def test_staff_without_permissions_look_and_change_nothing(client: Client, endpoint: WebhookEndpoint) -> None:
    provider, somebody = factories.provider(kind="middesk"), person()
    person(client, is_staff=True)
    before = actions()
    pages = (
        *STAFF_PAGES,
        f"/settings/providers/{provider.name}/",
        f"/settings/webhooks/{endpoint.pk}/",
        f"/settings/people/{somebody.pk}/",
    )
    for path in pages:
        html = text(client.get(path))
        forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', html)
        assert set(forms) <= {"/accounts/logout/"}, path
    assert client.get("/settings/add-provider/").status_code == 403
    for path in posts(provider, endpoint, somebody):
        assert client.post(path, {}).status_code == 403, path
    assert actions() == before


def test_a_permission_without_being_staff_opens_nothing(client: Client) -> None:
    provider = factories.provider()
    person(client, group="Operator")
    assert client.post(f"/settings/providers/{provider.name}/pause/", {"paused": "1"}).status_code == 403
    assert not Provider.objects.get().paused


def test_a_permission_of_staff_opens_its_own_part_alone(client: Client, endpoint: WebhookEndpoint) -> None:
    provider, somebody = factories.provider(), person()
    person(client, may="streams.change_provider", is_staff=True)
    assert client.post(f"/settings/providers/{provider.name}/pause/", {"paused": "1"}).status_code == 302
    assert client.get("/settings/add-provider/").status_code == 403
    assert client.post(f"/settings/webhooks/{endpoint.pk}/disable/").status_code == 403
    assert client.post(f"/settings/people/{somebody.pk}/deactivate/").status_code == 403


def test_a_stranger_is_sent_to_sign_in(client: Client) -> None:
    for path in (*STAFF_PAGES, "/settings/tokens/"):
        assert client.get(path).headers["Location"] == f"/accounts/login/?next={path}"


def test_a_forged_post_changes_nothing(endpoint: WebhookEndpoint) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("boss", password=PASSWORD))
    before = actions()
    for path in posts(factories.provider(kind="middesk"), endpoint, person()):
        assert strict.post(path, {}).status_code == 403, path
    assert actions() == before


def test_no_get_changes_anything(client: Client, boss: User, endpoint: WebhookEndpoint) -> None:
    provider, somebody = factories.provider(kind="middesk"), person()
    before = actions()
    for path in posts(provider, endpoint, somebody):
        assert client.get(path).status_code in {200, 302, 405}, path
    assert actions() == before
    assert User.objects.get(pk=somebody.pk).is_active
    assert WebhookEndpoint.objects.get().disabled_at is None


def test_every_page_asks_a_fixed_number_of_queries(
    client: Client, boss: User, django_assert_max_num_queries: Any
) -> None:
    def fill(count: int) -> None:
        for number in range(count):
            provider = factories.provider(kind="middesk")
            factories.run(provider=provider)
            row, _ = webhooks.add(f"https://h{Provider.objects.count()}.example.org/", actor="t", origin="t")
            webhooks.ping(row, actor="t", origin="t")
            somebody = person(group="Reviewer")
            tokens.create(name=f"t{number}", user=somebody, scopes=["runs:read"], actor="t", origin="t")

    for count in (1, 12):
        fill(count)
        name, hook = Provider.objects.values_list("name", flat=True)[0], WebhookEndpoint.objects.all()[0].pk
        paths = (*STAFF_PAGES, "/settings/tokens/", f"/settings/providers/{name}/", f"/settings/webhooks/{hook}/")
        for path in paths:
            with django_assert_max_num_queries(12):
                assert client.get(path).status_code == 200


# --- providers --------------------------------------------------------------------------------------------------------


def add(client: Client, kind: str = "mindra", **fields: str) -> Any:
    given = {"name": "the-mindra", "base_url": "https://api.mindra.example", **fields}
    return client.post(f"/settings/add-provider/?kind={kind}", given)


def test_a_provider_is_added_with_its_secret_sealed_and_audited(client: Client, boss: User) -> None:
    assert add(client, secret=SECRET, options='{"a": 1}').headers["Location"] == "/settings/providers/the-mindra/"
    row = Provider.objects.get()
    assert (row.kind, row.base_url, row.options, row.secret) == (
        "mindra",
        "https://api.mindra.example",
        {"a": 1},
        SECRET,
    )
    entry = AuditEntry.objects.get(action="provider.added")
    assert entry.actor == "boss"
    assert SECRET not in entry.data
    assert SECRET not in text(client.get("/settings/providers/the-mindra/"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "Without a name"),
        ({"name": "two words"}, "valid “slug”"),
        ({"base_url": ""}, "Without an address"),
        ({"base_url": "ftp://x"}, "It must begin with http:// or https:// and name a host."),
        ({"base_url": "https://me:pw@host"}, "No user name or password in it"),
        ({"options": "{"}, "This cannot be kept: not JSON"),
        ({"options": "[]"}, "This has to be an object, in braces."),
    ],
)
def test_what_is_wrong_with_an_account_is_said_and_nothing_is_kept(
    client: Client, boss: User, fields: dict[str, str], words: str
) -> None:
    answer = add(client, secret=SECRET, **fields)
    assert answer.status_code == 422
    assert words in text(answer)
    assert SECRET not in text(answer), "a secret never comes back"
    assert not Provider.objects.exists()


def test_a_name_is_given_once(client: Client, boss: User) -> None:
    factories.provider(name="the-mindra")
    assert "There is a provider of this name already." in text(add(client))


def test_without_a_field_key_no_secret_is_taken(client: Client, boss: User, settings: Any) -> None:
    settings.FIELD_KEYS = []
    answer = add(client, secret=SECRET)
    assert answer.status_code == 422
    assert "no field key is configured" in text(answer)
    assert add(client).status_code == 302


def test_only_ag_ui_is_asked_for_a_dialect(client: Client, boss: User) -> None:
    assert 'name="dialect"' not in text(client.get("/settings/add-provider/?kind=mindra"))
    assert 'name="dialect"' in text(client.get("/settings/add-provider/?kind=agui"))
    assert add(client, kind="agui", dialect="nobody-speaks-it").status_code == 422
    assert add(client, kind="agui", dialect="pydantic-ai").status_code == 302
    assert Provider.objects.get().dialect == "pydantic-ai"


def test_an_unknown_kind_leads_to_the_choice(client: Client, boss: User) -> None:
    html = text(client.get("/settings/add-provider/?kind=nothing"))
    assert all(f'href="?kind={kind}"' in html for kind in ("mindra", "middesk", "agui"))


def change(client: Client, row: Provider, **fields: str) -> Any:
    return client.post(f"/settings/providers/{row.name}/change/", {"base_url": row.base_url, **fields})


@pytest.fixture
def sealed() -> Provider:
    row = factories.provider(base_url="https://api.mindra.example/a", options={"a": 1})
    row.set_secret(SECRET)
    row.save()
    return row


def test_an_empty_secret_keeps_the_present_one_and_a_new_one_lifts_the_alert(
    client: Client, boss: User, sealed: Provider
) -> None:
    Provider.objects.update(credential_refused_at=timezone.now())
    assert change(client, sealed, base_url="https://api.mindra.example/b").status_code == 302
    sealed.refresh_from_db()
    assert (sealed.base_url, sealed.secret, sealed.options) == ("https://api.mindra.example/b", SECRET, {})
    assert sealed.credential_refused_at is not None
    change(client, sealed, secret="another")
    sealed.refresh_from_db()
    assert sealed.secret == "another"
    assert not Provider.objects.exclude(credential_refused_at=None).exists()
    assert actions() == ["provider.changed", "provider.changed"]


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example/a", "http://api.mindra.example/a", "https://api.mindra.example:444/a"]
)
def test_a_secret_is_not_sent_to_a_new_place_unless_it_is_given_again(
    client: Client, boss: User, sealed: Provider, url: str
) -> None:
    answer = change(client, sealed, base_url=url)
    assert answer.status_code == 422
    assert "give the secret again" in text(answer)
    sealed.refresh_from_db()
    assert sealed.base_url == "https://api.mindra.example/a"
    assert change(client, sealed, base_url=url, secret="again").status_code == 302
    sealed.refresh_from_db()
    assert (sealed.base_url, sealed.secret) == (url, "again")


def test_a_provider_is_paused_and_resumed_each_once(client: Client, boss: User) -> None:
    row = factories.provider()
    path = f"/settings/providers/{row.name}/pause/"
    for paused in ("1", "1", "0", "0"):
        client.post(path, {"paused": paused})
    assert actions() == ["provider.paused", "provider.resumed"]
    assert not Provider.objects.get().paused


def test_the_list_shows_what_is_wrong_with_a_provider(client: Client, boss: User) -> None:
    factories.run(provider=factories.provider(name="busy"), last_event_at=timezone.now())
    factories.provider(name="resting", paused=True)
    factories.provider(name="barred", credential_refused_at=timezone.now())
    html = text(client.get("/settings/providers/"))
    assert "1 going on" in html
    assert "Paused" in html
    assert "Secret refused" in html
    assert "1 refused our secret" in text(client.get("/settings/"))


def test_the_check_asks_once_and_writes_down_what_it_found(
    client: Client, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, asked = factories.provider(), []

    def answer(provider: Provider) -> Found:
        asked.append(provider.name)
        return Found("credential", f"it answers, but does not accept the secret {EVIL}")

    monkeypatch.setattr(connection, "check", answer)
    client.get(f"/settings/providers/{row.name}/check/")
    assert asked == []
    done = client.post(f"/settings/providers/{row.name}/check/", follow=True)
    assert asked == [row.name]
    assert "it answers, but does not accept the secret" in text(done)
    assert EVIL not in text(done)
    assert "Secret refused" in text(client.get("/settings/providers/"))
    assert AuditEntry.objects.get().action == "provider.checked"


def test_a_check_that_hangs_ends_by_itself(client: Client, boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    row, over = factories.provider(), threading.Event()

    def hang(_: Provider) -> Found:
        over.wait(20)
        return Found("ok", "late")

    monkeypatch.setattr(connection, "check", hang)
    monkeypatch.setattr(health, "LIMIT_S", 0.05)
    try:
        assert "no answer within" in said(client.post(f"/settings/providers/{row.name}/check/"))
    finally:
        over.set()


# --- answers and webhooks of a provider -------------------------------------------------------------------------------

SAME = '{"approve": {"d": 1}, "reject": {"d": 1}}'
OWN = '{"approve": {"ok": true}, "reject": {"ok": false, "why": "{note}"}}'


@pytest.fixture
def middesk() -> Provider:
    return factories.provider(name="checks", kind="middesk", base_url="https://api.middesk.example", options={"x": 1})


def answers(client: Client, do: str = "save", **fields: str) -> Any:
    return client.post("/settings/providers/checks/answers/", {"do": do, **fields})


def test_answering_is_off_until_it_is_switched_on_and_can_be_switched_off(
    client: Client, boss: User, middesk: Provider
) -> None:
    assert "Read-only here" in text(client.get("/settings/providers/checks/"))
    answers(client, enabled="on", template=OWN)
    middesk.refresh_from_db()
    assert middesk.options["resume"]["enabled"] is True
    assert middesk.options["resume"]["reject"] == {"ok": False, "why": "{note}"}
    assert middesk.options["x"] == 1
    assert "Decided here" in text(client.get("/settings/providers/checks/"))
    answers(client, template=OWN)
    kept = Provider.objects.get().options["resume"]
    assert (kept["enabled"], kept["approve"]) == (False, {"ok": True}), "the template is kept for another time"
    assert actions() == ["provider.answers_on", "provider.answers_off"]


def test_the_preview_shows_the_very_call_and_saves_nothing(client: Client, boss: User, middesk: Provider) -> None:
    html = text(answers(client, do="preview", enabled="on", template=OWN))
    assert "POST https://api.middesk.example/v1/runs/run_EXAMPLE/resume" in html
    assert "&quot;interrupt_id&quot;: &quot;int_EXAMPLE&quot;" in html
    assert "What the reviewer wrote." in html
    assert "nothing saved yet" in html
    middesk.refresh_from_db()
    assert middesk.options == {"x": 1}
    assert actions() == []


def test_a_question_with_a_template_of_its_own_is_previewed_too(client: Client, boss: User, middesk: Provider) -> None:
    template = '{"tools": {"watchlist_resolution": {"reject": {"dismiss": false}}}}'
    html = text(answers(client, do="preview", template=template))
    assert html.count("<code>watchlist_resolution</code>") == 2
    assert "&quot;dismiss&quot;: false" in html


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (SAME, "approve and reject would send the same"),
        ('{"body": {"a": 1}}', "its body does not say {interrupt_id}"),
        ('{"surprise": 1}', "unknown: surprise"),
        ('{"enabled": true}', "is the switch above"),
        ("{", "This cannot be kept"),
    ],
)
def test_a_template_that_could_not_answer_is_refused(
    client: Client, boss: User, middesk: Provider, template: str, words: str
) -> None:
    for do in ("save", "preview"):
        answer = answers(client, do=do, enabled="on", template=template)
        assert answer.status_code == 422
        assert words in text(answer)
    middesk.refresh_from_db()
    assert middesk.options == {"x": 1}


def test_changing_the_account_leaves_the_answers_alone(client: Client, boss: User, middesk: Provider) -> None:
    answers(client, enabled="on", template=OWN)
    change(client, middesk, options='{"y": 2}')
    middesk.refresh_from_db()
    assert middesk.options["y"] == 2
    assert middesk.options["resume"]["enabled"] is True
    assert change(client, middesk, options='{"resume": {"enabled": true}}').status_code == 422


def test_providers_that_take_answers_as_they_are_have_no_switch(client: Client, boss: User) -> None:
    row = factories.provider()
    html = text(client.get(f"/settings/providers/{row.name}/"))
    assert "Read-only here" not in html
    assert "Our address" not in html
    assert client.post(f"/settings/providers/{row.name}/answers/", {"enabled": "on"}).status_code == 404
    assert client.post(f"/settings/providers/{row.name}/hook/", {"secret": "x"}).status_code == 404
    assert actions() == []


def test_the_signing_secret_of_a_providers_webhooks_goes_in_and_never_comes_out(
    client: Client, boss: User, middesk: Provider
) -> None:
    assert "http://testserver/hooks/checks/" in text(client.get("/settings/providers/checks/"))
    client.post("/settings/providers/checks/hook/", {"secret": SECRET})
    assert Provider.objects.get().webhook_secret == SECRET
    assert SECRET not in text(client.get("/settings/providers/checks/"))
    assert client.post("/settings/providers/checks/hook/", {"secret": ""}).status_code == 422
    client.post("/settings/providers/checks/hook/", {"do": "remove"})
    assert Provider.objects.get().webhook_secret_sealed == ""
    assert actions() == ["provider.webhook_secret_set", "provider.webhook_secret_removed"]


def test_behind_an_origin_our_address_is_the_public_one(
    client: Client, boss: User, middesk: Provider, settings: Any
) -> None:
    settings.ORIGINS = ["https://sign.example.org"]
    assert "https://sign.example.org/hooks/checks/" in text(client.get("/settings/providers/checks/"))


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_an_endpoints_secret_is_shown_once(client: Client, boss: User) -> None:
    given = {"url": "https://hooks.example.org/a", "events": ["approval.pending"]}
    secret = shown_once(client.post("/settings/webhooks/add/", given))
    assert secret.startswith("whsec_")
    row = WebhookEndpoint.objects.get()
    assert row.events == ["approval.pending"]
    for path in ("/settings/webhooks/", f"/settings/webhooks/{row.pk}/"):
        assert secret not in text(client.get(path))
    again = client.post("/settings/webhooks/add/", given)
    assert again.status_code == 422, "a second press adds no second endpoint"
    assert WebhookEndpoint.objects.count() == 1


@pytest.mark.parametrize(
    "given",
    [
        {"url": "", "events": ["approval.pending"]},
        {"url": "http://127.0.0.1/x", "events": ["approval.pending"]},
        {"url": "https://hooks.example.org/a", "events": []},
        {"url": "https://hooks.example.org/a", "events": ["nothing.such"]},
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_in_words(client: Client, boss: User, given: dict[str, Any]) -> None:
    answer = client.post("/settings/webhooks/add/", given)
    assert answer.status_code == 422
    assert "Nothing was added." in text(answer)
    assert not WebhookEndpoint.objects.exists()


def secret_form(client: Client, path: str, **fields: str) -> dict[str, str]:
    found = re.search(r'name="seen" value="([^"]+)"', text(client.get(path)))
    assert found
    return {"seen": found[1], **fields}


def test_rotating_asks_first_and_shows_the_new_secret_once(
    client: Client, boss: User, endpoint: WebhookEndpoint
) -> None:
    path = f"/settings/webhooks/{endpoint.pk}/secret/"
    assert "24 hours" in text(client.get(path))
    assert shown_once(client.post(path, secret_form(client, path))).startswith("whsec_")
    assert "The secret before signs too" in text(client.get(f"/settings/webhooks/{endpoint.pk}/"))
    assert actions()[-1] == "webhook.rotated"


def test_pressing_twice_leaves_the_receiver_a_secret_that_it_knows(
    client: Client, boss: User, endpoint: WebhookEndpoint
) -> None:
    path = f"/settings/webhooks/{endpoint.pk}/secret/"
    known = webhooks.signing_secrets(endpoint, now=timezone.now())
    form = secret_form(client, path)
    shown = shown_once(client.post(path, form))
    for again in (form, secret_form(client, path), {}):
        answer = client.post(path, again)
        assert answer.status_code == 409
        assert "There is no new secret from here." in text(answer)
    endpoint.refresh_from_db()
    assert webhooks.signing_secrets(endpoint, now=timezone.now()) == [shown, *known]
    assert actions().count("webhook.rotated") == 1


def test_leaked_secrets_are_replaced_at_once_and_by_one_press_only_once(
    client: Client, boss: User, endpoint: WebhookEndpoint
) -> None:
    path = f"/settings/webhooks/{endpoint.pk}/secret/"
    client.post(path, secret_form(client, path))
    page = text(client.get(path))
    assert "Replace both at once" in page
    assert "Make a new secret?" not in page
    form = secret_form(client, path, leaked="yes")
    shown = shown_once(client.post(path, form))
    assert client.post(path, form).status_code == 409, "whoever sees a secret sees the one that signs"
    endpoint.refresh_from_db()
    assert webhooks.signing_secrets(endpoint, now=timezone.now()) == [shown]


def test_an_endpoint_is_disabled_after_a_question_and_enabled_again(
    client: Client, boss: User, endpoint: WebhookEndpoint
) -> None:
    page = f"/settings/webhooks/{endpoint.pk}/"
    assert "what still waits to be sent to it is cancelled" in text(client.get(f"{page}disable/"))
    client.post(f"{page}disable/")
    endpoint.refresh_from_db()
    assert endpoint.disabled_why == "by boss"
    assert "No test was sent" in said(client.post(f"{page}test/"))
    client.post(f"{page}enable/")
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None


def test_a_test_stands_in_the_log_and_can_be_sent_again(client: Client, boss: User, endpoint: WebhookEndpoint) -> None:
    page = f"/settings/webhooks/{endpoint.pk}/"
    client.post(f"{page}test/")
    row = Delivery.objects.get()
    Delivery.objects.update(state="refused", attempts=1, answer_status=500, last_error=EVIL, finished_at=timezone.now())
    html = text(client.get(page))
    assert "webhook.test" in html
    assert "Given up" in html
    assert EVIL not in html
    client.post(f"{page}deliveries/{row.pk}/")
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("ready", 0)
    assert client.post(f"{page}deliveries/{uuid4()}/").status_code == 404


def test_a_delivery_of_another_endpoint_is_not_sent_from_here(
    client: Client, boss: User, endpoint: WebhookEndpoint
) -> None:
    other, _ = webhooks.add("https://other.example.org/x", actor="t", origin="t")
    row = webhooks.ping(other, actor="t", origin="t")
    assert client.post(f"/settings/webhooks/{endpoint.pk}/deliveries/{row.pk}/").status_code == 404


# --- tokens -----------------------------------------------------------------------------------------------------------


def token_form(client: Client, **fields: Any) -> dict[str, Any]:
    found = re.search(r'name="key" value="([^"]+)"', text(client.get("/settings/tokens/")))
    assert found
    return {"key": found[1], "name": "nightly", "scopes": ["runs:read"], "days": "30", **fields}


@pytest.mark.parametrize("group", ["Reviewer", "Operator", "Auditor"])
def test_everybody_makes_and_ends_tokens_of_their_own(client: Client, group: str) -> None:
    user = person(client, group=group)
    token = shown_once(client.post("/settings/tokens/create/", token_form(client)))
    row = tokens.find(token)
    assert row is not None
    assert (row.user, row.scopes) == (user, ["runs:read"])
    assert row.expires_at is not None
    assert timedelta(days=29) < row.expires_at - timezone.now() < timedelta(days=31)
    html = text(client.get("/settings/tokens/"))
    assert "nightly" in html
    assert token not in html
    assert "cannot be taken back" in text(client.get(f"/settings/tokens/{row.pk}/revoke/"))
    assert tokens.find(token)
    client.post(f"/settings/tokens/{row.pk}/revoke/")
    assert tokens.find(token) is None
    assert actions() == ["token.created", "token.revoked"]


def test_pressing_the_button_twice_makes_one_token(client: Client) -> None:
    person(client)
    given = token_form(client)
    shown_once(client.post("/settings/tokens/create/", given))
    again = client.post("/settings/tokens/create/", given)
    assert again.status_code == 422
    assert "This token was made already" in text(again)
    assert ApiToken.objects.count() == 1
    assert actions() == ["token.created"]


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"scopes": []}, {"scopes": ["everything"]}, {"days": "7"}, {"name": "x" * 81}, {"key": "x"}]
)
def test_a_token_that_cannot_be_is_refused_in_words(client: Client, wrong: dict[str, Any]) -> None:
    person(client)
    answer = client.post("/settings/tokens/create/", token_form(client, **wrong))
    assert answer.status_code == 422
    assert "No token was made." in text(answer)
    assert not ApiToken.objects.exists()


def test_others_tokens_are_seen_and_ended_by_staff_with_the_permission_alone(client: Client, boss: User) -> None:
    owner = person(username="olga")
    row, token = tokens.create(name="her-own-report", user=owner, scopes=["runs:read"], actor="olga", origin="t")
    assert "her-own-report" in text(client.get("/settings/tokens/"))
    for other in (person(group="Operator"), person(may="dashboard.change_apitoken")):
        client.force_login(other)
        assert "her-own-report" not in text(client.get("/settings/tokens/"))
        assert client.post(f"/settings/tokens/{row.pk}/revoke/").status_code == 404
    person(client, is_staff=True)
    html = text(client.get("/settings/tokens/"))
    assert "her-own-report" in html
    assert f"/settings/tokens/{row.pk}/revoke/" not in html
    assert client.post(f"/settings/tokens/{row.pk}/revoke/").status_code == 403
    assert tokens.find(token)
    client.force_login(boss)
    client.post(f"/settings/tokens/{row.pk}/revoke/")
    assert tokens.find(token) is None


# --- people -----------------------------------------------------------------------------------------------------------


def invite(client: Client, **fields: str) -> Any:
    given = {"username": "mara", "full_name": "Mara Lind", "group": "Reviewer", **fields}
    return client.post("/settings/people/invite/", given)


def set_password(stranger: Client, link: str, password: str) -> Any:
    """As the invited person does: open the link, type it twice."""
    opened = stranger.get(link.removeprefix("http://testserver"), follow=True)
    form = opened.redirect_chain[-1][0] if opened.redirect_chain else link
    return stranger.post(form, {"new_password1": password, "new_password2": password}, follow=True)


def test_an_invited_reviewer_sets_a_password_by_the_link_and_signs_in(client: Client, boss: User) -> None:
    link = shown_once(invite(client))
    mara = User.objects.get(username="mara")
    assert (mara.get_full_name(), mara.has_usable_password(), mara.is_staff) == ("Mara Lind", False, False)
    assert [group.name for group in mara.groups.all()] == ["Reviewer"]
    stranger = Client()
    assert "Your password is set" in text(set_password(stranger, link, PASSWORD))
    assert stranger.login(username="mara", password=PASSWORD)
    assert actions() == ["person.invited", "person.link_made", "person.password_set"]
    assert link.rsplit("/", 2)[1] not in "".join(AuditEntry.objects.values_list("data", flat=True))


def test_the_link_works_once_and_not_when_it_is_changed(client: Client, boss: User) -> None:
    link = shown_once(invite(client))
    set_password(Client(), link, PASSWORD)
    assert "This link is over" in text(Client().get(link.removeprefix("http://testserver"), follow=True))
    other = shown_once(client.post(f"/settings/people/{User.objects.get(username='mara').pk}/link/"))
    forged = other.rsplit("/", 2)[0] + "/abc123-0123456789abcdef0123456789abcdef/"
    assert "This link is over" in text(Client().get(forged.removeprefix("http://testserver"), follow=True))


@pytest.mark.parametrize("password", ["short", "password1234", "mara"])
def test_a_weak_password_is_refused_in_words(client: Client, boss: User, password: str) -> None:
    link = shown_once(invite(client))
    answer = set_password(Client(), link, password)
    assert 'role="alert"' in text(answer)
    assert not User.objects.get(username="mara").has_usable_password()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"username": ""}, "Without a user name"),
        ({"username": "boss"}, "already exists"),
        ({"username": "two words"}, "Enter a valid username"),
        ({"username": "Boss"}, "It differs from boss only in its letters"),
        ({"username": "b\u043ess"}, "letters a to z"),  # a Cyrillic o
        ({"username": "\u0430\u0430\u0430"}, "letters a to z"),  # Cyrillic all over
        ({"username": "\uff42oss"}, "already exists"),  # a full-width b
        ({"username": "zo\u00eb"}, "letters a to z"),
        ({"username": "System"}, "where nobody acted in person"),
        ({"group": "Everything"}, "Choose one of these."),
        ({"group": ""}, "Choose what they may do."),
    ],
)
def test_an_invitation_that_cannot_be_is_refused_in_words(
    client: Client, boss: User, fields: dict[str, str], words: str
) -> None:
    answer = invite(client, **fields)
    assert answer.status_code == 422
    assert words in text(answer)
    assert User.objects.count() == 1
    assert actions() == []


def test_a_name_of_old_that_looks_the_same_is_seen_in_another_form(client: Client, boss: User) -> None:
    User.objects.create(username="\uff4d\uff41\uff52\uff41")  # full-width, from before there was a rule
    assert "only in its letters" in text(invite(client))
    assert invite(client, username="mara.lind").status_code == 200


def test_a_person_moves_between_the_houses_groups_and_keeps_others(client: Client, boss: User) -> None:
    mara = person(group="Reviewer")
    mara.groups.add(Group.objects.create(name="Night shift"))
    client.post(f"/settings/people/{mara.pk}/group/", {"group": "Auditor"})
    assert set(mara.groups.values_list("name", flat=True)) == {"Auditor", "Night shift"}
    assert actions() == ["person.moved"]


def test_a_deactivated_person_is_out_at_once_with_their_tokens(client: Client, boss: User) -> None:
    theirs = Client()
    mara = person(theirs, group="Reviewer")
    _, token = tokens.create(name="t", user=mara, scopes=["runs:read"], actor="t", origin="t")
    page = f"/settings/people/{mara.pk}/"
    assert "signed out at once" in text(client.get(f"{page}deactivate/"))
    assert theirs.get("/").status_code == 200
    client.post(f"{page}deactivate/")
    assert theirs.get("/").status_code == 302
    assert tokens.find(token) is None
    assert "is deactivated: reactivate them first" in said(client.post(f"{page}link/"))
    client.post(f"{page}reactivate/")
    assert User.objects.get(pk=mara.pk).is_active
    assert [action for action in actions() if action.startswith("person")] == [
        "person.deactivated",
        "person.reactivated",
    ]


def test_nobody_deactivates_themselves(client: Client, boss: User) -> None:
    assert "is you" in said(client.post(f"/settings/people/{boss.pk}/deactivate/"))
    assert User.objects.get(pk=boss.pk).is_active


def test_staff_are_changed_by_superusers_alone(client: Client, boss: User) -> None:
    chief = person(client, may="dashboard.change_user", is_staff=True)
    colleague, mara = person(is_staff=True), person()
    before = {user.pk: user.password for user in (boss, colleague)}
    for somebody in (boss, colleague):
        page = f"/settings/people/{somebody.pk}/"
        for act in ("link", "deactivate", "group"):
            assert "only a superuser" in said(client.post(f"{page}{act}/", {"group": "Reviewer"})), act
        assert "New link" not in text(client.get(page))
    assert all(
        User.objects.get(pk=pk).is_active and User.objects.get(pk=pk).password == kept for pk, kept in before.items()
    )
    client.post(f"/settings/people/{mara.pk}/deactivate/")
    assert not User.objects.get(pk=mara.pk).is_active, chief
    assert actions() == ["person.deactivated"]


def test_a_name_full_of_markup_stays_text(client: Client, boss: User) -> None:
    mara = person(first_name=EVIL)
    for path in ("/settings/people/", f"/settings/people/{mara.pk}/"):
        assert EVIL not in text(client.get(path))


@pytest.fixture(autouse=True)
def _no_run_was_touched() -> Iterator[None]:
    """Whatever is set up here, no run starts by it."""
    yield
    assert not Run.objects.filter(status="queued").exists()


def test_everybody_changes_their_own_password_and_the_chain_says_so(client: Client) -> None:
    person = User.objects.create_user("rita", password="a fine old password")
    client.force_login(person)
    typed = {
        "old_password": "wrong",
        "new_password1": "a much finer password",
        "new_password2": "a much finer password",
    }
    refused = client.post("/accounts/password/", typed)
    assert refused.status_code == 200
    assert "was entered incorrectly" in refused.content.decode()
    assert client.post("/accounts/password/", typed | {"old_password": "a fine old password"}).status_code == 302
    person.refresh_from_db()
    assert person.check_password("a much finer password")
    assert client.get("/").status_code == 200  # still signed in here
    assert AuditEntry.objects.filter(action="person.password_changed", target=f"user:{person.pk}").count() == 1
