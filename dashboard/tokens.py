"""API tokens: made once, found by their hash, limited by scopes and time, revoked at once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from approvals import audit
from dashboard.models import ApiToken, User, token_hash

SCOPES = {
    "runs:read": "read runs and their events",
    "runs:write": "start runs and follow others",
    "approvals:read": "read approval requests",
    "approvals:decide": "approve, reject, undo",
    "metrics:read": "read /metrics",
}
MADE = "this token was made already, and shown then; revoke it and make another if it was not copied"
USE_NOTED_EVERY = timedelta(minutes=1)


class TokenRefused(Exception):
    """A token that cannot be made; `field` names what is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.why = field, why


def create(
    *,
    name: str,
    user: User,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    key: UUID | None = None,
    actor: str,
    origin: str,
) -> tuple[ApiToken, str]:
    """Make a token; the second value is the only time it is seen. Raises TokenRefused.

    `key` becomes the token's id: with one key one token is made, however often it is asked for.
    """
    if not name.strip() or len(name) > 80:
        raise TokenRefused("name", "1 to 80 characters are needed")
    if not user.is_active:
        raise TokenRefused("user", f"{user.get_username()} is not active")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise TokenRefused("scope", f"unknown {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise TokenRefused("scope", f"at least one of {', '.join(SCOPES)}")
    try:
        with transaction.atomic():
            row, token = ApiToken.issue(
                name=name, user=user, scopes=sorted(set(scopes)), expires_at=expires_at, key=key
            )
            audit.append(
                action="token.created",
                actor=actor,
                target=f"token:{row.pk}",
                origin=origin,
                data={"name": name, "user": user.get_username(), "scopes": row.scopes, "prefix": row.prefix},
            )
    except IntegrityError as exc:
        if key is None:
            raise
        raise TokenRefused("key", MADE) from exc
    return row, token


def find(token: str) -> ApiToken | None:
    """The valid token of an active user, or None. Notes its use, once a minute at most."""
    now = timezone.now()
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    row = (
        ApiToken.objects.select_related("user")
        .filter(unexpired, sha256=token_hash(token), revoked_at__isnull=True, user__is_active=True)
        .first()
    )
    if row is not None and (row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY):
        ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
    return row


def revoke(row: ApiToken, *, actor: str, origin: str) -> bool:
    """End a token; the next request with it is refused. Whether it was this call that ended it."""
    with transaction.atomic():
        ended = ApiToken.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
        if ended:
            audit.append(
                action="token.revoked",
                actor=actor,
                target=f"token:{row.pk}",
                origin=origin,
                data={"name": row.name, "prefix": row.prefix},
            )
    return bool(ended)
