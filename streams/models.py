"""Provider, Run, Event, Lease and their constraints."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint

from streams import secrets
from streams.providers.addresses import base_url_problem


def check_base_url(url: str) -> None:
    """Refuse a URL that calls cannot begin with; unlike with Django's own validator, `http://agent:8000` is fine."""
    if why := base_url_problem(url):
        raise ValidationError(why)


SWITCHES = ("four_eyes", "answer_by_id")  # options of an account that are on or off


class Provider(models.Model):
    """One account at one agent provider, or one AG-UI agent server."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=30)  # a key of streams.providers.REGISTRY
    base_url = models.CharField(max_length=500, validators=[check_base_url])
    secret_sealed = models.TextField(blank=True, editable=False)  # written by set_secret, never shown
    webhook_secret_sealed = models.TextField(blank=True, editable=False)  # what its webhooks to us are signed with
    dialect = models.CharField(max_length=40, blank=True)
    options = models.JSONField(default=dict, blank=True)  # the operator's own, never a provider's
    paused = models.BooleanField(default=False)
    credential_refused_at = models.DateTimeField(
        null=True, editable=False
    )  # 401/403: nothing is sent until a new secret
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raise ValidationError for a switch that is neither on nor off: it would be taken for off, without a word."""
        options = self.options if isinstance(self.options, dict) else {}
        if wrong := [name for name in SWITCHES if not isinstance(options.get(name, False), bool)]:
            raise ValidationError({"options": f"{wrong[0]} is true or false"})

    def set_secret(self, secret: str) -> None:
        """Seal a new secret (not saved yet) and lift a credential alert."""
        self.secret_sealed = secrets.seal(secret, owner=f"provider:{self.pk}") if secret else ""
        self.credential_refused_at = None

    def set_webhook_secret(self, secret: str) -> None:
        """Seal what this provider's webhooks are signed with (not saved yet); empty: none are taken."""
        self.webhook_secret_sealed = secrets.seal(secret, owner=f"hook:{self.pk}") if secret else ""

    @property
    def webhook_secret(self) -> str:
        """That secret in clear. Raises SecretError when no configured field key opens it."""
        sealed = self.webhook_secret_sealed
        return secrets.unseal(sealed, owner=f"hook:{self.pk}") if sealed else ""

    @property
    def secret(self) -> str:
        """The secret in clear. Raises SecretError when no configured field key opens it."""
        return secrets.unseal(self.secret_sealed, owner=f"provider:{self.pk}") if self.secret_sealed else ""


class ProviderHook(models.Model):
    """A webhook that a provider sent us, kept so that its repeat is known; a nudge, never news by itself."""

    provider = models.ForeignKey(Provider, models.PROTECT, related_name="hooks")
    event_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=100)
    external_id = models.CharField(max_length=255, blank=True)  # of the run it is about
    received_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-received_at"]
        constraints: ClassVar = [UniqueConstraint(fields=["provider", "event_id"], name="hook_once_per_event")]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"


class FieldKey(models.Model):
    """A check value per field key, so that a missing or wrong key stops the start instead of losing secrets."""

    fingerprint = models.CharField(max_length=16, primary_key=True)
    check_value = models.TextField()
    first_seen_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.fingerprint


class RunStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    CONNECTING = "connecting", "Connecting"
    STREAMING = "streaming", "Listening"
    WAITING = "waiting", "Waiting for a person"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    TRUNCATED = "truncated", "Ended without a word"
    LOST = "lost", "Lost"


ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TRUNCATED, RunStatus.LOST)
GOING = tuple(status for status in RunStatus if status not in ENDED)


class Run(models.Model):
    """One agent run we follow; its status moves in lifecycle.py only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="runs")
    external_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 (null: not known yet)
    thread_id = models.CharField(max_length=255, blank=True)
    continues = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="continued_by")
    title = models.CharField(max_length=300, blank=True)
    task = models.TextField(blank=True)
    workflow = models.CharField(max_length=200, blank=True)
    options = models.JSONField(default=dict, blank=True)  # what our own caller asked for
    stream_url = models.CharField(max_length=1000, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)  # a call that may act was let out (and not proved unsent)
    opened_by = models.CharField(max_length=100, blank=True)
    opened_epoch = models.BigIntegerField(null=True, blank=True)
    status = models.CharField(max_length=12, choices=RunStatus, default=RunStatus.QUEUED)
    status_changed_at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=60, blank=True)  # the provider's word, or `continued`
    error = models.TextField(blank=True)
    connected_at = models.DateTimeField(null=True, blank=True)  # null while no stream is open
    last_event_at = models.DateTimeField(null=True, blank=True)
    nudged_at = models.DateTimeField(null=True, blank=True)  # somebody says it changed: its holder reads the run itself
    reconnects = models.PositiveIntegerField(default=0)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="runs_started"
    )
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-started_at"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["provider", "external_id"], condition=Q(external_id__isnull=False), name="run_once_per_provider"
            ),
            CheckConstraint(
                condition=Q(status__in=ENDED, ended_at__isnull=False)
                | (~Q(status__in=ENDED) & Q(ended_at__isnull=True)),
                name="run_ended_iff_dated",
            ),
            CheckConstraint(condition=Q(status__in=RunStatus.values), name="run_status_known"),
            CheckConstraint(condition=~Q(external_id=""), name="run_external_id_null_not_empty"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "started_at"], name="run_by_status"),
            models.Index(fields=["-started_at"], name="run_by_start"),
            models.Index(fields=["provider", "-started_at"], name="run_by_provider"),
        ]

    def __str__(self) -> str:
        return self.title or self.external_id or str(self.pk)


class Lease(models.Model):
    """The right to hold a run until a time, by the database's clock. The epoch only grows."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="lease")
    owner = models.CharField(max_length=100, blank=True)  # empty: released
    epoch = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["owner"], name="lease_by_owner")]

    def __str__(self) -> str:
        return f"{self.run_id} held by {self.owner or 'nobody'}, epoch {self.epoch}"


class HolderProcess(models.Model):
    """A process that holds streams, by its sign of life; readiness and balance look here."""

    owner = models.CharField(max_length=100, primary_key=True)  # host:pid:random
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    streams = models.PositiveIntegerField(default=0)
    slots = models.PositiveIntegerField(default=0)
    queued = models.PositiveIntegerField(default=0)  # events read and not committed yet
    lag_ms = models.PositiveIntegerField(default=0)  # the longest that one of them waited since the sign before

    class Meta:
        verbose_name_plural = "holder processes"

    def __str__(self) -> str:
        return self.owner


class Source(models.TextChoices):
    PROVIDER = "provider", "Provider"
    HOUSE = "house", "House"


class Event(models.Model):
    """One thing that happened on a run, exactly as it was told; written by the journal only."""

    run = models.ForeignKey(Run, models.PROTECT, related_name="events", db_index=False)  # event_once_per_seq serves it
    seq = models.PositiveBigIntegerField()  # ours: dense per run, in commit order, house events too
    source = models.CharField(max_length=8, choices=Source, default=Source.PROVIDER)
    kind = models.CharField(max_length=100)
    ordinal = models.PositiveBigIntegerField(null=True, blank=True)  # position on the provider's stream, if known
    own_id = models.TextField(blank=True)  # the SSE id, where the frame brought a new one
    payload = models.TextField(blank=True)  # the frame's data through events.text(); parsed on read
    sha256 = models.CharField(max_length=64)  # of the payload's UTF-8
    marked = models.BooleanField(
        default=False
    )  # characters were made visible, or the payload is not what its kind says
    received_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["run", "seq"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["run", "seq"], name="event_once_per_seq"),
            UniqueConstraint(fields=["run", "own_id"], condition=~Q(own_id=""), name="event_once_per_own_id"),
            CheckConstraint(condition=Q(source__in=Source.values), name="event_source_known"),
        ]
        indexes: ClassVar = [models.Index(fields=["run", "ordinal"], name="event_by_ordinal")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq} {self.kind}"


class Checkpoint(models.Model):
    """The provider's fold state of a run after an event, so that a restart folds only what came later."""

    run = models.OneToOneField(Run, models.PROTECT, primary_key=True, related_name="checkpoint")
    seq = models.PositiveBigIntegerField()
    state = models.TextField()

    def __str__(self) -> str:
        return f"{self.run_id} at {self.seq}"
