"""The forms of a provider account: added, changed, given secrets; answering from here switched on or off."""

from typing import Any

from django import forms
from django.http import QueryDict

from dashboard import accounts
from dashboard.desk import kinds
from dashboard.desk.jsonfield import JsonField, written
from dashboard.desk.pages import DeskForm, line, secret_line
from streams import dialects, secrets
from streams.errors import SecretError
from streams.models import Provider

RESUME = "resume"  # the option that has a form of its own
ADDRESS = {"required": "Without an address nothing can be reached."}


def _dialect() -> forms.ChoiceField:
    hint = "The framework behind the agent. It is set by itself when a run first pauses; change it where that is wrong."
    return forms.ChoiceField(label="Framework", required=False, choices=dialect_choices, help_text=hint)


def dialect_choices() -> list[tuple[str, str]]:
    """The frameworks to choose from, each with what is known of answers to it."""
    rows = sorted(dialects.DIALECTS.items())
    return [
        ("", "found out by itself"),
        *((name, f"{name}{'' if row.verified else ', unverified'}") for name, row in rows),
    ]


class SecretForm(DeskForm):
    """A secret, sealed on trial: without a field key there is nothing that could keep it."""

    secret = secret_line("Secret", hint="Kept encrypted, and never shown again.")

    def clean_secret(self) -> str:
        """One that can be kept."""
        secret = str(self.cleaned_data["secret"])
        try:
            if secret:
                secrets.seal(secret, owner="trial")
        except SecretError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return secret


class AccountForm(SecretForm):
    """Where an account is and how it is spoken to."""

    base_url = line("Address", most=500, error_messages=ADDRESS, attrs={"inputmode": "url", "placeholder": "https://"})
    dialect = _dialect()
    options = JsonField(shape=dict, label="Options", rows=4)

    field_order = ("name", "base_url", "secret", "dialect", "options")

    def __init__(self, kind: str, data: QueryDict | None = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.fields["base_url"].help_text = kinds.kind(kind).address
        if kind not in kinds.DIALECTS:
            del self.fields["dialect"]
        self.fields["options"].help_text = (
            'A JSON object. {"header": "x-api-key"} sends the secret under that header\'s name.'
            if kind in kinds.DIALECTS
            else "A JSON object; most accounts need none."
        )

    def account(self) -> dict[str, Any]:
        """The cleaned fields as the account services take them."""
        said = self.cleaned_data
        return {
            "base_url": said["base_url"],
            "dialect": said.get("dialect", ""),
            "options": said["options"] or {},
            "secret": said["secret"],
        }


class AddForm(AccountForm):
    """A new account."""

    name = line(
        "Name", most=60, hint="Letters, digits, hyphens; it stands beside every request and does not change.",
        error_messages={"required": "Without a name nobody could tell it from others."},
    )  # fmt: skip

    def clean_name(self) -> str:
        """One that nobody has."""
        name = str(self.cleaned_data["name"])
        if Provider.objects.filter(name=name).exists():
            raise forms.ValidationError("There is a provider of this name already.")
        return name


class ChangeForm(AccountForm):
    """An account that is there; an empty secret keeps the present one."""

    def __init__(self, row: Provider, data: QueryDict | None = None) -> None:
        options = {name: value for name, value in row.options.items() if name != RESUME}
        initial = {"base_url": row.base_url, "dialect": row.dialect, "options": written(options)}
        super().__init__(row.kind, data, initial=initial)
        self.row = row
        kept = "Leave it empty to keep the present one." if row.secret_sealed else "There is none yet."
        self.fields["secret"].help_text = f"{kept} Kept encrypted, and never shown again."

    def clean_options(self) -> dict[str, Any]:
        """Without the one that has a form of its own."""
        found: dict[str, Any] = self.cleaned_data["options"] or {}
        if RESUME in found and kinds.switched(self.row.kind):
            raise forms.ValidationError(f'"{RESUME}" is set below, under Answers.')
        return found


class HookForm(SecretForm):
    """What the provider signs its webhooks to us with."""

    secret = secret_line("Signing secret", hint="As the provider shows it where the webhook is set up.", required=True)

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data, auto_id="hook_%s")  # the page has another secret


class AnswersForm(DeskForm):
    """Answering from here, and what is sent for an answer."""

    enabled = forms.BooleanField(label="Answer from here", required=False)
    template = JsonField(shape=dict, label="Template", rows=8)

    def __init__(self, row: Provider, data: QueryDict | None = None) -> None:
        known = row.options.get(RESUME)
        settings = dict(known) if isinstance(known, dict) else {}
        self.row, self.enabled_now = row, settings.pop("enabled", False) is True
        super().__init__(data, initial={"enabled": self.enabled_now, "template": written(settings)})
        self.fields["template"].help_text = "Leave it empty for the usual one, which the preview shows."

    def clean_template(self) -> dict[str, Any]:
        """One that says yes and no, and to which question."""
        template: dict[str, Any] = self.cleaned_data["template"] or {}
        if "enabled" in template:
            raise forms.ValidationError('"enabled" is the switch above.')
        if why := accounts.template_problem(self.row, template):
            raise forms.ValidationError(f"Nothing could be answered with this: {why}")
        return template
