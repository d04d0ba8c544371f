"""`manage.py hold`: supervisor, journal and courier without pages; as many processes as you like on PostgreSQL."""

import sys

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Hold the providers' streams and carry decisions, without serving pages."

    def handle(self, **options: object) -> None:
        from dashboard import server

        try:
            sys.exit(server.hold())
        except server.CannotStart as exc:
            raise CommandError(str(exc)) from exc
