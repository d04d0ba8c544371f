"""User and ApiToken."""

import hashlib
import secrets
import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person (or the demo's driver). Django's own user, ours from the first migration."""


def token_hash(token: str) -> str:
    """What the database keeps of a token: lower-case hex SHA-256 (the token itself has 256 random bits)."""
    return hashlib.sha256(token.encode()).hexdigest()


class ApiToken(models.Model):
    """A machine's key to the API: shown once, kept as a hash, limited by scopes and time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    user = models.ForeignKey(User, models.PROTECT, related_name="api_tokens")
    prefix = models.CharField(max_length=12, editable=False)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(
        cls,
        *,
        name: str,
        user: User,
        scopes: list[str],
        expires_at: datetime | None = None,
        key: uuid.UUID | None = None,
    ) -> tuple["ApiToken", str]:
        """Make a token; the second value is the only time it is seen. 43 characters of [A-Za-z0-9_-] plus prefix."""
        token = f"cs_{secrets.token_urlsafe(32)}"
        row = cls(
            id=key or uuid.uuid4(),
            name=name,
            user=user,
            prefix=token[:10],
            sha256=token_hash(token),
            scopes=scopes,
            expires_at=expires_at,
        )
        row.save(force_insert=True)
        return row, token
