"""Threads by purpose, so that one kind of work never waits behind another, each with a database connection of its own.

A connection is kept for a while: opening one costs more than most calls do. A server's is asked before each call
whether it is still there, so that a restart of the server fails no call. The leases' threads keep none: an answer that
never comes must not be waited for on an old connection while a new one would be refused at once.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

KEEP_S = 60.0  # a file may be put back from a copy: then nobody writes into the old one for ever
KEEPS_SERVERS = True
CLOSE_S = 2.0


class Pool:
    """A few threads for blocking calls from the event loop. Its threads start with the first call."""

    def __init__(self, name: str, threads: int, *, keeps: bool = True) -> None:
        self.name, self.threads, self._keeps = name, threads, keeps
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result. A caller that is cancelled waits no longer; the call itself goes on to its end."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix=self.name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(self._with_own_connection, call, *args, **kwargs))

    def _with_own_connection(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        _tidy(self._keeps)
        try:
            return call(*args, **kwargs)
        finally:
            _tidy(self._keeps)

    def close(self) -> None:
        """Wait for the calls that run and let the threads go."""
        if self._executor is not None:
            everybody = threading.Barrier(self.threads)
            for _ in range(self.threads):
                self._executor.submit(_let_go, everybody)
            self._executor.shutdown()
            self._executor = None


_own = threading.local()


def _tidy(keeps: bool) -> None:
    """Keep this thread's connection for a while, unless something was wrong with it."""
    for connection in connections.all(initialized_only=True):
        is_file = connection.vendor == "sqlite"
        if connection.errors_occurred:
            connection.close()
        elif connection.connection is not None and (is_file or (keeps and KEEPS_SERVERS)):
            opened, until = getattr(_own, "kept", (None, 0.0))
            if opened is not connection.connection:
                until = time.monotonic() + KEEP_S
                _own.kept = connection.connection, until
            connection.close_at = until
            connection.health_check_enabled = not is_file  # type: ignore[attr-defined]
        connection.close_if_unusable_or_obsolete()


def _let_go(everybody: threading.Barrier) -> None:
    """The last call of a thread, at the same time as that of the others: so each of them gets one."""
    with suppress(threading.BrokenBarrierError):
        everybody.wait(CLOSE_S)
    _own.kept = None, 0.0
    connections.close_all()


# A renewal must not wait behind the loading of many runs: whoever is late loses them.
leasing = Pool("leasing", 2, keeps=False)
holding = Pool("holding", 2)  # supervisor and holders: what is stored of a run
courier = Pool("courier", 2)
rendering = Pool("rendering", 2)  # fragments for the sockets


def close_all() -> None:
    """At the end of a process."""
    for pool in (leasing, holding, courier, rendering):
        pool.close()
