"""`manage.py webhooks`: tell other systems by signed webhook what waits; add, list, try and keep endpoints."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count, Q

from approvals import webhook, webhooks
from approvals.models import Delivery, DeliveryState, WebhookEndpoint
from dashboard.management import arguments
from streams import inert
from streams.errors import SecretError

FROM = {"actor": "system", "origin": "command line"}
WAIT_S = 20.0  # a try takes 15 s at most
LOOK_S = 0.1
ENDED = (DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED)


class Command(BaseCommand):
    help = "Tell other systems by signed webhook what waits: add, list and try endpoints."

    def add_arguments(self, parser: CommandParser) -> None:
        """Six actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="add an endpoint; prints the secret that it verifies with, once")
        add.add_argument("url")
        add.add_argument(
            "--event", action="append", default=[], metavar="E", help=f"{' or '.join(webhook.EVENTS)}; without it, all"
        )
        listed = actions.add_parser("list", help="show the endpoints, never their secrets")
        listed.add_argument("--json", action="store_true")
        test = actions.add_parser("test", help="send a test event and wait for the answer; exit code 1 if it fails")
        test.add_argument("endpoint", nargs="?", default="", help="its URL or id; without it, all that are enabled")
        rotate = actions.add_parser("rotate", help="print a new secret, once; the old one signs too for 24 hours")
        rotate.add_argument("endpoint", help="its URL or id")
        rotate.add_argument(
            "--force",
            action="store_true",
            help="a secret leaked: no other signs any more; give the new one to the receiver at once",
        )
        for name, help_text in (
            ("disable", "send it nothing more, and cancel what waits"),
            ("enable", "tell it again, of what happens from now on"),
        ):
            actions.add_parser(name, help=help_text).add_argument("endpoint", help="its URL or id")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do the action."""
        actions: dict[str, Callable[..., None]] = {
            "add": self.add_endpoint,
            "list": self.list_endpoints,
            "test": self.test_endpoints,
            "rotate": self.rotate_secret,
            "disable": self.disable_endpoint,
            "enable": self.enable_endpoint,
        }
        try:
            actions[action](**options)
        except (webhooks.EndpointRefused, SecretError) as exc:
            raise CommandError(str(exc)) from exc

    def add_endpoint(self, *, url: str, event: list[str], **_: Any) -> None:
        """Print the secret alone on stdout."""
        self.stdout.write(webhooks.add(url, events=event, **FROM)[1])

    def rotate_secret(self, *, endpoint: str, force: bool, **_: Any) -> None:
        """Print the new secret alone on stdout."""
        try:
            self.stdout.write(webhooks.rotate(_one(endpoint), force=force, **FROM))
        except webhooks.EndpointRefused as exc:
            raise CommandError(f"{exc.problems['secret']} with --force") from exc

    def disable_endpoint(self, *, endpoint: str, **_: Any) -> None:
        """What waits for it is cancelled."""
        webhooks.disable(_one(endpoint), why="disabled from the command line", **FROM)

    def enable_endpoint(self, *, endpoint: str, **_: Any) -> None:
        """What was cancelled meanwhile stays so; each can be sent again."""
        webhooks.enable(_one(endpoint), **FROM)

    def list_endpoints(self, *, json: bool, **_: Any) -> None:
        """All endpoints, the oldest first."""
        waiting = Q(deliveries__state__in=(DeliveryState.READY, DeliveryState.CLAIMED))
        rows = list(
            WebhookEndpoint.objects.order_by("created_at").annotate(waiting=Count("deliveries", filter=waiting))
        )
        if json:
            self.stdout.write(arguments.dumps([_shape(row, row.waiting) for row in rows]))
            return
        heads = ("ID", "URL", "EVENTS", "WAITING", "STATE")
        lines = ((row.pk, row.url, " ".join(row.events) or "all", row.waiting, _state(row)) for row in rows)
        self.stdout.write(arguments.table(heads, lines))

    def test_endpoints(self, *, endpoint: str, **_: Any) -> None:
        """Queue a test event for one endpoint, or for all; the server beside sends it."""
        rows = [_one(endpoint)] if endpoint else list(WebhookEndpoint.objects.filter(disabled_at=None))
        if not rows:
            raise CommandError("no endpoints; add one with `webhooks add`")
        sent = [(row, webhooks.ping(row, **FROM)) for row in rows]
        until = time.monotonic() + WAIT_S
        failed = 0
        for row, delivery in sent:
            ended = _ended(delivery, until)
            failed += ended.state != DeliveryState.DELIVERED
            self.stdout.write(f"{row.url}: {inert.one_line(_found(ended), 300)}")
        if failed:
            raise CommandError(f"{failed} of {len(sent)} not delivered")


def _one(named: str) -> WebhookEndpoint:
    """By id or URL; of several with one URL an enabled one, the newest."""
    try:
        found = WebhookEndpoint.objects.filter(pk=UUID(named))
    except ValueError:
        found = WebhookEndpoint.objects.filter(url=named)
    rows = sorted(found.order_by("-created_at"), key=lambda row: row.disabled_at is not None)
    if not rows:
        raise CommandError(f"there is no endpoint {named!r}")
    return rows[0]


def _ended(delivery: Delivery, until: float) -> Delivery:
    """The delivery, once its try is over or the time is."""
    while True:
        delivery.refresh_from_db()
        if delivery.state in ENDED or time.monotonic() > until:
            return delivery
        time.sleep(LOOK_S)


def _found(delivery: Delivery) -> str:
    if delivery.state == DeliveryState.DELIVERED:
        return f"ok: HTTP {delivery.answer_status}"
    if delivery.state in ENDED:
        return f"FAILED: {delivery.last_error}"
    return "WAITS: nobody has sent it yet; it leaves as soon as `up`, `serve` or `hold` runs"


def _shape(row: WebhookEndpoint, waiting: int) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "url": row.url,
        "events": row.events or list(webhook.EVENTS),
        "waiting": waiting,
        "created_at": row.created_at.isoformat(),
        "previous_until": row.previous_until.isoformat() if row.previous_until else None,
        "disabled_at": row.disabled_at.isoformat() if row.disabled_at else None,
        "disabled_why": row.disabled_why,
    }


def _state(row: WebhookEndpoint) -> str:
    return f"disabled: {row.disabled_why}" if row.disabled_at else "enabled"
