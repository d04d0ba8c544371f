"""`manage.py providers`: add, list and check provider accounts."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard import accounts, connection, diagnosis, env, hooks
from dashboard.management import arguments
from streams import providers as adapters
from streams.errors import SecretError
from streams.models import Provider

PAUSED = connection.Found("paused", "it is paused; name it to try it all the same")


class Command(BaseCommand):
    help = "Add, list and check provider accounts."

    def add_arguments(self, parser: CommandParser) -> None:
        """Three actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="add an account; prints its id")
        add.add_argument("name")
        add.add_argument("--kind", required=True, help=f"one of {', '.join(sorted(adapters.REGISTRY))}")
        add.add_argument("--base-url", required=True, help="where the provider's API, or the AG-UI agent, answers")
        add.add_argument("--secret-env", default="", metavar="V", help="environment variable (or V_FILE) with the key")
        add.add_argument(
            "--webhook-secret-env", default="", metavar="V", help="the same for what its webhooks are signed with"
        )
        add.add_argument(
            "--dialect", default="", help="AG-UI: the framework behind it; found out by itself if not given"
        )
        add.add_argument("--option", action="append", default=[], metavar="K=V")
        listed = actions.add_parser("list", help="show the accounts, never their secrets")
        listed.add_argument("--json", action="store_true")
        check = actions.add_parser(
            "check", help="one harmless request to each active account; exit code 1 if one fails"
        )
        check.add_argument("name", nargs="?", default="")
        check.add_argument("--json", action="store_true")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do the action."""
        actions: dict[str, Callable[..., None]] = {
            "add": self.add_account,
            "list": self.list_accounts,
            "check": self.check_accounts,
        }
        actions[action](**options)

    def add_account(
        self,
        *,
        name: str,
        kind: str,
        base_url: str,
        secret_env: str,
        webhook_secret_env: str,
        dialect: str,
        option: list[str],
        **_: Any,
    ) -> None:
        """Store the account and print `{"id": ..., "name": ...}`; doubts about it go to stderr."""
        try:
            secret = _from_environment("--secret-env", secret_env)
            row = accounts.add(
                name=name,
                kind=kind,
                base_url=base_url,
                secret=secret,
                webhook_secret=_from_environment("--webhook-secret-env", webhook_secret_env),
                dialect=dialect,
                options=arguments.pairs(option),
                actor="system",
                origin="command line",
            )
        except (accounts.AccountRefused, SecretError, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc
        for doubt in diagnosis.doubts(row.kind, row.base_url, secret):
            self.stderr.write(f"warning: {doubt}")
        self.stdout.write(arguments.line({"id": str(row.pk), "name": row.name}))

    def list_accounts(self, *, json: bool, **_: Any) -> None:
        """All accounts by name."""
        rows = list(Provider.objects.all())
        if json:
            self.stdout.write(arguments.dumps([_shape(row) for row in rows]))
            return
        heads = ("NAME", "KIND", "BASE URL", "SECRET", "STATE", "WEBHOOKS TO")
        self.stdout.write(
            arguments.table(
                heads,
                ((row.name, row.kind, row.base_url, _secret(row), _state(row), _webhooks(row)) for row in rows),
            )
        )

    def check_accounts(self, *, name: str, json: bool, **_: Any) -> None:
        """Try one account, or all."""
        rows = list(Provider.objects.filter(name=name) if name else Provider.objects.all())
        if not rows:
            raise CommandError(f"no provider {name!r}" if name else "no providers; add one with `providers add`")
        found = [(row, PAUSED if row.paused and not name else connection.check(row)) for row in rows]
        if json:
            self.stdout.write(arguments.dumps([_found(row, one) for row, one in found]))
        else:
            for row, one in found:
                word = "not tried" if one is PAUSED else "ok" if one.ok else "FAILED"
                self.stdout.write(f"{row.name}: {word}: {one.detail}")
                for warning in one.warnings:
                    self.stdout.write(f"{row.name}: warning: {warning}")
        if failed := [row.name for row, one in found if not (one.ok or one is PAUSED)]:
            raise CommandError(f"not as it should be: {', '.join(failed)}")


def _from_environment(option: str, name: str) -> str:
    secret = env.text(name) if name else ""
    if name and not secret:
        raise CommandError(f"{option}: the environment variable {name} is empty or not set")
    return secret


def _found(row: Provider, one: connection.Found) -> dict[str, Any]:
    """`ok` is null for an account that was not tried."""
    return {
        "name": row.name,
        "ok": None if one is PAUSED else one.ok,
        "code": one.code,
        "detail": one.detail,
        "warnings": list(one.warnings),
    }


def _shape(row: Provider) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "kind": row.kind,
        "base_url": row.base_url,
        "dialect": row.dialect,
        "options": row.options,
        "paused": row.paused,
        "has_secret": bool(row.secret_sealed),
        "webhooks_to": hooks.address(row) or None,
        "has_webhook_secret": bool(row.webhook_secret_sealed),
        "credential_refused_at": row.credential_refused_at.isoformat() if row.credential_refused_at else None,
    }


def _secret(row: Provider) -> str:
    return "set" if row.secret_sealed else "none"


def _webhooks(row: Provider) -> str:
    address = hooks.address(row)
    return f"{address} (secret {'set' if row.webhook_secret_sealed else 'not set'})" if address else ""


def _state(row: Provider) -> str:
    if row.credential_refused_at:
        return "credential refused"
    return "paused" if row.paused else "active"
