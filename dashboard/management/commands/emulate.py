"""`manage.py emulate`: the emulator, which knows nothing of Django; `python -m streams.emulator` is the same."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from streams.emulator import cli


class Command(BaseCommand):
    """Be an agent provider, with scenarios and faults."""

    help = "Be an agent provider, with scenarios and faults, until interrupted."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        code = cli.run(argparse.Namespace(**options))
        if code:
            raise SystemExit(code)
