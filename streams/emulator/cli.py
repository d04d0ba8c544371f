"""The emulator's command line, shared by `python -m streams.emulator` and `manage.py emulate`."""

import argparse
import asyncio
import fcntl
import logging
import os
import resource
import secrets
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from streams.emulator.middesk_stories import AGENTS
from streams.emulator.middesk_webhooks import refuse_url
from streams.emulator.scenarios import SCENARIOS
from streams.emulator.server import WIRES, Emulator, listen, say_where
from streams.emulator.state import State
from streams.emulator.wire import Pace, World

logger = logging.getLogger(__name__)

MANY_FILES = 10_240  # what macOS takes where it names no limit
LOCK_WAIT_S = 5.0  # an emulator whose parent was killed needs a moment to notice


class CannotStart(Exception):
    """The emulator cannot start; the text says why in one sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("kind", choices=[*WIRES, "all"], help="which provider to be; all of them below /KIND")
    parser.add_argument("--port", type=_port, default=0, help="0: the port of the last start if free, else any")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep runs and effects here and go on with them")
    stories = [*SCENARIOS, *AGENTS]
    parser.add_argument(
        "--scenario", choices=stories, default="", help="the scenario of every run whose provider has it"
    )
    parser.add_argument("--seed", type=int, help="vary the words; random if not given")
    parser.add_argument("--pace", choices=["real", "fast"], default="real", help="fast: no waits")
    parser.add_argument("--approval-timeout", type=float, metavar="S", help="Mindra requests lapse after S seconds")
    parser.add_argument("--api-key", default="", help="the one key that Mindra and Middesk take; any if not given")
    parser.add_argument("--middesk-webhook", default="", metavar="URL", help="Middesk's events go here; loopback only")
    parser.add_argument("--middesk-webhook-secret", default="", metavar="S", help="sign them with this")
    parser.add_argument("--parent-pipe", action="store_true", help="end when standard input is closed")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def main(argv: Sequence[str] | None = None) -> int:
    """Run from a shell; the exit code."""
    parser = argparse.ArgumentParser(prog="emulate", description="Be an agent provider, with scenarios and faults.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; 1 with one sentence on stderr where that is not possible."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="emulator: %(message)s")
    try:
        asyncio.run(_serve(options))
    except CannotStart as exc:
        sys.stderr.write(f"emulate: {exc}\n")
        return 1
    return 0


def _allow_many_streams() -> None:
    """Raise the soft limit of open files: each held stream is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES if hard == resource.RLIM_INFINITY else hard, hard))
    except (ValueError, OSError):
        logger.warning("the limit of open files stays as it is")


async def _serve(options: argparse.Namespace) -> None:
    _allow_many_streams()
    if options.middesk_webhook and (why := refuse_url(options.middesk_webhook)):
        raise CannotStart(f"{options.middesk_webhook}: {why}")
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if options.parent_pipe:
        _stop_with_parent(stop)
    directory: Path | None = options.state
    lock = hold(directory) if directory is not None else None
    try:
        world = World(
            state=_state(directory),
            pace=Pace(real=options.pace == "real"),
            seed=options.seed if options.seed is not None else secrets.randbelow(1_000_000),
            scenario=options.scenario,
            api_key=options.api_key,
            approval_timeout_s=options.approval_timeout,
            webhook=options.middesk_webhook,
            webhook_secret=options.middesk_webhook_secret,
        )
        emulator = Emulator(list(WIRES) if options.kind == "all" else [options.kind], world)
        try:
            listener = listen(options.host, options.port, directory / "port" if directory is not None else None)
        except OSError as exc:
            raise CannotStart(f"cannot listen on {options.host} port {options.port}: {exc.strerror}") from exc
        await emulator.start(listener)
        say_where(options.host, listener)
        await stop.wait()
        await emulator.stop()
    finally:
        if lock is not None:
            os.close(lock)


def _state(directory: Path | None) -> State:
    try:
        return State(directory)
    except (OSError, ValueError) as exc:
        raise CannotStart(f"the state cannot be read: {exc}") from exc


def hold(directory: Path) -> int:
    """Hold the state directory alone; the lock goes with the process."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise CannotStart(f"{directory} cannot be used: {exc.strerror}") from exc
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(lock)
                raise CannotStart(f"another emulator uses {directory}") from None
            time.sleep(0.05)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _stop_with_parent(stop: asyncio.Event) -> None:
    """End when the parent does, however it ends: its side of our standard input closes with it."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, name="parent", daemon=True).start()
