"""`manage.py serve`: pages, streams and decisions in one process. `up` sets up what is missing and then does this."""

import sys
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Serve the pages, hold the providers' streams and carry decisions, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="add emulated providers whose agents keep asking")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0: any free one")

    def handle(self, *, demo: bool, host: str, port: int, **options: object) -> None:
        from dashboard import demo as driver
        from dashboard import server

        def say(line: str) -> None:
            self.stdout.write(line)
            self.stdout.flush()

        def parts() -> tuple[server.Part, ...]:
            return (driver.drive,) if demo else (driver.pause,)

        try:
            sys.exit(server.serve(host, port, say=say, parts=parts))
        except server.CannotStart as exc:
            raise CommandError(str(exc)) from exc
