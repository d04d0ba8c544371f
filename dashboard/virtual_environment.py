"""A checkout's virtual environment: made from the hash-pinned lock files, updated, healed. Standard library only."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOREIGN_PYTHON = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")  # would mix another Python's packages into ours
# Would send packages elsewhere or change what is installed; what names an index, a proxy or a certificate stays.
FOREIGN_PIP = ("TARGET", "PREFIX", "ROOT", "REQUIREMENT", "CONSTRAINT", "NO_DEPS", "NO_BINARY", "ONLY_BINARY")
FOREIGN_UV = ("SYSTEM_PYTHON", "TARGET", "PREFIX", "CONSTRAINT", "OVERRIDE", "NO_BINARY", "NO_BUILD", "PYTHON")
PYTHONS = ((3, 11), (3, 14))  # oldest and newest with wheels for every line of the lock files; so are the next three
OLDEST_GLIBC = (2, 28)
OLDEST_MACOS = 15
MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",)}
OUTPUT_LINES = 12


class BootstrapError(Exception):
    """Countersign cannot start; the text says why, in one sentence."""


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class VirtualEnvironment:
    """`<root>/.venv`. It keeps the Python it was made with, whichever one starts a command: a server may run from it.

    The stamp in it says what it was made from. It is written as unfinished before anything changes and as finished
    after everything has, so an install that was cut short is known as such and made anew.
    """

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp_file(self) -> Path:
        return self.folder / "countersign.json"

    def is_running(self) -> bool:
        """Whether this process runs inside."""
        try:
            return os.path.samefile(sys.prefix, self.folder)
        except OSError:
            return False

    def stamp(self) -> dict[str, Any] | None:
        """What the stamp says: empty if unfinished or unreadable, None if there is none (somebody else's folder)."""
        try:
            read = json.loads(self.stamp_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    def is_sound(self) -> bool:
        """Whether the last install came to its end and the interpreter is still the one that it was made with."""
        stamp = self.stamp() or {}
        return (
            stamp.get("platform") == platform_name()
            and stamp.get("interpreter") == os.path.realpath(self.python)
            and os.access(self.python, os.X_OK)
            and (not self.is_running() or stamp.get("python") == python_version())
        )

    def fits(self, locks: Sequence[str]) -> bool:
        """Whether it is sound and was installed from these lock files as they are now."""
        if not self.is_sound():
            return False
        installed = (self.stamp() or {}).get("locks")
        return isinstance(installed, dict) and all(installed.get(lock) == self.lock_hash(lock) for lock in locks)

    def lock_hash(self, lock: str) -> str:
        try:
            return hashlib.sha256((self.root / lock).read_bytes()).hexdigest()
        except OSError as exc:
            raise BootstrapError(f"cannot read {self.root / lock}: {exc.strerror}.") from exc

    def ensure(self, locks: Sequence[str]) -> bool:
        """Make or update it if it does not fit. True if it was made anew: a process inside must then start again."""
        if self.fits(locks):
            return False
        refuse_unsupported_platform()
        with exclusive(self.root) as lock_fd:
            if self.fits(locks):  # another start did it while this one waited
                return False
            try:
                return self._install(locks, lock_fd)
            except OSError as exc:
                raise BootstrapError(f"cannot prepare {self.folder}: {exc}.") from exc

    def _install(self, locks: Sequence[str], lock_fd: int) -> bool:
        started = time.monotonic()
        say("Preparing the environment (once, about 30 s) ...")
        keep = self.is_sound() or (self.stamp() is None and self._version(lock_fd) is not None)
        known = (self.stamp() or {}).get("locks", {}) if keep else {}
        self._begin(keep=keep)
        if not keep:
            self._create(lock_fd)
        install_packages(self, locks, lock_fd)
        stamp = {
            "python": self._version(lock_fd),
            "platform": platform_name(),
            "interpreter": os.path.realpath(self.python),
            "locks": known | {lock: self.lock_hash(lock) for lock in locks},
        }
        self._write_stamp(stamp)
        say(f"The environment is ready after {time.monotonic() - started:.0f} s.")
        return not keep

    def _begin(self, *, keep: bool) -> None:
        """Mark the folder as unfinished and, unless it can be kept, empty it; if killed here, the next start does."""
        if self.folder.is_file() or (self.folder.is_symlink() and not self.folder.is_dir()):
            self.folder.unlink()
        self.folder.mkdir(exist_ok=True)
        self._write_stamp({})
        for entry in () if keep else self.folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.stamp_file:
                entry.unlink()

    def _create(self, lock_fd: int) -> None:
        if find_spec("venv") is None or (find_spec("ensurepip") is None and shutil.which("uv") is None):
            raise BootstrapError(
                f"this Python lacks ensurepip; on Debian or Ubuntu `apt install python{python_version()}-venv` adds it."
            )
        base = getattr(sys, "_base_executable", "") or sys.executable  # not the one in the folder that is made anew
        made = run([base, "-I", "-m", "venv", "--without-pip", str(self.folder)], lock_fd)
        if made.returncode:
            raise BootstrapError(f"cannot make {self.folder}; Python said:\n{last_lines(made.stdout)}")

    def _version(self, lock_fd: int) -> str | None:
        """X.y of the interpreter in it; None if that does not start or is too old."""
        code = f"import sys; sys.exit(sys.version_info < {PYTHONS[0]} or print('%d.%d' % sys.version_info[:2]))"
        try:
            told = run([str(self.python), "-I", "-c", code], lock_fd)
        except OSError:
            return None
        return told.stdout.strip() if told.returncode == 0 else None

    def _write_stamp(self, stamp: dict[str, Any]) -> None:
        draft = self.stamp_file.with_suffix(".new")
        draft.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.stamp_file)


def python_version() -> str:
    return dotted(sys.version_info[:2])


def dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def platform_name() -> str:
    return f"{sys.platform}-{platform.machine()}"


def refuse_unsupported_platform() -> None:
    """Raise unless the lock files have wheels for this Python on this machine."""
    oldest, newest = map(dotted, PYTHONS)
    machines = MACHINES.get(sys.platform, ())
    if not machines or sys.implementation.name != "cpython":
        unmet = "CPython on Linux or macOS"
    elif not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        unmet = f"Python {oldest} to {newest}, and this is {python_version()}"
    elif platform.machine() not in machines:
        unmet = f"a processor of the kind {' or '.join(machines)}, and this is {platform.machine()}"
    elif sys.platform == "linux" and glibc_version() < OLDEST_GLIBC:
        unmet = f"Linux with glibc {dotted(OLDEST_GLIBC)} or newer"
    elif sys.platform == "darwin" and int(platform.mac_ver()[0].partition(".")[0] or 0) < OLDEST_MACOS:
        unmet = f"macOS {OLDEST_MACOS} or newer"
    else:
        return
    raise BootstrapError(
        f"its ready-built packages need {unmet}; with packages of your own, set COUNTERSIGN_BOOTSTRAP=0."
    )


def glibc_version() -> tuple[int, ...]:
    """Of the running C library; (0,) where it is another one, such as musl."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        return (0,)
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0,)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[int]:
    """Hold the folder's lock file, waiting for another start that has it; yields its descriptor, for child processes.

    A child that inherits it keeps the lock when this process is killed: nobody works beside an orphaned installer.
    """
    import fcntl  # missing on Windows, where this file must still say that it does not run there

    path = folder / ".venv.lock"
    lock_fd = -1
    try:
        try:
            lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another start is at work here; waiting for it ...")
                fcntl.flock(lock_fd, fcntl.LOCK_EX)
        except OSError as exc:
            raise BootstrapError(f"cannot write {path}: {exc.strerror}.") from exc
        yield lock_fd
    finally:
        if lock_fd >= 0:
            os.close(lock_fd)


def install_packages(environment: VirtualEnvironment, locks: Sequence[str], lock_fd: int) -> None:
    """Install the locked wheels: by uv if it is there and works, else by pip."""
    python = str(environment.python)
    what = ["--require-hashes", "--only-binary", ":all:", *(part for lock in locks for part in ("-r", lock))]
    if uv := shutil.which("uv"):
        done = run([uv, "pip", "install", "--quiet", "--python", python, *what], lock_fd, cwd=environment.root)
        if done.returncode == 0:
            return
    if run([python, "-I", "-m", "pip", "--version"], lock_fd).returncode:
        made = run([python, "-I", "-m", "ensurepip"], lock_fd)
        if made.returncode:
            raise BootstrapError(f"cannot install pip; Python said:\n{last_lines(made.stdout)}")
    done = run([python, "-I", "-m", "pip", "install", "--quiet", "--no-input", *what], lock_fd, cwd=environment.root)
    if done.returncode:
        raise BootstrapError(f"cannot install the packages; pip said:\n{last_lines(done.stdout)}")


def run(command: list[str], lock_fd: int, *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a step of the set-up: no input, output and errors together, the lock held by it too."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=installer_environ(),
        cwd=cwd,
        pass_fds=(lock_fd,),
        check=False,
    )


def installer_environ() -> dict[str, str]:
    dropped = {*FOREIGN_PYTHON, *(f"PIP_{name}" for name in FOREIGN_PIP), *(f"UV_{name}" for name in FOREIGN_UV)}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def last_lines(output: str) -> str:
    return "\n".join(f"  {line}" for line in output.strip().splitlines()[-OUTPUT_LINES:])
