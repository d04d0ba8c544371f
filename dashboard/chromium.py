"""A Chromium for the browser tests: where it is, and Debian's where it is not; standard library only."""

import os
import shutil
import subprocess
from pathlib import Path

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
STEP_S = 600


def find() -> str | None:
    """The path of a Chromium or Chrome: the variable CHROMIUM and nothing else if it is set, else the usual places."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    found = (shutil.which(command) for command in COMMANDS)
    apps = (str(app) for app in APPS if os.access(app, os.X_OK))
    return next((path for path in (*found, *apps) if path), None)


def install() -> str:
    """Install Debian's; why that was not possible, or nothing."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "there is no apt-get here; install Chromium or name one in CHROMIUM"
    if os.geteuid() == 0:
        command = [apt]
    elif sudo := shutil.which("sudo"):
        command = [sudo, "-n", apt]
    else:
        return "only root may install it; install Chromium or name one in CHROMIUM"
    _run([*command, "update", "--quiet=2"])  # a failure does no harm where the package lists are there already
    install = [*command, "install", "--quiet=2", "--yes", "--no-install-recommends"]
    # The same engine without the window that nobody sees, which costs twice as much as the page in it.
    return _run([*install, "chromium-headless-shell"]) and _run([*install, "chromium"])


def _run(command: list[str]) -> str:
    """The last line of what a failed command said, or nothing."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            timeout=STEP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    said = done.stdout.strip().rpartition("\n")[2]
    return (said or f"{command[0]} failed") if done.returncode else ""
