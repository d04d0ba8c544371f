"""What can be done to a row from the admin: asked once more, with a reason, then done by the service that pages use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from streams import inert

ROWS_AT_ONCE = 200
NOTE_MAX = 2_000


class ActRefused(Exception):
    """It was not done; the message says why, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Doer:
    """Who does it, from where, and the reason given."""

    user: AbstractUser
    address: str
    note: str = ""
    seen: str = ""  # by what the act knows the row again that its page was made for

    @property
    def name(self) -> str:
        """As the audit chain names people."""
        return str(self.user.get_username())

    @property
    def origin(self) -> str:
        """From where, for the audit entry."""
        return f"{self.address} admin".strip()


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that can be seen this one time."""

    text: str
    about: str


Outcome = str | Shown


def _any(_: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that can be done; `refusal` says why not to this row, empty where it can."""

    name: str
    label: str
    about: str  # what it does and what it does not
    permission: str
    do: Callable[[Any, Doer], Outcome]
    refusal: Callable[[Any], str] = _any
    note: str = ""  # the question that a note must answer; empty: none is asked for
    mark: Callable[[Any], str] = _any  # where a second press would undo what the first one showed
    alone: bool = False  # one row at a time
    grave: bool = False

    def allowed(self, request: HttpRequest) -> bool:
        """Whether this person may do it at all."""
        return bool(request.user.has_perm(self.permission))


@dataclass(slots=True)
class Confirmed:
    """What came of it, for the words above the next page."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


def doer(request: HttpRequest, note: str = "") -> Doer:
    """Whoever sent this request."""
    assert isinstance(request.user, AbstractUser)  # admin_view lets nobody else in
    return Doer(
        request.user, str(request.META.get("REMOTE_ADDR") or ""), note, seen=str(request.POST.get("seen", ""))[:200]
    )


def ask(
    request: HttpRequest, act: Act, rows: Sequence[Any], *, context: dict[str, Any], back: str, listed: bool = False
) -> HttpResponse:
    """The page that asks once more; posted from there, do it and go back. Raises PermissionDenied."""
    if not act.allowed(request):
        raise PermissionDenied
    if len(rows) > ROWS_AT_ONCE:
        messages.error(request, f"Nothing was done: choose at most {ROWS_AT_ONCE} rows.")
        return HttpResponseRedirect(back)
    judged = [(row, act.refusal(row)) for row in rows]
    fit = [row for row, why in judged if not why]
    note, wrong = str(request.POST.get("note", "")).strip(), ""
    if request.method == "POST" and "confirmed" in request.POST and fit:
        wrong = _note_problem(act, note)
        if not wrong:
            return _do(request, act, fit, note, context, back)
    page = {
        **context,
        "title": act.label,
        "act": act,
        "fit": [_named(row) for row in fit],
        "unfit": [(_named(row), why) for row, why in judged if why],
        "keys": [row.pk for row in rows] if listed else [],
        "note": note,
        "seen": act.mark(fit[0]) if act.alone and fit else "",
        "wrong": wrong,
        "back": back,
    }
    return TemplateResponse(request, "admin/act.html", page, status=422 if wrong else 200)


def _note_problem(act: Act, note: str) -> str:
    if not act.note:
        return ""
    if not note:
        return "Say it in a few words: it is kept with what you do."
    return f"At most {NOTE_MAX} characters." if len(note) > NOTE_MAX else ""


def _do(
    request: HttpRequest, act: Act, rows: Sequence[Any], note: str, context: dict[str, Any], back: str
) -> HttpResponse:
    who = doer(request, note)
    came = Confirmed()
    for row in rows:
        try:
            outcome = act.do(row, who)
        except ActRefused as exc:
            came.refused.append(f"{_named(row)}: {exc}")
        else:
            if isinstance(outcome, Shown):
                came.shown.append(outcome)
            else:
                came.done.append(outcome)
    if came.shown:
        return TemplateResponse(
            request, "admin/shown_once.html", {**context, "title": act.label, "shown": came.shown, "back": back}
        )
    for said in dict.fromkeys(came.done):
        messages.success(request, said)
    for said in came.refused:
        messages.error(request, f"Nothing was changed. {said}")
    return HttpResponseRedirect(back)


def _named(row: Any) -> str:
    return inert.one_line(str(row), 80)
