"""`manage.py audit verify`: look over the audit chain; exit code 1 names the first bad row."""

import json
import re
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals import audit

KEPT = re.compile(r"(\d+):([0-9a-f]{64})")


class Command(BaseCommand):
    help = "Verify the audit chain. Keep the head that it prints outside, and hand it back with --head another time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        verify = commands.add_parser("verify", help="exit 0 if every entry follows from the one before, else 1")
        verify.add_argument("--head", metavar="SEQ:HASH", default="", help="a head that was printed earlier")
        verify.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        kept = KEPT.fullmatch(options["head"])
        if options["head"] and not kept:
            raise CommandError("--head: SEQ:HASH as `audit verify` printed it")
        found = audit.verify(kept=(int(kept[1]), kept[2]) if kept else None)
        if options["json"]:
            bad = {"seq": found.bad.seq, "why": found.bad.why} if found.bad else None
            self.stdout.write(json.dumps({"ok": not bad, "seq": found.seq, "hash": found.hash, "bad": bad}))
        elif not found.bad:
            self.stdout.write(f"ok: {found.seq} entries, head {found.seq}:{found.hash}")
        if found.bad:
            raise CommandError(str(found.bad), returncode=1)
