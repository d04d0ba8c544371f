"""Measure a hot path of ours against its baseline: `manage.py bench sse [--quick] [--json] [--row P1]`."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from dashboard import bench
from dashboard.bench.rows import Row


class Command(BaseCommand):
    help = "Measures a hot path of ours side by side with the ordinary way of doing it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What is measured, and how it is told."""
        parser.add_argument("name", choices=bench.NAMES)
        parser.add_argument("--quick", action="store_true", help="under 20 s, judged at 0.7 of each goal")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")

    def handle(self, *, name: str, quick: bool, json: bool, **options: Any) -> None:
        """Exit code 1 if a row misses its goal, or an event was lost, doubled or reordered."""
        missed = []
        for row in bench.find(name)(quick):
            self.stdout.write(_as_json(row) if json else _in_words(row))
            self.stdout.flush()
            missed += [] if row.ok else [row.row]
        if missed:
            self.stderr.write(f"missed: {', '.join(missed)}")
            sys.exit(1)


def _as_json(row: Row) -> str:
    return json.dumps(asdict(row))


def _in_words(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:8.2f}x"
    goal = "" if row.goal is None else f"goal {row.goal:g}"
    verdict = "" if row.goal is None else "ok" if row.ok else "MISSED"
    return f"{row.row:4} {row.value:14,.1f} {row.unit:10} {ratio:9} {goal:10} {verdict:6} {row.note}".rstrip()
