"""What runs in one process: pages, listener, supervisor, journal, courier, herald; how it begins and ends in time."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from daphne.server import Server, twisted_loop
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from dashboard import memory
from dashboard.wire import EXTENSION, Wire
from streams import announce, offload, secrets, wal
from streams.consumers import listen
from streams.errors import SecretError
from streams.journal import Journal
from streams.leases import AlreadyServed, ServeLock
from streams.models import HolderProcess
from streams.supervisor import Supervisor, raise_file_limit

logger = logging.getLogger(__name__)

BACKLOG = 1024
STOP_S = 4.5  # from the signal to the end; what is not done by then is found again at the next start
APPLICATIONS_S = 1.5  # of which pages and sockets that are open may use
COURIER_S = 3.2
LOOK_S = 0.25  # how often another process's sign of life is looked for

HTTP_S = 120
SOCKET_LIFE_S = 3600
PING_EVERY_S = PING_TIMEOUT_S = 10
MESSAGE_BYTES = 64 * 1024

Part = Callable[[asyncio.Event], Awaitable[None]]


class CannotStart(Exception):
    """The process cannot start; the text says why in one sentence."""


# --- before anything runs ---------------------------------------------------------------------------------------------


def check_host(host: str) -> None:
    """Without origins only loopback is served."""
    if settings.ORIGINS:
        return
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise CannotStart(
            f"{host} can be reached by others: set COUNTERSIGN_ORIGINS to the address people will type, "
            "such as https://approvals.example.org"
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Daphne by itself would report a port in use and exit with 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        why = exc.strerror or str(exc)
        raise CannotStart(f"port {port} of {host} cannot be used: {why}; --port names another one") from exc
    listener.setblocking(False)
    return listener


SQLITE_LEAST = (3, 33)  # UPDATE ... FROM, and statements of more than 999 values


def check_database() -> None:
    """SQLite's version, keys, migrations, and that no other process would miss what an in-memory layer carries."""
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < SQLITE_LEAST:
        least, found = ".".join(map(str, SQLITE_LEAST)), sqlite3.sqlite_version
        raise CannotStart(f"this Python's SQLite is {found}, and {least} or newer is needed; or set DATABASE_URL")
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise CannotStart(f"the database lacks {len(missing)} migrations; `manage.py migrate` applies them")
    try:
        secrets.check_keys()
    except SecretError as exc:
        raise CannotStart(str(exc)) from exc
    if not settings.EMBEDDED and not settings.REDIS_URL:
        check_alone()


def check_alone() -> None:
    """Without Redis one process does everything. One that was killed is waited for until its lease is over too."""
    first = _fresh_holders()
    if first:
        logger.warning("%s ran here lately: waiting for its next sign of life", ", ".join(first))
    while fresh := _fresh_holders():
        for owner, seen_at in fresh.items():
            if seen_at != first.get(owner):
                raise CannotStart(f"REDIS_URL: missing; {owner} runs too, and processes hear each other through Redis")
        time.sleep(LOOK_S)


def _fresh_holders() -> dict[str, datetime]:
    """Processes that may be alive, and when each was last seen."""
    fresh = HolderProcess.objects.filter(seen_at__gt=Now() - timedelta(seconds=settings.LEASE_TTL_S))
    return dict(fresh.values_list("owner", "seen_at"))


def take_lock() -> ServeLock | None:
    """On SQLite one process does everything."""
    if not settings.EMBEDDED:
        return None
    lock = ServeLock(settings.DATA_DIR)
    try:
        lock.take()
    except AlreadyServed as exc:
        raise CannotStart(str(exc)) from exc
    except OSError as exc:
        raise CannotStart(f"the data folder {settings.DATA_DIR} cannot be used: {exc.strerror}") from exc
    return lock


# --- what runs --------------------------------------------------------------------------------------------------------


async def work(stop: asyncio.Event, *parts: Part) -> None:
    """Hold and carry until `stop`, then drain. Raises what ended any part of it: then the process must end too."""
    from approvals import courier, herald, outbox, requests

    announce.use_loop(asyncio.get_running_loop())
    journal = Journal(requests.project)
    journal.start()
    supervisor = Supervisor(journal, alone=settings.EMBEDDED, slots=raise_file_limit(), busy=outbox.on_their_way)
    try:
        await supervisor.begin()
        async with asyncio.TaskGroup() as group:
            decision_due, webhook_due = asyncio.Event(), asyncio.Event()
            carrying = [
                group.create_task(courier.carry(stop, supervisor, wake=decision_due), name="courier"),
                group.create_task(herald.carry(stop, supervisor.owner, wake=webhook_due), name="herald"),
            ]
            running = [
                group.create_task(_pass_on(supervisor.delivery_due, decision_due, webhook_due), name="delivery hints"),
                group.create_task(supervisor.run(), name="supervisor"),
                group.create_task(listen(supervisor), name="listener"),
                group.create_task(journal.watch(), name="journal"),
                group.create_task(wal.keep_short(), name="wal"),
                group.create_task(memory.collect_now_and_then(), name="collector"),
                *(group.create_task(_run(part, stop), name="part") for part in parts),
            ]
            await _until_stopped(stop, carrying)
            await asyncio.wait(carrying, timeout=COURIER_S)
            for task in (*carrying, *running):
                task.cancel()
    finally:
        await supervisor.drain()
        announce.use_loop(None)


async def _run(part: Part, stop: asyncio.Event) -> None:
    await part(stop)


async def _pass_on(heard: asyncio.Event, *wakes: asyncio.Event) -> None:
    """One hint for all who carry something: each of them clears its own."""
    while True:
        await heard.wait()
        heard.clear()
        for wake in wakes:
            wake.set()


async def _until_stopped(stop: asyncio.Event, carrying: "Sequence[asyncio.Task[None]]") -> None:
    """A part that fails ends the group; a courier or herald that just returns would not."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopped, *carrying], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if not stop.is_set():
        raise RuntimeError("the courier or the herald ended by itself")


def hold() -> int:
    """Run the holder alone; the exit code."""
    lock = take_lock()
    check_database()
    if not settings.EMBEDDED and not settings.REDIS_URL:
        raise CannotStart("REDIS_URL: missing; a holder of its own and the pages hear each other through Redis")
    memory.prepare()
    try:
        asyncio.run(_hold())
    except Exception:
        logger.critical("hold: a part failed, the process ends", exc_info=True)
        return 1
    finally:
        offload.close_all()
        if lock is not None:
            lock.release()
    return 0


async def _hold() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    task = asyncio.create_task(work(stop), name="work")
    stopped = asyncio.create_task(stop.wait(), name="stopped")
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await asyncio.wait({task}, timeout=STOP_S)
        if not task.done():
            _end_now("hold", 0)
    stopped.cancel()
    await task


def _end_now(what: str, code: int) -> NoReturn:
    """The end that nobody can delay: a thread that waits for a slow database would keep us."""
    logger.error("%s: the drain took longer than %s s; the next start goes on from what is stored", what, STOP_S)
    logging.shutdown()
    os._exit(code)


# --- pages too --------------------------------------------------------------------------------------------------------


class Daphne(Server):
    """Daphne, with an ear for its own start and an end that nobody can delay."""

    def __init__(self, application: Any, endpoint: str) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            application,
            endpoints=[endpoint],
            http_timeout=HTTP_S,
            websocket_timeout=SOCKET_LIFE_S,
            ping_interval=PING_EVERY_S,
            ping_timeout=PING_TIMEOUT_S,
            websocket_max_message_size=MESSAGE_BYTES,
            websocket_max_frame_size=MESSAGE_BYTES,
            application_close_timeout=5,
            server_name="Countersign",
            verbosity=0,
        )
        self.accepts = asyncio.Event()
        self.failed = False

    def create_application(self, protocol: Any, scope: Any) -> Any:
        """A socket may write to its connection by itself."""
        if scope["type"] == "websocket":
            scope.setdefault("extensions", {})[EXTENSION] = Wire(protocol)
        return super().create_application(protocol, scope)  # type: ignore[no-untyped-call]

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)  # type: ignore[no-untyped-call]
        self.accepts.set()

    def listen_error(self, failure: Any) -> None:
        self.failed = True
        super().listen_error(failure)  # type: ignore[no-untyped-call]

    def kill_all_applications(self) -> Any:
        """Cancel what is open, and wait a moment. (Daphne 4.2's own waits for ever, and idle connections break it.)"""
        instances = [
            instance
            for details in self.connections.values()
            if (instance := details.get("application_instance")) is not None and not instance.done()
        ]
        for instance in instances:
            instance.cancel()

        async def wait() -> None:
            if instances:
                await asyncio.wait(instances, timeout=APPLICATIONS_S)

        return Deferred.fromFuture(asyncio.ensure_future(wait(), loop=twisted_loop))


def serve(host: str, port: int, *, say: Callable[[str], None], parts: Callable[[], tuple[Part, ...]] = tuple) -> int:
    """Run pages, holder and courier on Daphne's loop until a signal; the exit code. Raises CannotStart."""
    check_host(host)
    lock = take_lock()
    listener = bind(host, port)
    check_database()
    from approvals import notices
    from dashboard.asgi import application

    bound = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    notices.use_address(f"http://{shown}:{bound}")
    if listener.family == socket.AF_INET6:  # Daphne's fd endpoint knows IPv4 alone
        listener.close()
        endpoint = f"tcp6:port={bound}:interface={host.replace(':', chr(92) + ':')}"
    else:
        endpoint = f"fd:fileno={listener.detach()}"
    server = Daphne(application, endpoint)
    memory.prepare()
    stop = asyncio.Event()

    async def tell(stop: asyncio.Event) -> None:
        await server.accepts.wait()
        say(f"Countersign: http://{shown}:{bound}/")

    async def everything() -> None:
        try:
            await work(stop, tell, *parts())
        except Exception:
            logger.critical("serve: a part failed, the process ends", exc_info=True)
            server.failed = True
        finally:
            if not stop.is_set():
                server.stop()  # type: ignore[no-untyped-call]

    task = twisted_loop.create_task(everything(), name="work")

    def drain() -> Any:
        stop.set()
        return Deferred.fromFuture(asyncio.ensure_future(asyncio.wait([task], timeout=STOP_S), loop=twisted_loop))

    reactor.addSystemEventTrigger("before", "shutdown", drain)  # type: ignore[arg-type]
    server.run()  # type: ignore[no-untyped-call]
    if not task.done():
        _end_now("serve", int(server.failed))
    if lock is not None:
        lock.release()
    return int(server.failed)
