"""`manage.py runs`: start, watch and show runs."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.api import shapes
from dashboard.management import arguments
from streams import inert, runs
from streams.models import Provider, Run


class Command(BaseCommand):
    help = "Start, watch and show runs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Three actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        start = actions.add_parser("start", help='queue a run; prints {"id": ...}')
        start.add_argument("provider")
        start.add_argument("--task", default="", help="what the agent is to do; Middesk takes none")
        start.add_argument("--workflow", default="", help="Mindra: the workflow's slug; Middesk: the agent's type")
        start.add_argument(
            "--option", action="append", default=[], metavar="K=V", help="Middesk: business_id, thread_id, ..."
        )
        watch = actions.add_parser("watch", help='follow a run that somebody else started; prints {"id": ...}')
        watch.add_argument("provider")
        watch.add_argument("external_id")
        show = actions.add_parser("show", help="show a run")
        show.add_argument("id")
        show.add_argument("--json", action="store_true")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do the action."""
        actions: dict[str, Callable[..., None]] = {"start": self.start, "watch": self.watch, "show": self.show}
        actions[action](**options)

    def start(self, *, provider: str, task: str, workflow: str, option: list[str], **_: Any) -> None:
        """Queue a run; the process that holds streams sends the start."""
        try:
            run = runs.start(_provider(provider), task=task, workflow=workflow, options=arguments.pairs(option))
        except runs.StartRefused as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(arguments.line({"id": str(run.pk)}))

    def watch(self, *, provider: str, external_id: str, **_: Any) -> None:
        """Follow a run; asking twice finds the same one."""
        try:
            run = runs.watch(_provider(provider), external_id)
        except runs.StartRefused as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(arguments.line({"id": str(run.pk)}))

    def show(self, *, id: str, json: bool, **_: Any) -> None:
        """Show a run as the API does."""
        try:
            row = Run.objects.select_related("provider").get(pk=UUID(id))
        except (ValueError, Run.DoesNotExist) as exc:
            raise CommandError(f"id: there is no run {id!r}") from exc
        shown = shapes.run(row).model_dump(mode="json")
        if json:
            self.stdout.write(arguments.dumps(shown))
            return
        for name, value in shown.items():
            if value is not None:
                self.stdout.write(f"{name + ':':<14}{inert.one_line(str(value), 500)}")


def _provider(name: str) -> Provider:
    found = Provider.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Provider.objects.values_list("name", flat=True)) or "none yet"
        raise CommandError(f"provider: there is no {name!r}; there are: {known}")
    return found
