"""The framework behind an account: what it is, who said so, whether answers to it were tried and what they lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef

from approvals.models import ApprovalRequest, AuditEntry
from dashboard.desk import kinds
from dashboard.words import Word
from streams import dialects, jsontext
from streams.models import Provider

RECOGNISED: Final = "provider.dialect_recognised"
DIFFERS: Final = "provider.dialect_differs"
CHANGES: Final = ("provider.added", "provider.changed")
LOOKED_AT = 50  # of an account's newest entries in the audit chain
SAID: Final = (
    "Unverified means that no real server was seen to take the answers that go out here. They may be understood in "
    "another way than they were meant: look at the run after a decision."
)
UNVERIFIED = Word("Unverified dialect", "warn", "look", SAID)
NOT_YET = Word("Not known yet", "dash", "off", "Found out by itself when a run first pauses.")


@dataclass(frozen=True, slots=True)
class Differs:
    """The last pause that looked like another framework's, if nobody changed the account since."""

    at: datetime
    seen: str
    run: UUID


@dataclass(frozen=True, slots=True)
class Framework:
    """What is known of one account's framework."""

    name: str
    word: Word
    limits: Sequence[str] = ()
    recognised_at: datetime | None = None  # by itself
    differs: Differs | None = None

    @property
    def unverified(self) -> bool:
        return self.word is UNVERIFIED


def words(rows: Sequence[Provider]) -> Mapping[UUID, Word]:
    """Account -> how well its framework is known, in one query; accounts whose kind has none are left out."""
    found = [row for row in rows if row.kind in kinds.DIALECTS]
    bare = [row.pk for row in found if not row.dialect]
    unsure = ApprovalRequest.objects.filter(run__provider=OuterRef("pk"), unverified=True)
    missed = set(Provider.objects.filter(Exists(unsure), pk__in=bare).values_list("pk", flat=True)) if bare else set()
    return {row.pk: _word(row, missed) for row in found}


def _word(row: Provider, missed: set[UUID]) -> Word:
    dialect = dialects.known(row.dialect)
    if not row.dialect:
        return UNVERIFIED if row.pk in missed else NOT_YET
    if dialect is None or not dialect.verified:
        return UNVERIFIED
    name = "Plain AG-UI 1.0" if dialect is dialects.PLAIN else dialect.name
    return Word(name, "check", "ok", "Answers as these were seen to be taken by a real server.")


def of(row: Provider) -> Framework | None:
    """All of it for one account; None for a kind without frameworks."""
    word = words([row]).get(row.pk)
    if word is None:
        return None
    limits = dialects.limits(row.dialect) if row.dialect or word is UNVERIFIED else ()
    entries = _entries(row)
    last = next(((at, data) for action, at, data in entries if action == RECOGNISED), None)
    itself = last is not None and last[1].get("dialect") == row.dialect and bool(row.dialect)
    return Framework(row.dialect, word, limits, last[0] if itself and last else None, _differs(row, entries))


Told = tuple[str, datetime, Mapping[str, object]]


def _entries(row: Provider) -> list[Told]:
    """What the audit chain says of it, newest first."""
    found = AuditEntry.objects.filter(target=f"provider:{row.pk}", action__in=(RECOGNISED, DIFFERS, *CHANGES))
    told = found.order_by("-seq").values_list("action", "at", "data")[:LOOKED_AT]
    return [(action, at, jsontext.quick(data)) for action, at, data in told]


def _differs(row: Provider, entries: Sequence[Told]) -> Differs | None:
    for action, at, data in entries:
        if action in CHANGES:
            return None
        if action == DIFFERS and data.get("dialect") == row.dialect:
            return Differs(at, str(data.get("seen", "")), UUID(str(data.get("run"))))
    return None
