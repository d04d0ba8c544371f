"""What manage.py does before Django is there: enter the environment, make the first keys, run the tests.

Standard library only. `COUNTERSIGN_BOOTSTRAP=0` uses the running interpreter as it is (Docker, an own environment).
"""

import base64
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dashboard import chromium
from dashboard.virtual_environment import FOREIGN_PYTHON, BootstrapError, VirtualEnvironment, exclusive, say

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("requirements.txt",)
DEVELOPMENT = ("requirements.txt", "requirements-dev.txt")
GUARD = "COUNTERSIGN_BOOTSTRAPPED"  # set across the one re-exec
DATABASE_FILE = "countersign.sqlite3"  # as settings.py names it


def main(argv: list[str]) -> None:
    """Run one command of manage.py. Where it cannot start, one sentence on stderr and exit code 1."""
    try:
        if argv[1:2] == ["test"]:
            enter(DEVELOPMENT)
            run_tests(argv[2:])
        enter(RUNTIME)
        run_django(argv)
    except BootstrapError as exc:
        say(f"Countersign cannot start: {exc}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def enter(locks: Sequence[str]) -> None:
    """Return inside an interpreter that has the locked packages; executes this command again, once, to get there."""
    if os.environ.get("COUNTERSIGN_BOOTSTRAP") == "0":
        return name_missing_package(locks)
    environment = VirtualEnvironment(ROOT)
    made_anew = environment.ensure(locks)
    if made_anew or not environment.is_running():
        if os.environ.get(GUARD):
            raise BootstrapError(f"{environment.python} does not start inside its folder; remove {environment.folder}.")
        environ = {name: value for name, value in os.environ.items() if name not in FOREIGN_PYTHON}
        replace_process([str(environment.python), *sys.orig_argv[1:]], environ | {GUARD: "1"})
    for name in (GUARD, *FOREIGN_PYTHON):
        os.environ.pop(name, None)  # not for our children either


def name_missing_package(locks: Sequence[str]) -> None:
    """Raise with the first package that pyproject.toml asks for and the running interpreter does not have."""
    import re
    import tomllib
    from importlib import metadata

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    if locks == DEVELOPMENT:
        wanted += project["dependency-groups"]["dev"]
    for name in (re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in wanted):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError as exc:
            files = " and ".join(locks)
            raise BootstrapError(f"{sys.executable} lacks the package {name}; install {files} for it.") from exc


def run_django(argv: list[str]) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    try:
        if argv[1:2] == ["up"] and not {"-h", "--help"} & set(argv):
            make_keys()
        execute_from_command_line(argv)
    except ImproperlyConfigured as exc:
        raise BootstrapError(str(exc)) from exc


def run_tests(arguments: list[str]) -> NoReturn:
    """Become pytest, with CHROMIUM set where one can be had."""
    os.chdir(ROOT)
    path = chromium.find()
    if path is None and "CHROMIUM" not in os.environ:
        say("Installing Chromium for the browser tests (once, about a minute) ...")
        why = chromium.install()
        path = chromium.find()
        if path is None:
            say(f"There is no Chromium, so the browser tests are skipped: {why or 'apt-get brought none'}.")
    environ = {**os.environ, "CHROMIUM": path} if path else {**os.environ}
    replace_process([sys.executable, "-m", "pytest", *arguments], environ)


def replace_process(command: list[str], environ: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(command[0], command, environ)
    except OSError as exc:
        raise BootstrapError(f"cannot run {command[0]}: {exc.strerror}.") from exc


# --- the keys of a first `up` -----------------------------------------------------------------------------------------


def make_keys() -> None:
    """Make the data folder and the keys that are missing in it; with DATABASE_URL keys are given, never made."""
    from dashboard import env

    folder = Path(env.text("COUNTERSIGN_DATA_DIR", str(ROOT / "var"))).expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        if env.text("DATABASE_URL"):
            return
        with exclusive(lock_folder(folder)):
            if not env.text("COUNTERSIGN_SECRET_KEY"):
                make_key(folder / "secret_key", secrets.token_urlsafe(50))
            if not env.text("COUNTERSIGN_FIELD_KEYS"):
                fernet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
                make_key(folder / "field_keys", fernet_key)
    except OSError as exc:
        raise BootstrapError(
            f"cannot write to the data folder {folder}: {exc.strerror}; COUNTERSIGN_DATA_DIR names another one."
        ) from exc


def lock_folder(data_dir: Path) -> Path:
    """Where the lock file is that `up` holds: beside .venv, or in the data folder if the program's own is read-only."""
    return ROOT if os.access(ROOT, os.W_OK) else data_dir


def make_key(path: Path, key: str) -> None:
    """Write a key that is not there yet: whole or not at all, for its owner alone, never in place of another."""
    if path.exists():
        return
    if (path.parent / DATABASE_FILE).exists():
        raise BootstrapError(f"{path} is missing, and the database was written with it; put it back.")
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    key_fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(key_fd, "w", encoding="ascii") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # refuses a name that exists
    finally:
        draft.unlink()
