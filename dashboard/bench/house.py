"""The product as one real process on a data folder of its own, as `manage.py up` serves, watched from outside.

`python -m dashboard.bench.house sow URL PREFIX N` is what puts runs into its database, from beside it;
`python -m dashboard.bench.house up CA PORT` serves, and trusts a provider whose certificate this one vouches for.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
from django.conf import settings
from django.contrib import auth
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest

from dashboard import bootstrap
from dashboard.bench.subject import ROOT, rss_bytes
from streams import client

FROM_US = ("COUNTERSIGN_", "DATABASE_URL", "REDIS_URL")  # our own settings are not its
TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
STOP_S = 20


class House:
    """A process that serves."""

    def __init__(self, folder: Path, env: dict[str, str], ca: str) -> None:
        self.folder, self._env = folder, env
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "dashboard.bench.house", "up", ca, str(self.port)],
                cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.pid = self._process.pid
        self._session = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Session: "):
                self._session = line.split()[1]
            if line.startswith("Countersign: "):
                return
        raise RuntimeError(f"it did not start: {self.log()}")

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "server.log").read_text()[-2000:]

    def cpu_s(self) -> float:
        """Processor time so far, all its threads; to 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICKS_S

    def rss_bytes(self) -> int:
        """What it has resident now."""
        return rss_bytes(self.pid)

    def cookies(self) -> dict[str, str]:
        """Of a browser that is signed in."""
        return {settings.SESSION_COOKIE_NAME: self._session}

    def watch(self, url: str, prefix: str, n: int) -> list[str]:
        """Let it follow so many runs of a provider at this address; returns their ids."""
        command = [sys.executable, "-m", "dashboard.bench.house", "sow", url, prefix, str(n)]
        made = subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, text=True, check=True)  # noqa: S603
        ids: list[str] = json.loads(made.stdout)
        return ids

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def house(ca: str = "") -> Iterator[House]:
    """A house that is gone with the block, its data too. `ca`: a certificate file that it trusts as well."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-", ignore_cleanup_errors=True) as folder:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(FROM_US)}
        env = {**ours, "COUNTERSIGN_BOOTSTRAP": "0", "COUNTERSIGN_DATA_DIR": folder, "PYTHONUNBUFFERED": "1"}
        made = House(Path(folder), env, ca)
        try:
            yield made
        finally:
            made.stop()


def sow(url: str, prefix: str, n: int) -> list[str]:
    """Runs that are to be followed, all of one provider."""
    from streams import announce
    from streams.models import Provider, Run

    provider, _ = Provider.objects.get_or_create(name="bench", defaults={"kind": "mindra", "base_url": url})
    names = [f"{prefix}-{number:05}" for number in range(n)]
    made = Run.objects.bulk_create([Run(provider=provider, external_id=name, title=name) for name in names])
    announce.stream_wake(made[0].pk)
    return [str(run.pk) for run in made]


def up(ca: str, port: str) -> None:
    """Serve as `manage.py up` does, without its static files, and with somebody who is signed in."""
    bootstrap.make_keys()
    _setup()
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    call_command("migrate", verbosity=0)
    sys.stdout.write(f"Session: {_signed_in()}\n")
    connections.close_all()
    if ca:
        trusted = ssl.create_default_context(cafile=ca)
        client.tls_context = lambda: trusted  # type: ignore[assignment]
    call_command("serve", port=int(port))


def _signed_in() -> str:
    """The session of a new superuser."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    request = HttpRequest()
    request.session = SessionStore()
    user = get_user_model().objects.create_superuser("bench")
    auth.login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return str(request.session.session_key)


def _setup() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    django.setup()


if __name__ == "__main__":
    if sys.argv[1] == "up":
        up(*sys.argv[2:])
    else:
        _setup()
        sys.stdout.write(json.dumps(sow(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
