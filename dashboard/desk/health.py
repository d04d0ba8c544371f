"""How the provider accounts are: rested, refused, at work, and what the last check of the connection found."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Max

from approvals import audit
from approvals.models import AuditEntry, AuditHead
from dashboard import connection
from dashboard.connection import Found
from dashboard.desk import frameworks
from dashboard.desk.pages import Who
from dashboard.words import Word
from streams import jsontext
from streams import providers as adapters
from streams.models import GOING, Provider, Run

LIMIT_S = 10.0
CHECKED = "provider.checked"
RECENT = 5_000  # audit entries that are looked through: a check further back says nothing about today
ANSWERED = "ok"


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found, and when."""

    at: datetime
    code: str

    @property
    def ok(self) -> bool:
        return self.code == ANSWERED

    @property
    def word(self) -> Word:
        return Word("Answered", "check", "ok") if self.ok else Word(WORDS.get(self.code, "Failed"), "halt", "stop")


WORDS: Mapping[str, str] = {
    "configuration": "Could not ask",
    "credential": "Secret refused",
    "dns": "No such name",
    "refused": "Nothing listens",
    "tls": "Certificate trouble",
    "timeout": "No answer",
    "redirect": "Sent elsewhere",
    "server_error": "Its own error",
    "wrong_path": "Wrong address",
    "not_a_stream": "Not as expected",
}


@dataclass(frozen=True, slots=True)
class Account:
    """One row of the list."""

    row: Provider
    vendor: str
    word: Word
    open_runs: int
    last_event_at: datetime | None
    check: Check | None
    framework: Word | None = None  # how well the framework behind it is known; None where its kind has none


def state(row: Provider) -> Word:
    """How an account stands, the gravest thing first."""
    if row.credential_refused_at:
        return Word("Secret refused", "ban", "stop", "Nothing is sent until there is a new secret.")
    if row.paused:
        return Word("Paused", "pause", "off", "Nothing is sent and no stream is held until somebody resumes it.")
    return Word("In use", "plug", "", "Runs can be started, and what they ask arrives in the inbox.")


def accounts(rows: Sequence[Provider]) -> list[Account]:
    """How these accounts are, in four queries."""
    going = {
        pk: (count, last)
        for pk, count, last in Run.objects.filter(status__in=GOING, provider__in=[row.pk for row in rows])
        .order_by()
        .values_list("provider")
        .annotate(count=Count("pk"), last=Max("last_event_at"))
    }
    checks, known = last_checks(), frameworks.words(rows)
    return [
        Account(
            row,
            vendor(row.kind),
            state(row),
            *going.get(row.pk, (0, None)),
            check=checks.get(str(row.pk)),
            framework=known.get(row.pk),
        )
        for row in rows
    ]


def vendor(kind: str) -> str:
    return adapters.REGISTRY[kind].label if kind in adapters.REGISTRY else kind


def last_checks() -> dict[str, Check]:
    """Provider id -> its newest check, as far as the newest entries of the audit chain tell."""
    head = AuditHead.objects.filter(pk=1).values_list("seq", flat=True).first() or 0
    found = AuditEntry.objects.filter(seq__gt=head - RECENT, action=CHECKED).order_by("seq")
    return {
        target.removeprefix("provider:"): Check(at, str(jsontext.quick(data).get("code", "")))
        for target, at, data in found.values_list("target", "at", "data")
    }


def check(row: Provider, *, by: Who) -> Found:
    """Ask the provider's address once, for ten seconds at most, and write down what came of it."""
    answer: Future[Found] = Future()
    # A thread that a stop of the server does not wait for; it ends by its own time limits.
    threading.Thread(target=_ask, args=(row, answer), name="connection-check", daemon=True).start()
    try:
        found = answer.result(LIMIT_S)
    except TimeoutError:
        found = Found("timeout", f"no answer within {LIMIT_S:g} s")
    with transaction.atomic():
        audit.append(action=CHECKED, target=f"provider:{row.pk}", data={"name": row.name, "code": found.code}, **by)
    return found


def _ask(row: Provider, answer: "Future[Found]") -> None:
    try:
        answer.set_result(connection.check(row))
    except BaseException as exc:
        answer.set_exception(exc)
