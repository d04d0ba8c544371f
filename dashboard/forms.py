"""What people type: sign-off, a note on the unknown, an edit, and the filters of the lists."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict

from approvals import checks
from approvals.models import RequestStatus, Verdict

REASONS = ("Wrong target", "Too wide", "Not needed", "Ask me first")
FILTER_MAX = 200


def _text(**options: Any) -> forms.CharField:
    return forms.CharField(required=False, strip=True, max_length=checks.REASON_MAX, **options)


class DecisionForm(forms.Form):
    """A verdict, bound to the arguments that were shown."""

    verdict = forms.ChoiceField(
        choices=Verdict.choices, error_messages={"required": "Press Reject or Approve: nothing was decided."}
    )
    input_sha256 = forms.RegexField(r"\A[0-9a-f]{64}\Z", strip=False)
    because = forms.ChoiceField(choices=[(reason, reason) for reason in REASONS], required=False)
    reason = _text()
    edited = forms.CharField(required=False, strip=False, max_length=checks.JSON_MAX_BYTES)
    answer = forms.CharField(required=False, max_length=checks.JSON_MAX_BYTES)
    parts = forms.CharField(required=False, max_length=8)

    def said(self) -> str:
        """The reason as it goes to the agent: what was chosen, then what was typed."""
        chosen, typed = self.cleaned_data["because"], _plain_ends(self.cleaned_data["reason"])
        return ". ".join(part for part in (chosen, typed) if part)


class EditForm(forms.Form):
    """The complete arguments, changed."""

    edited = forms.CharField(required=False, strip=False, max_length=checks.JSON_MAX_BYTES)


class ResolveForm(forms.Form):
    """What somebody found out about an answer that nobody confirmed."""

    happened = forms.ChoiceField(
        choices=[("yes", "It happened"), ("no", "It did not happen"), ("open", "Offer it again")]
    )
    note = forms.CharField(
        strip=True, max_length=checks.REASON_MAX, error_messages={"required": "Say where you looked, and when."}
    )

    def clean_note(self) -> str:
        return _plain_ends(self.cleaned_data["note"])


def _plain_ends(text: str) -> str:
    """A text area sends CRLF; one line end is enough for everybody who reads it."""
    return text.replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class InboxFilter:
    """What of the inbox is shown; it stands in the URL. Whatever is odd in it is left out."""

    tab: str = "waiting"
    provider: str = ""
    tool: str = ""
    status: str = ""
    search: str = ""

    @classmethod
    def read(cls, given: QueryDict) -> "InboxFilter":
        tab = "decided" if given.get("tab") == "decided" else "waiting"
        status = given.get("status", "")
        return cls(
            tab=tab,
            provider=_short(given, "provider"),
            tool=_short(given, "tool"),
            status=status if tab == "decided" and status in RequestStatus.values else "",
            search=_short(given, "q").strip(),
        )

    @property
    def active(self) -> bool:
        """Whether anything is left out by choice."""
        return bool(self.provider or self.tool or self.status or self.search)

    def query(self, **changed: str) -> str:
        """The filter as a query string, with these values changed."""
        now = {"tab": self.tab, "provider": self.provider, "tool": self.tool, "status": self.status, "q": self.search}
        now |= changed
        if now["tab"] == "waiting":
            now["tab"] = now["status"] = ""
        return urlencode({name: value for name, value in now.items() if value})


def _short(given: QueryDict, name: str) -> str:
    """A filter's text: without NUL, which no database takes."""
    return str(given.get(name, ""))[:FILTER_MAX].replace("\x00", "")
