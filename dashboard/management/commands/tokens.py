"""`manage.py tokens`: make API tokens."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from dashboard import tokens
from dashboard.models import User


class Command(BaseCommand):
    help = "Make API tokens. They are listed and revoked in the settings, or in the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        """One action."""
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="print a new token, once")
        create.add_argument("name", help="what it is for")
        create.add_argument("--user", required=True, help="who acts with it")
        create.add_argument("--scope", required=True, nargs="+", action="extend", help=f"of {', '.join(tokens.SCOPES)}")
        create.add_argument("--days", type=int, help="ends after so many days; without it, when revoked")

    def handle(self, *, action: str, name: str, user: str, scope: list[str], days: int | None, **_: Any) -> None:
        """Print the token alone on stdout."""
        person = User.objects.filter(username=user).first()
        if person is None:
            raise CommandError(f"user: there is no {user!r}")
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("days: 1 to 3650")
        try:
            made = tokens.create(
                name=name,
                user=person,
                scopes=scope,
                expires_at=timezone.now() + timedelta(days=days) if days else None,
                actor="system",
                origin="command line",
            )
        except tokens.TokenRefused as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(made[1])
