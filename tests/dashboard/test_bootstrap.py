"""manage.py before Django: in a checkout of its own, with an installer that only notes what it is asked; no network."""

import ast
import contextlib
import json
import os
import platform
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboard import bootstrap, chromium, virtual_environment
from dashboard.virtual_environment import BootstrapError, VirtualEnvironment

ROOT = Path(__file__).resolve().parents[2]
PARTS = [
    "manage.py",
    *(f"dashboard/{name}.py" for name in ("__init__", "bootstrap", "chromium", "virtual_environment")),
]
TIME_LIMIT_S = 60
UV = """#!/bin/sh
echo "$@" >> {root}/installed
"""
DJANGO = """
import json, os, sys
def execute_from_command_line(argv):
    print(json.dumps({"argv": argv[1:], "prefix": sys.prefix, "environ": dict(os.environ)}))
"""
PYTEST = """
import os, sys
print(sys.prefix, os.environ.get("CHROMIUM"), *sys.argv[1:])
sys.exit(7)
"""


class Checkout:
    """A copy of what manage.py needs, with stand-ins for uv, Django, pytest and Chromium."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = root / "tools"
        for part in PARTS:
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, root / part)
        (root / "django/core").mkdir(parents=True)
        (root / "django/core/management.py").write_text(DJANGO)
        (root / "django/core/exceptions.py").write_text("class ImproperlyConfigured(Exception): pass\n")
        (root / "pytest.py").write_text(PYTEST)
        for lock in bootstrap.DEVELOPMENT:
            (root / lock).write_text("# nothing\n")
        self.tool("uv", UV.format(root=root))
        self.environment = VirtualEnvironment(root)

    def tool(self, name: str, script: str) -> Path:
        self.tools.mkdir(exist_ok=True)
        (self.tools / name).write_text(script)
        (self.tools / name).chmod(0o755)
        return self.tools / name

    @property
    def installs(self) -> list[str]:
        noted = self.root / "installed"
        return noted.read_text().splitlines() if noted.exists() else []

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def start(self, *arguments: str, python: str = sys.executable, **environ: str) -> subprocess.Popen[str]:
        command = [python, str(self.root / "manage.py"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environ(**environ), stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, python: str = sys.executable, **environ: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, python=python, **environ) as started:
            out, err = started.communicate(timeout=TIME_LIMIT_S)
        return subprocess.CompletedProcess(arguments, started.returncode, out, err)

    def files(self) -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in self.root.rglob("*")}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    monkeypatch.setenv("PATH", made.environ()["PATH"])
    return made


@pytest.fixture
def prepared(checkout: Checkout) -> Checkout:
    assert checkout.environment.ensure(bootstrap.RUNTIME)
    return checkout


@contextlib.contextmanager
def pipe_at(path: Path) -> Iterator[int]:
    """A named pipe, open at both ends, so that neither side waits for the other to open it."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], TIME_LIMIT_S)[0])


# --- the whole way, as a process --------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_command_runs_inside_the_environment_that_it_makes(checkout: Checkout) -> None:
    ran = checkout.run("check", "--deploy", PYTHONPATH="/elsewhere", PYTHONHOME=sys.base_prefix)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["argv"] == ["check", "--deploy"]
    assert seen["prefix"] == str(checkout.root / ".venv")
    assert not {"PYTHONPATH", "PYTHONHOME", bootstrap.GUARD} & set(seen["environ"])
    assert len(checkout.installs) == 1
    assert "--require-hashes --only-binary :all: -r requirements.txt" in checkout.installs[0]
    assert "Preparing the environment" in ran.stderr


@pytest.mark.process
def test_a_warm_start_writes_nothing(prepared: Checkout) -> None:
    before = prepared.files()
    ran = prepared.run("check")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert prepared.files() == before


@pytest.mark.process
def test_a_start_from_inside_needs_no_second_one(prepared: Checkout) -> None:
    ran = prepared.run("check", python=str(prepared.environment.python), PYTHONPATH="/elsewhere")
    assert json.loads(ran.stdout)["prefix"] == str(prepared.environment.folder)
    assert "PYTHONPATH" not in json.loads(ran.stdout)["environ"]


@pytest.mark.process
def test_an_interpreter_that_does_not_start_inside_ends_in_a_sentence(prepared: Checkout) -> None:
    (prepared.environment.folder / "pyvenv.cfg").unlink()
    ran = prepared.run("check")
    assert ran.returncode == 1
    assert "does not start inside its folder" in ran.stderr


@pytest.mark.process
def test_the_test_command_becomes_pytest_with_both_locks_and_a_chromium(checkout: Checkout) -> None:
    found = checkout.tool("chromium-headless-shell", "#!/bin/sh\n")
    ran = checkout.run("test", "-k", "name")
    assert ran.returncode == 7
    assert ran.stdout.split() == [str(checkout.environment.folder), str(found), "-k", "name"]
    assert checkout.installs[0].endswith("-r requirements.txt -r requirements-dev.txt")
    assert checkout.run("check").stderr == ""  # the runtime lock is in it too


@pytest.mark.process
def test_a_start_waits_for_the_installer_of_one_that_was_killed_and_begins_anew(checkout: Checkout) -> None:
    with pipe_at(checkout.root / "begun") as begun, pipe_at(checkout.root / "gate") as gate:
        checkout.tool("uv", f"#!/bin/sh\necho > {checkout.root}/begun\nread line < {checkout.root}/gate\n")
        with checkout.start("check") as first:
            assert readable(begun)  # its installer is at work
            first.send_signal(signal.SIGKILL)
            first.wait(TIME_LIMIT_S)
            checkout.tool("uv", UV.format(root=checkout.root))
            with checkout.start("check") as second:
                assert second.stderr is not None
                assert readable(second.stderr.fileno())
                assert "waiting for it" in second.stderr.readline()
                assert checkout.installs == []
                os.write(gate, b"\n")  # the orphan may end now
                _, err = second.communicate(timeout=TIME_LIMIT_S)
    assert second.returncode == 0, err
    assert len(checkout.installs) == 1


@pytest.mark.process
def test_without_bootstrap_the_missing_package_is_named(checkout: Checkout) -> None:
    project = '[project]\ndependencies = ["no-such-package[extra]>=1,<2"]\n'
    (checkout.root / "pyproject.toml").write_text(project)
    ran = checkout.run("check", COUNTERSIGN_BOOTSTRAP="0")
    assert ran.returncode == 1
    assert "lacks the package no-such-package; install requirements.txt" in ran.stderr
    assert not checkout.environment.folder.exists()


@pytest.mark.process
def test_a_failed_install_ends_with_the_last_lines_of_pip(checkout: Checkout) -> None:
    checkout.tool("uv", "#!/bin/sh\nexit 2\n")
    (checkout.root / "requirements.txt").write_text(f"no-such-package==1 --hash=sha256:{'0' * 64}\n")
    ran = checkout.run("check", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert ran.returncode == 1
    assert "cannot install the packages; pip said:" in ran.stderr
    assert "no-such-package" in ran.stderr.splitlines()[-1]
    assert checkout.environment.stamp() == {}


@pytest.mark.parametrize("version", [(2, 7), (3, 8), (3, 10)])
def test_an_old_python_is_told_in_one_sentence(version: tuple[int, int]) -> None:
    pretend = f"import sys; sys.version_info = {version!r}; exec(open({str(ROOT / 'manage.py')!r}).read())"
    ran = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, timeout=TIME_LIMIT_S)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Countersign cannot start: it needs Python 3.11 or newer")
    assert ran.stderr.count("\n") == 1


def test_an_old_python_can_read_manage_py() -> None:
    tree = ast.parse((ROOT / "manage.py").read_text(), feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.FunctionDef)]


# --- the environment --------------------------------------------------------------------------------------------------


def test_it_is_made_once(prepared: Checkout) -> None:
    assert prepared.environment.fits(bootstrap.RUNTIME)
    assert not prepared.environment.ensure(bootstrap.RUNTIME)
    assert len(prepared.installs) == 1


def test_a_changed_lock_is_installed_into_the_same_environment(prepared: Checkout) -> None:
    kept = prepared.environment.folder / "kept"
    kept.touch()
    (prepared.root / "requirements.txt").write_text("# another\n")
    assert not prepared.environment.fits(bootstrap.RUNTIME)
    assert not prepared.environment.ensure(bootstrap.RUNTIME)
    assert kept.exists()
    assert len(prepared.installs) == 2


def test_the_development_lock_adds_to_the_runtime_one(prepared: Checkout) -> None:
    assert not prepared.environment.fits(bootstrap.DEVELOPMENT)
    prepared.environment.ensure(bootstrap.DEVELOPMENT)
    assert prepared.environment.fits(bootstrap.DEVELOPMENT)
    assert prepared.environment.fits(bootstrap.RUNTIME)


def unfinish(environment: VirtualEnvironment) -> None:
    environment.stamp_file.write_text("{}")


def garble(environment: VirtualEnvironment) -> None:
    environment.stamp_file.write_text('{"python": ')


def delete_interpreter(environment: VirtualEnvironment) -> None:
    environment.python.unlink()
    environment.python.symlink_to("/nonexistent/python3")


def swap_interpreter(environment: VirtualEnvironment) -> None:
    environment.python.unlink()
    environment.python.symlink_to("/bin/sh")


def change_platform(environment: VirtualEnvironment) -> None:
    stamp = environment.stamp() or {}
    environment.stamp_file.write_text(json.dumps(stamp | {"platform": "linux-riscv64"}))


def replace_by_file(environment: VirtualEnvironment) -> None:
    shutil.rmtree(environment.folder)
    environment.folder.write_text("not a folder")


def replace_by_dead_link(environment: VirtualEnvironment) -> None:
    shutil.rmtree(environment.folder)
    environment.folder.symlink_to(environment.root / "gone")


BREAKS = [
    unfinish,
    garble,
    delete_interpreter,
    swap_interpreter,
    change_platform,
    replace_by_file,
    replace_by_dead_link,
]


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_broken_environment_is_made_anew(prepared: Checkout, break_it: Callable[[VirtualEnvironment], None]) -> None:
    leftover = prepared.environment.folder / "lib" / "leftover"
    leftover.touch()
    break_it(prepared.environment)
    assert prepared.environment.ensure(bootstrap.RUNTIME)
    assert prepared.environment.fits(bootstrap.RUNTIME)
    assert not leftover.exists()


def test_an_environment_of_somebody_else_is_completed_not_emptied(prepared: Checkout) -> None:
    kept = prepared.environment.folder / "kept"
    kept.touch()
    prepared.environment.stamp_file.unlink()
    assert not prepared.environment.ensure(bootstrap.RUNTIME)
    assert kept.exists()
    assert prepared.environment.fits(bootstrap.RUNTIME)


def test_the_stamp_is_unfinished_while_the_installer_works(checkout: Checkout) -> None:
    stamp = checkout.environment.stamp_file
    checkout.tool("uv", f"#!/bin/sh\ncat {stamp} > {checkout.root}/seen\n")
    checkout.environment.ensure(bootstrap.RUNTIME)
    assert json.loads((checkout.root / "seen").read_text()) == {}


def test_a_python_without_ensurepip_names_the_package(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout.tools / "uv").unlink()
    monkeypatch.setenv("PATH", str(checkout.tools))
    monkeypatch.setattr(virtual_environment, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(BootstrapError, match=rf"`apt install python{sys.version_info[0]}\.{sys.version_info[1]}-venv`"):
        checkout.environment.ensure(bootstrap.RUNTIME)


def test_a_folder_that_cannot_be_written_is_named(checkout: Checkout) -> None:
    (checkout.root / ".venv.lock").mkdir()
    with pytest.raises(BootstrapError, match=r"cannot write .*/\.venv\.lock"):
        checkout.environment.ensure(bootstrap.RUNTIME)


def test_a_missing_lock_file_is_named(prepared: Checkout) -> None:
    (prepared.root / "requirements.txt").unlink()
    with pytest.raises(BootstrapError, match="cannot read .*requirements.txt"):
        prepared.environment.fits(bootstrap.RUNTIME)


def test_settings_that_send_packages_elsewhere_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_TARGET", "PIP_INDEX_URL", "PYTHONPATH", "UV_SYSTEM_PYTHON"):
        monkeypatch.setenv(name, "x")
    environ = virtual_environment.installer_environ()
    assert not {"PIP_TARGET", "PYTHONPATH", "UV_SYSTEM_PYTHON"} & set(environ)
    assert environ["PIP_INDEX_URL"] == "x"
    assert environ["PIP_USER"] == "0"


@pytest.mark.parametrize(
    ("system", "machine", "version", "libc", "needs"),
    [
        ("linux", "x86_64", (3, 11), "glibc 2.28", ""),
        ("linux", "aarch64", (3, 14), "glibc 2.41", ""),
        ("darwin", "arm64", (3, 12), "", ""),
        ("linux", "x86_64", (3, 15), "glibc 2.41", "need Python 3.11 to 3.14, and this is 3.15"),
        ("linux", "x86_64", (3, 12), "glibc 2.17", "need Linux with glibc 2.28 or newer"),
        ("linux", "x86_64", (3, 12), "", "need Linux with glibc 2.28 or newer"),
        ("linux", "riscv64", (3, 12), "glibc 2.41", "need a processor of the kind x86_64 or aarch64"),
        ("darwin", "x86_64", (3, 12), "", "need a processor of the kind arm64"),
        ("win32", "AMD64", (3, 12), "", "need CPython on Linux or macOS"),
    ],
)
def test_a_machine_without_wheels_is_told_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, version: tuple[int, int], libc: str, needs: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), machine))
    monkeypatch.setattr(os, "confstr", lambda name: libc)
    if not needs:
        virtual_environment.refuse_unsupported_platform()
        return
    with pytest.raises(BootstrapError, match=needs):
        virtual_environment.refuse_unsupported_platform()


def test_an_old_macos_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.6", ("", "", ""), "arm64"))
    with pytest.raises(BootstrapError, match="need macOS 15 or newer"):
        virtual_environment.refuse_unsupported_platform()


# --- the start --------------------------------------------------------------------------------------------------------


class Replaced(Exception):
    """Stands for the process that would be there now: (command, environment)."""


@pytest.fixture
def started(prepared: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    def replace(command: list[str], environ: dict[str, str]) -> None:
        raise Replaced(command, environ)

    monkeypatch.setattr(bootstrap, "ROOT", prepared.root)
    monkeypatch.setattr(bootstrap, "replace_process", replace)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-W", "error", "manage.py", "check"])
    monkeypatch.delenv("COUNTERSIGN_BOOTSTRAP", raising=False)
    return prepared


def test_the_command_is_executed_again_as_it_was_given(started: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with pytest.raises(Replaced) as now:
        bootstrap.main(["manage.py", "check"])
    command, environ = now.value.args
    assert command == [str(started.environment.python), "-W", "error", "manage.py", "check"]
    assert environ[bootstrap.GUARD] == "1"
    assert "PYTHONPATH" not in environ


def test_it_is_executed_again_once_at_most(
    started: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(bootstrap.GUARD, "1")
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["manage.py", "check"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Countersign cannot start: ")


def test_tests_go_on_without_a_chromium_and_say_so(
    started: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "find", lambda: None)
    monkeypatch.setattr(chromium, "install", lambda: "no such package")
    monkeypatch.chdir(started.root)
    with pytest.raises(Replaced) as now:
        bootstrap.run_tests(["-x"])
    command, environ = now.value.args
    assert command == [sys.executable, "-m", "pytest", "-x"]
    assert "CHROMIUM" not in environ
    assert "the browser tests are skipped: no such package." in capsys.readouterr().err


def test_a_broken_variable_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_BOOTSTRAP", "0")
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR_FILE", "/nonexistent/file")
    monkeypatch.delenv("COUNTERSIGN_DATA_DIR")
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["manage.py", "up"])
    assert ended.value.code == 1
    assert "Countersign cannot start: COUNTERSIGN_DATA_DIR_FILE: cannot read" in capsys.readouterr().err


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("COUNTERSIGN_SECRET_KEY", "COUNTERSIGN_FIELD_KEYS", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "new" / "data"
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(folder))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    yield folder


def test_the_first_keys_are_for_the_owner_alone_and_fit(data_dir: Path) -> None:
    from cryptography.fernet import Fernet

    bootstrap.make_keys()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert sorted(path.name for path in data_dir.iterdir()) == ["field_keys", "secret_key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()} == {0o600}
    assert Fernet((data_dir / "field_keys").read_text().strip())
    assert len((data_dir / "secret_key").read_text().strip()) >= 50


def test_keys_that_are_there_stay(data_dir: Path) -> None:
    bootstrap.make_keys()
    before = {path: path.read_text() for path in data_dir.iterdir()}
    bootstrap.make_keys()
    assert {path: path.read_text() for path in data_dir.iterdir()} == before


@pytest.mark.parametrize("name", ["secret_key", "field_keys"])
def test_a_lost_key_is_never_replaced(data_dir: Path, name: str) -> None:
    bootstrap.make_keys()
    (data_dir / bootstrap.DATABASE_FILE).touch()
    (data_dir / name).unlink()
    with pytest.raises(BootstrapError, match=f"{name} is missing"):
        bootstrap.make_keys()
    assert not (data_dir / name).exists()


def test_keys_that_are_given_are_not_made(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_FIELD_KEYS", "given")
    bootstrap.make_keys()
    assert [path.name for path in data_dir.iterdir()] == ["secret_key"]


def test_with_a_database_url_no_key_is_made(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://127.0.0.1/x")
    bootstrap.make_keys()
    assert list(data_dir.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_named(data_dir: Path) -> None:
    data_dir.parent.write_text("a file")
    with pytest.raises(BootstrapError, match="cannot write to the data folder .*; COUNTERSIGN_DATA_DIR names another"):
        bootstrap.make_keys()


def test_the_database_file_is_the_one_in_the_settings() -> None:
    assert f'DATA_DIR / "{bootstrap.DATABASE_FILE}"' in (ROOT / "dashboard" / "settings.py").read_text()


# --- Chromium ---------------------------------------------------------------------------------------------------------


def test_chromium_is_the_one_that_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout.tools))
    monkeypatch.setattr(chromium, "APPS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert chromium.find() is None
    usual = checkout.tool("google-chrome", "#!/bin/sh\n")
    named = checkout.tool("my-chromium", "#!/bin/sh\n")
    assert chromium.find() == str(usual)
    monkeypatch.setenv("CHROMIUM", str(named))
    assert chromium.find() == str(named)
    monkeypatch.setenv("CHROMIUM", "/nonexistent/chromium")
    assert chromium.find() is None


def test_chromium_is_installed_by_root_or_by_sudo_that_does_not_ask(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = checkout.root / "asked"
    monkeypatch.setenv("PATH", f"{checkout.tools}:/usr/bin:/bin")
    checkout.tool("apt-get", f'#!/bin/sh\necho "$@" >> {asked}\n')
    checkout.tool("sudo", f'#!/bin/sh\necho "sudo $1" >> {asked}\nshift\nexec "$@"\n')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert chromium.install() == ""
    said = asked.read_text()
    assert said.splitlines()[:2] == ["sudo -n", "update --quiet=2"]
    assert said.splitlines()[2:] == [
        "sudo -n",
        "install --quiet=2 --yes --no-install-recommends chromium-headless-shell",
    ]


def test_where_there_is_no_chromium_without_a_window_the_other_is_installed(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = checkout.root / "asked"
    monkeypatch.setenv("PATH", f"{checkout.tools}:/usr/bin:/bin")
    checkout.tool("apt-get", f'#!/bin/sh\necho "$@" >> {asked}\ncase "$*" in *headless*) exit 100;; esac\n')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chromium.install() == ""
    assert asked.read_text().splitlines()[-1].endswith(" chromium")


def test_why_chromium_could_not_be_installed_is_told(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{checkout.tools}:/usr/bin:/bin")
    checkout.tool("apt-get", "#!/bin/sh\necho reading\necho 'E: Unable to locate package chromium'\nexit 100\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chromium.install() == "E: Unable to locate package chromium"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(checkout.tools))
    assert "only root may install it" in chromium.install()
    (checkout.tools / "apt-get").unlink()
    assert "there is no apt-get" in chromium.install()
