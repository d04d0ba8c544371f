"""Routes of the desk; `dashboard/urls.py` includes them."""

from django.urls import URLPattern, path

from dashboard.desk import overview, people, providers, starting, streams, tokens, webhooks

PROVIDER, WEBHOOK, PERSON = (
    "settings/providers/<slug:name>/",
    "settings/webhooks/<uuid:endpoint_id>/",
    "settings/people/<int:user_id>/",
)

urlpatterns: list[URLPattern] = [
    path("runs/", starting.listing, name="runs"),
    path("runs/start/", starting.start, name="run-start"),
    path("runs/watch/", starting.watch, name="run-watch"),
    path("streams/", streams.listing, name="streams"),
    path("settings/", overview.page, name="settings"),
    path("settings/providers/", providers.listing, name="settings-providers"),
    path("settings/add-provider/", providers.add, name="settings-provider-add"),
    path(PROVIDER, providers.page, name="settings-provider"),
    path(f"{PROVIDER}change/", providers.change, name="settings-provider-change"),
    path(f"{PROVIDER}check/", providers.check, name="settings-provider-check"),
    path(f"{PROVIDER}pause/", providers.pause, name="settings-provider-pause"),
    path(f"{PROVIDER}answers/", providers.answer, name="settings-provider-answers"),
    path(f"{PROVIDER}hook/", providers.hook, name="settings-provider-hook"),
    path("settings/webhooks/", webhooks.listing, name="settings-webhooks"),
    path("settings/webhooks/add/", webhooks.add, name="settings-webhook-add"),
    path(WEBHOOK, webhooks.page, name="settings-webhook"),
    path(f"{WEBHOOK}secret/", webhooks.rotate, name="settings-webhook-secret"),
    path(f"{WEBHOOK}test/", webhooks.ping, name="settings-webhook-test"),
    path(f"{WEBHOOK}disable/", webhooks.disable, name="settings-webhook-disable"),
    path(f"{WEBHOOK}enable/", webhooks.enable, name="settings-webhook-enable"),
    path(f"{WEBHOOK}deliveries/<uuid:delivery_id>/", webhooks.resend, name="settings-webhook-resend"),
    path("settings/tokens/", tokens.listing, name="settings-tokens"),
    path("settings/tokens/create/", tokens.create, name="settings-token-create"),
    path("settings/tokens/<uuid:token_id>/revoke/", tokens.revoke, name="settings-token-revoke"),
    path("settings/people/", people.listing, name="settings-people"),
    path("settings/people/invite/", people.invite, name="settings-invite"),
    path(PERSON, people.page, name="settings-person"),
    path(f"{PERSON}group/", people.move, name="settings-person-group"),
    path(f"{PERSON}link/", people.link, name="settings-person-link"),
    path(f"{PERSON}deactivate/", people.activate, {"active": False}, name="settings-person-deactivate"),
    path(f"{PERSON}reactivate/", people.activate, {"active": True}, name="settings-person-reactivate"),
    path("accounts/password/", people.ChangePassword.as_view(), name="password_change"),
    path("accounts/password/<uidb64>/<token>/", people.SetPassword.as_view(), name="password_reset_confirm"),
]
