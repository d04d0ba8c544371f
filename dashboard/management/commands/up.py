"""`manage.py up`: set up what is missing, then serve. The environment and the keys were made before (`bootstrap`)."""

import hashlib
import secrets
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from dashboard import bootstrap
from dashboard.virtual_environment import exclusive

FIRST_USER = "admin"
LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that can be mistaken for another
PASSWORD_LENGTH = 20


class Command(BaseCommand):
    help = "Set up what is missing (database, static files, the first user), then serve."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="add emulated providers whose agents keep asking")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *, demo: bool, host: str, port: int, **options: object) -> None:
        if not settings.KEYS_GIVEN:
            raise CommandError(f"the keys in {settings.DATA_DIR} are missing or empty; start with `manage.py up`")
        with exclusive(bootstrap.lock_folder(settings.DATA_DIR)):
            call_command("migrate", interactive=False, verbosity=0)
            collect_static_files()
            if password := make_first_user():
                self.stdout.write(f"Sign in: {FIRST_USER} / {password}")
                self.stdout.flush()
            connections.close_all()  # whoever serves opens its own
        call_command("serve", host=host, port=port, demo=demo)


def make_first_user() -> str | None:
    """Make the first user and return the password, which is kept nowhere else; None if there is somebody already."""
    users = get_user_model()
    if users.objects.filter(is_superuser=True).exists() or users.objects.filter(username=FIRST_USER).exists():
        return None
    password = "".join(secrets.choice(LETTERS) for _ in range(PASSWORD_LENGTH))
    users.objects.create_superuser(FIRST_USER, password=password)
    return password


def collect_static_files() -> None:
    """Collect the static files unless those collected last were the same ones."""
    collected = settings.DATA_DIR / "static.sha256"
    wanted = static_fingerprint()
    manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
    if manifest.exists() and collected.exists() and collected.read_text(encoding="ascii") == wanted:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    collected.write_text(wanted, encoding="ascii")


def static_fingerprint() -> str:
    """SHA-256 over the names and the content of all files that would be collected."""
    total = hashlib.sha256()
    for name, content in sorted(source_files()):
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def source_files() -> Iterator[tuple[str, bytes]]:
    for finder in get_finders():
        for name, storage in finder.list(["CVS", ".*", "*~"]):
            with storage.open(name) as file:
                yield name, file.read()
