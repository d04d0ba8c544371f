"""Provider accounts in the admin: kept, paused and resumed; secrets go in and never come out."""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from approvals.admin import chain
from dashboard import accounts
from dashboard.admin.runs import RUN_LINK
from dashboard.admin.runs import status as run_status
from dashboard.desk import frameworks, kinds
from dashboard.desk.provider_forms import dialect_choices
from streams import providers as adapters
from streams import secrets
from streams.admin import acts
from streams.admin.acts import Act, Doer, Outcome
from streams.admin.columns import NOTHING, at, made, short, toned
from streams.admin.history import RecordAdmin
from streams.admin.tables import Table, field, listed, related, table
from streams.errors import SecretError
from streams.models import Provider, ProviderHook, Run

if TYPE_CHECKING:  # the stubs' class is generic, Django's own is not
    Form = forms.ModelForm[Provider]
else:
    Form = forms.ModelForm
HIDDEN = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})


class Options(forms.CharField):
    """A JSON object; what is wrong with it is said with its place."""

    widget = forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "mono"})

    def prepare_value(self, value: Any) -> Any:
        """As indented text; what was typed wrong stays as it was typed."""
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        """The object. Raises ValidationError."""
        text = str(super().to_python(value) or "{}")
        try:
            found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        except json.JSONDecodeError as exc:
            where = f"line {exc.lineno}, column {exc.colno}"
            raise forms.ValidationError(f"This is not JSON: {exc.msg.lower()} at {where}.", code="invalid") from exc
        except (ValueError, RecursionError) as exc:
            said = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
            raise forms.ValidationError(f"This cannot be kept: {said}.", code="invalid") from exc
        if not isinstance(found, dict):
            raise forms.ValidationError('A JSON object is needed, such as {"four_eyes": true}; {} for none.')
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By value, not by spelling."""
        try:
            return bool(self.to_python(data) != (initial or {}))
        except forms.ValidationError:
            return True


def _kinds() -> list[tuple[str, str]]:
    return [(kind, adapter.label) for kind, adapter in sorted(adapters.REGISTRY.items())]


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
    if twice:
        raise ValueError(f"{', '.join(sorted(twice))} stands in it twice")
    return dict(pairs)


class ProviderForm(Form):
    """An account whose secrets go in and never come out."""

    kind = forms.ChoiceField(choices=_kinds)
    dialect = forms.ChoiceField(
        choices=dialect_choices,
        required=False,
        label="Framework",
        help_text="AG-UI alone. It is set by itself when a run first pauses; change it where that is wrong.",
    )
    new_secret = forms.CharField(
        required=False,
        max_length=4000,
        widget=HIDDEN,
        help_text="Leave empty to keep the present one. A new one lifts a credential alert; what waited goes on.",
    )
    new_webhook_secret = forms.CharField(
        required=False,
        max_length=4000,
        widget=HIDDEN,
        help_text="What the provider signs its webhooks to us with. Leave empty to keep the present one.",
    )
    options = Options(required=False, help_text="A JSON object of what this account needs besides.")

    class Meta:
        model = Provider
        fields = ("name", "kind", "base_url", "dialect", "options", "paused")
        labels: ClassVar = {"base_url": "Base URL"}
        help_texts: ClassVar = {"base_url": "Where the provider's API, or the AG-UI agent itself, answers."}

    def clean_dialect(self) -> str:
        """One that there is, or none."""
        dialect = str(self.cleaned_data["dialect"])
        if why := accounts.dialect_problem(dialect):
            raise forms.ValidationError(why)
        return dialect

    def clean_new_secret(self) -> str:
        """One that can be kept."""
        return _keepable(str(self.cleaned_data["new_secret"]))

    def clean_new_webhook_secret(self) -> str:
        """The same, for a kind that sends webhooks."""
        secret = str(self.cleaned_data["new_webhook_secret"])
        kind = str(self.cleaned_data.get("kind") or self.instance.kind)
        if secret and (why := accounts.webhook_problem(kind)):
            raise forms.ValidationError(why)
        return _keepable(secret)


def _keepable(secret: str) -> str:
    """Seal on trial: without a field key there is nothing that could keep it."""
    try:
        if secret:
            secrets.seal(secret, owner="trial")
    except SecretError as exc:
        raise forms.ValidationError(str(exc)) from exc
    return secret


def _pause(row: Any, doer: Doer, *, paused: bool) -> Outcome:
    fresh = Provider.objects.get(pk=row.pk)
    fresh.paused = paused
    accounts.save(fresh, secret=None, actor=doer.name, origin=doer.origin)
    return f"{row.name}: {'paused' if paused else 'goes on'}."


ACTS = (
    Act(
        "pause",
        "Pause",
        "No stream of this account is opened and nothing is sent to it until it is resumed. Decisions wait.",
        "streams.change_provider",
        lambda row, doer: _pause(row, doer, paused=True),
        lambda row: "it is paused already" if row.paused else "",
    ),
    Act(
        "resume",
        "Resume",
        "Its streams are opened again, and what waited leaves.",
        "streams.change_provider",
        lambda row, doer: _pause(row, doer, paused=False),
        lambda row: "" if row.paused else "it is not paused",
    ),
)


def _state(row: Any) -> Any:
    if row.credential_refused_at:
        return toned("Secret refused", "stop")
    return toned("Paused", "look") if row.paused else toned("In use", "ok")


def _secret(row: Any) -> str:
    """Whether there is one, and whether the provider takes it."""
    if row.credential_refused_at:
        return f"refused by the provider since {row.credential_refused_at:%Y-%m-%d %H:%M} UTC"
    return "set" if row.secret_sealed else "none"


def _hook_secret(row: Any) -> str:
    return "set" if row.webhook_secret_sealed else "none: its webhooks are not taken"


def _hook_address(row: Any) -> str:
    """Where the provider sends them."""
    try:
        return reverse("provider-hook", args=[row.name])
    except NoReverseMatch:
        return "-"


def _framework(row: Any) -> Any:
    """How well it is known."""
    word = frameworks.words([row]).get(row.pk)
    if word is None:
        return NOTHING
    name = f"{row.dialect}: " if row.dialect and word.tone == "look" else ""
    return toned(f"{name}{word.text}", word.tone)


STATE, SECRET = made(_state, "state", order="paused"), made(_secret, "secret")
HOOK_SECRET, HOOK_ADDRESS = made(_hook_secret, "webhook secret"), made(_hook_address, "webhooks go to")
FRAMEWORK = made(_framework, "framework is", order="dialect", name="framework")
CREATED = at("created_at")
KEYS = ("new_secret", "new_webhook_secret")


@admin.register(Provider)
class ProviderAdmin(RecordAdmin):
    """Provider accounts. Pause one instead of deleting it: its history stays."""

    form = ProviderForm
    list_display = ("name", "kind", STATE, FRAMEWORK, short("base_url", "base URL"), SECRET, HOOK_SECRET, "created_at")
    list_filter = ("kind", "paused", ("credential_refused_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "base_url")
    search_ids = ("id",)
    search_help_text = "A part of its name or address, or its id."
    acts = ACTS
    by_name = True
    target = "provider"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History is kept."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Links to what hangs on it, once it is there; no field for a secret where it cannot be set."""
        may = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        secret = ["new_secret", "new_webhook_secret"] if may else []
        if obj is None:
            return ["name", "kind", "base_url", *secret, "dialect", "options", "paused"]
        seen = [SECRET, HOOK_SECRET, *([HOOK_ADDRESS] if accounts.sends_webhooks(obj.kind) else []), *secret]
        known = [FRAMEWORK] if obj.kind in kinds.DIALECTS else []
        return ["name", "kind", "base_url", *seen, *known, "dialect", "options", "paused", CREATED, related]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Its runs speak the kind's language, so that the kind stays."""
        return ("kind", CREATED, SECRET, HOOK_SECRET, HOOK_ADDRESS, FRAMEWORK, related) if obj else ()

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """Its newest runs and webhooks, and what the chain says."""
        runs = Run.objects.filter(provider=row).order_by("-started_at").defer("task", "error", "options")
        hooks = ProviderHook.objects.filter(provider=row).order_by("-received_at")
        told = (field("received_at"), short("kind"), short("external_id", "run, by its id there"), short("event_id"))
        return [
            table(
                "Newest runs",
                runs,
                (RUN_LINK, run_status, field("started_at")),
                more=listed(Run, provider__id__exact=row.pk),
            ),
            table("Newest webhooks from it", hooks, told, more=listed(ProviderHook, provider__id__exact=row.pk)),
            chain.entries(row, "provider"),
        ]

    @method_decorator(sensitive_post_parameters(*KEYS))
    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Error reports leave the secrets out."""
        return super().changeform_view(*args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """As the command line does, with an audit entry."""
        who = acts.doer(request)
        accounts.save(
            obj,
            secret=form.cleaned_data.get("new_secret") or None,
            actor=who.name,
            origin=who.origin,
            action="provider.changed" if change else "provider.added",
        )
        if secret := form.cleaned_data.get("new_webhook_secret"):
            accounts.set_webhook_secret(obj, secret, actor=who.name, origin=who.origin)
