"""Settings: provider accounts, listed with their health, added, changed, checked, paused."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import accounts
from dashboard.accounts import AccountRefused
from dashboard.desk import answers, frameworks, health, kinds
from dashboard.desk.pages import address, need, settings_page, staff_only, who
from dashboard.desk.provider_forms import RESUME, AddForm, AnswersForm, ChangeForm, HookForm
from dashboard.views import PageRequest
from streams import providers as adapters
from streams.errors import WireError
from streams.models import Provider, ProviderHook

ADD, CHANGE = "streams.add_provider", "streams.change_provider"


@never_cache
@require_GET
@staff_only
def listing(request: PageRequest) -> HttpResponse:
    """All accounts with their health."""
    context = {"accounts": health.accounts(list(Provider.objects.all())), "may_add": request.user.has_perm(ADD)}
    return settings_page(request, "settings_providers.html", context, tab="providers")


@sensitive_post_parameters("secret")
@never_cache
@require_http_methods(["GET", "POST"])
@staff_only
def add(request: PageRequest) -> HttpResponse:
    """First the kind, then the account."""
    need(request.user, ADD)
    name = request.GET.get("kind", "")
    context: dict[str, Any] = {
        "kinds": [(one, adapters.REGISTRY[one].label, kinds.kind(one)) for one in sorted(adapters.REGISTRY)]
    }
    if name not in adapters.REGISTRY:
        return settings_page(request, "settings_provider_add.html", context, tab="providers")
    form = AddForm(name, request.POST if request.method == "POST" else None, initial={"name": _free(name)})
    if request.method == "POST" and form.is_valid():
        try:
            row = accounts.add(name=form.cleaned_data["name"], kind=name, **form.account(), **who(request))
        except AccountRefused as wrong:
            form.refuse(wrong.problems)
        else:
            messages.success(request, f"{row.name} is added. Check the connection to see whether it answers.")
            return _to(row)
    context |= {"form": form, "kind": kinds.kind(name), "label": adapters.REGISTRY[name].label}
    status = 422 if form.is_bound else 200
    return settings_page(request, "settings_provider_add.html", context, tab="providers", status=status)


def _free(kind: str) -> str:
    """A name to begin with, if nobody has it."""
    return "" if Provider.objects.filter(name=kind).exists() else kind


@never_cache
@require_GET
@staff_only
def page(request: PageRequest, name: str) -> HttpResponse:
    """One account: how it is, and everything that can be changed about it."""
    return _page(request, _row(name))


@sensitive_post_parameters("secret")
@never_cache
@require_POST
@staff_only
def change(request: PageRequest, name: str) -> HttpResponse:
    """Address, dialect, options, a new secret."""
    need(request.user, CHANGE)
    row = _row(name)
    form = ChangeForm(row, request.POST)
    if form.is_valid():
        try:
            accounts.change(row, **form.account(), keep=_kept(row), **who(request))
        except AccountRefused as wrong:
            form.refuse(wrong.problems)
        else:
            new = " with its new secret" if form.cleaned_data["secret"] else ""
            messages.success(request, f"{row.name} is changed{new}.")
            return _to(row)
    return _page(request, row, {"form": form}, status=422)


@never_cache
@require_POST
@staff_only
def check(request: PageRequest, name: str) -> HttpResponse:
    """Ask its address once: the one thing on these pages that calls out."""
    need(request.user, CHANGE)
    row = _row(name)
    found = health.check(row, by=who(request))
    tell = messages.success if found.ok else messages.error
    tell(request, f"{row.name}: {found.detail}.")
    return _to(row)


@never_cache
@require_POST
@staff_only
def pause(request: PageRequest, name: str) -> HttpResponse:
    """Let it rest, or go on; the other button takes it back."""
    need(request.user, CHANGE)
    row, rest = _row(name), request.POST.get("paused") == "1"
    if accounts.pause(row, paused=rest, **who(request)):
        messages.success(request, f"{row.name} is {'paused' if rest else 'in use again'}.")
    return _to(row)


@never_cache
@require_POST
@staff_only
def answer(request: PageRequest, name: str) -> HttpResponse:
    """Switch answering from here on or off; or only show what would be sent."""
    need(request.user, CHANGE)
    row = _row(name)
    if not kinds.switched(row.kind):
        raise Http404("this kind takes answers as they are")
    form = AnswersForm(row, request.POST)
    if not form.is_valid():
        return _page(request, row, {"answers": form}, status=422)
    template, enabled = form.cleaned_data["template"], form.cleaned_data["enabled"]
    if request.POST.get("do") == "preview":
        return _page(request, row, {"answers": form, "previews": answers.previews(row, template), "unsaved": True})
    try:
        accounts.set_answers(row, enabled=enabled, template=template, **who(request))
    except AccountRefused as wrong:
        form.refuse(wrong.problems)
        return _page(request, row, {"answers": form}, status=422)
    said = "Requests of this provider can be decided here." if enabled else "This provider is read-only here."
    messages.success(request, said)
    return _to(row)


@sensitive_post_parameters("secret")
@never_cache
@require_POST
@staff_only
def hook(request: PageRequest, name: str) -> HttpResponse:
    """What its webhooks to us are signed with; without one none are taken."""
    need(request.user, CHANGE)
    row = _row(name)
    if request.POST.get("do") == "remove":
        return _hooked(request, row, "")
    form = HookForm(request.POST)
    if not form.is_valid():
        return _page(request, row, {"hook": form}, status=422)
    return _hooked(request, row, form.cleaned_data["secret"])


def _hooked(request: PageRequest, row: Provider, secret: str) -> HttpResponse:
    try:
        accounts.set_webhook_secret(row, secret, **who(request))
    except AccountRefused as wrong:
        raise Http404(str(wrong)) from wrong
    said = "Webhooks with this secret are taken from now on." if secret else "No webhooks are taken any more."
    messages.success(request, f"{row.name}: {said}")
    return _to(row)


def _page(
    request: PageRequest, row: Provider, forms: Mapping[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """The account's page, with the form that was just refused in the place of its own."""
    hooks = accounts.sends_webhooks(row.kind)
    context: dict[str, Any] = {
        "account": health.accounts([row])[0],
        "kind": kinds.kind(row.kind),
        "framework": frameworks.of(row),
        "form": ChangeForm(row),
        "may_change": request.user.has_perm(CHANGE),
        "hook_address": address(request, reverse("provider-hook", args=[row.name])) if hooks else "",
        "hook": HookForm() if hooks else None,
        "last_hook": ProviderHook.objects.filter(provider=row).first() if hooks else None,
    }
    if kinds.switched(row.kind):
        form = AnswersForm(row)
        context |= {"answers": form, "answers_on": form.enabled_now, "previews": _previews(row)}
    return settings_page(
        request, "settings_provider.html", {**context, **(forms or {})}, tab="providers", status=status
    )


def _previews(row: Provider) -> Any:
    known = row.options.get(RESUME)
    template = {key: value for key, value in known.items() if key != "enabled"} if isinstance(known, dict) else {}
    try:
        return answers.previews(row, template)
    except WireError:
        return []


def _kept(row: Provider) -> tuple[str, ...]:
    return (RESUME,) if kinds.switched(row.kind) else ()


def _row(name: str) -> Provider:
    row = get_object_or_404(Provider, name=name)
    if row.kind not in adapters.REGISTRY:
        raise Http404("its kind is not known here")
    return row


def _to(row: Provider) -> HttpResponse:
    return HttpResponseRedirect(reverse("settings-provider", args=[row.name]))
