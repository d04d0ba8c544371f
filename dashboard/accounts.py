"""Provider accounts: add one, change it, give it new secrets; checked, audited, and what waited goes on."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import transaction

from approvals import audit
from streams import announce, dialects, providers
from streams.events import sha256
from streams.models import Provider
from streams.providers.base import Account, Plain

MOVED = "the address leads elsewhere: give the secret again, it is not sent to a new place"


class AccountRefused(Exception):
    """An account that cannot be kept; `problems` says why, by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {why}" for field, why in problems.items()))
        self.problems = dict(problems)


def kind_problem(kind: str) -> str:
    """Why there is no such kind of provider; empty if there is."""
    try:
        providers.get(kind)
    except LookupError as exc:
        return str(exc)
    return ""


def dialect_problem(dialect: str) -> str:
    """Why there is no such dialect; empty if there is, or if it is left to be found out."""
    known = ", ".join(sorted(dialects.DIALECTS))
    return "" if not dialect or dialect in dialects.DIALECTS else f"unknown dialect {dialect!r}; there are {known}"


def sends_webhooks(kind: str) -> bool:
    """Whether this kind of provider can send us webhooks; a kind that there is not does not."""
    reads: Any = getattr(type(providers.REGISTRY.get(kind)), "read_webhook", Plain.read_webhook)
    return reads is not Plain.read_webhook


def add(
    *,
    name: str,
    kind: str,
    base_url: str,
    secret: str = "",
    webhook_secret: str = "",
    dialect: str = "",
    options: Mapping[str, Any] | None = None,
    actor: str,
    origin: str,
) -> Provider:
    """Add an account. Raises AccountRefused, and SecretError when no field key is configured."""
    row = Provider(name=name, kind=kind, base_url=base_url, dialect=dialect, options=dict(options or {}))
    problems = {"kind": kind_problem(kind), "dialect": dialect_problem(dialect)}
    if webhook_secret and not problems["kind"]:
        problems["webhook_secret"] = webhook_problem(kind)
    _checked(row, problems)
    with transaction.atomic():
        save(row, secret=secret or None, actor=actor, origin=origin, action="provider.added")
        if webhook_secret:
            set_webhook_secret(row, webhook_secret, actor=actor, origin=origin)
    return row


def webhook_problem(kind: str) -> str:
    """Why no webhooks can be taken from this kind of provider; empty if they can."""
    return "" if sends_webhooks(kind) else f"a provider of kind {kind!r} sends no webhooks"


def set_webhook_secret(row: Provider, secret: str, *, actor: str, origin: str) -> None:
    """Set what the provider's webhooks are signed with; empty: none are taken any more.

    Raises AccountRefused for a kind that sends none, SecretError when no field key is configured.
    """
    if why := webhook_problem(row.kind):
        raise AccountRefused({"webhook_secret": why})
    row.set_webhook_secret(secret)
    with transaction.atomic():
        row.save(update_fields=["webhook_secret_sealed"])
        audit.append(
            action="provider.webhook_secret_set" if secret else "provider.webhook_secret_removed",
            actor=actor,
            target=f"provider:{row.pk}",
            origin=origin,
            data={"name": row.name, "kind": row.kind},
        )


def save(row: Provider, *, secret: str | None, actor: str, origin: str, action: str = "provider.changed") -> None:
    """Store the row; a secret that is not None replaces the old one and lifts a credential alert."""
    with transaction.atomic():
        if secret is not None:
            row.set_secret(secret)
        row.save()
        announce.changed(announce.INBOX)
        audit.append(
            action=action,
            actor=actor,
            target=f"provider:{row.pk}",
            origin=origin,
            data={
                "name": row.name,
                "kind": row.kind,
                "base_url": row.base_url,
                "dialect": row.dialect,
                "paused": row.paused,
                "new_secret": secret is not None,
            },
        )


def change(
    row: Provider,
    *,
    base_url: str,
    dialect: str,
    options: Mapping[str, Any],
    secret: str = "",
    keep: Collection[str] = (),
    actor: str,
    origin: str,
) -> Provider:
    """Change where and how an account is reached; an empty secret keeps the present one. Raises AccountRefused.

    Options named in `keep` stay as they are. A secret goes only where it was given for: with an address on another
    origin it has to be given again.
    """
    with transaction.atomic():
        row = _locked(row)
        moved = _origin(row.base_url) != _origin(base_url)
        kept = {name: row.options[name] for name in keep if name in row.options}
        row.base_url, row.dialect, row.options = base_url, dialect, {**options, **kept}
        problems = {"dialect": dialect_problem(dialect)}
        if moved and row.secret_sealed and not secret:
            problems["secret"] = MOVED
        _checked(row, problems)
        save(row, secret=secret or None, actor=actor, origin=origin)
    return row


def pause(row: Provider, *, paused: bool, actor: str, origin: str) -> bool:
    """Let an account rest, or go on: while it rests nothing is sent to it. Whether this call changed it."""
    with transaction.atomic():
        row = _locked(row)
        if row.paused == paused:
            return False
        row.paused = paused
        save(row, secret=None, actor=actor, origin=origin, action="provider.paused" if paused else "provider.resumed")
    return True


def set_answers(row: Provider, *, enabled: bool, template: Mapping[str, Any], actor: str, origin: str) -> Provider:
    """Switch answering from here on or off, with the template for what is sent. Raises AccountRefused."""
    with transaction.atomic():
        row = _locked(row)
        row.options = {**row.options, "resume": {**template, "enabled": enabled}}
        if why := template_problem(row, template):
            raise AccountRefused({"template": why})
        row.save(update_fields=["options"])
        announce.changed(announce.INBOX)
        audit.append(
            action="provider.answers_on" if enabled else "provider.answers_off",
            actor=actor,
            target=f"provider:{row.pk}",
            origin=origin,
            data={"name": row.name, "template_sha256": sha256(json.dumps(dict(template), sort_keys=True))},
        )
    return row


def template_problem(row: Provider, template: Mapping[str, Any]) -> str:
    """Why nothing could be answered with this template; empty if it could."""
    options = {**row.options, "resume": {**template, "enabled": True}}
    said = providers.get(row.kind).decidable(Account(row.base_url, options=options))
    return said.rpartition("cannot be used: ")[2]  # before it stands what a reviewer is told


def _checked(row: Provider, problems: dict[str, str]) -> None:
    """Raise AccountRefused for these problems and for what the row itself does not allow."""
    try:
        row.full_clean(validate_unique=row._state.adding)
    except ValidationError as exc:
        problems |= {field: " ".join(said) for field, said in exc.message_dict.items()}
    if problems := {field: why for field, why in problems.items() if why}:
        raise AccountRefused(problems)


def _locked(row: Provider) -> Provider:
    """The row as it is now: nobody else's change is written over."""
    return Provider.objects.select_for_update(no_key=True).get(pk=row.pk)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return url, "", None
