"""A provider for the benches, in a process of its own: streams that it paces, and calls that it answers at once.

Raw asyncio, so that what is measured is the other side: `python -m dashboard.bench.provider [CERTIFICATE KEY]`. It
speaks Mindra's wire, one event in one HTTP chunk, and takes commands on stdin, one JSON object a line, each answered
by one line.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

TICK_S = 0.002
KEEP_ALIVE_S = 20.0
FILLER = "It looks at each invoice once more, sums up what is open and compares it with the order. " * 8
TEXT_CHARS = 640
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'
N_AT = slice(6, 14)  # where the number of an event stands in its data
MARK_CHARS = 28  # of "[number, moment]", with which an event's text begins


def event(number: int, now: float) -> bytes:
    """One event of about 800 bytes, as an HTTP chunk; its text tells its number and when it was sent (monotonic)."""
    data = b'{"n":"%08d","content":"[%08d %017.6f] %s"}' % (number, number, now, FILLER[:TEXT_CHARS].encode())
    frame = b"event: chunk\ndata: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(frame), frame)


DONE_FRAME = b'event: done\ndata: {"status":"completed","final_answer":""}\n\n'
DONE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE_FRAME), DONE_FRAME)


class Stream(asyncio.Protocol):
    """One connection: a stream under the name that its path has, or calls that are answered."""

    def __init__(self, streams: dict[str, "Stream"], sent: Counter[str]) -> None:
        self._streams, self.sent = streams, sent
        self._asked = b""
        self.name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, rest = self._asked.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            if len(rest) < length:
                return
            self._asked = rest[length:]
            method, path, _ = head.split(b" ", 2)
            if method == b"GET":
                self.name = path.decode().rsplit("/", 2)[-2]
                self._streams[self.name] = self
                self.transport.write(HEAD)
            else:
                self.transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streams.get(self.name) is self:
            del self._streams[self.name]


class Pacer:
    """What the commands do. Streams are chosen by how their names begin."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.sent: Counter[str] = Counter()  # by name: whoever joins a stream again hears what comes next

    def _chosen(self, group: str) -> list[Stream]:
        return [stream for name, stream in sorted(self.streams.items()) if name.startswith(group)]

    async def obey(self, said: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        group = str(said.get("group", ""))
        match said["do"]:
            case "count":
                return {"streams": len(self._chosen(group))}
            case "pace":
                return await self._pace(self._chosen(group), said["per_s"], said["seconds"], said.get("times", ()))
            case "end":
                for stream in self._chosen(group):
                    stream.transport.write(DONE)
                return {}
        raise ValueError(said["do"])

    async def keep_alive(self) -> None:
        """A comment now and then, so that nobody takes a stream whose turn it is not for a dead one."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            for stream in list(self.streams.values()):
                stream.transport.write(b"3\r\n:\n\n\r\n")

    async def _pace(self, chosen: list[Stream], per_s: float, seconds: float, timed: Collection[str]) -> dict[str, Any]:
        """One event at a time, to each stream in turn. `at`: when, on the streams of these names.

        `late_s`: the longest that it was itself behind.
        """
        at: dict[str, list[float]] = {name: [] for name in timed}
        names = [stream.name for stream in chosen]
        began, done, late_s = time.monotonic(), 0, 0.0
        most = int(per_s * seconds)
        cpu = time.process_time()
        while done < most:
            now = time.monotonic()
            due = min(most, int((now - began) * per_s) + 1)
            late_s = max(late_s, (due - done) / per_s)
            while done < due:
                name = names[done % len(names)]
                stream = self.streams.get(name)
                while stream is None:  # it was let go: it comes back, or nothing is measured any more
                    await asyncio.sleep(TICK_S)
                    stream = self.streams.get(name)
                self.sent[name] += 1
                now = time.monotonic()
                if name in at:
                    at[name].append(now)
                stream.transport.write(event(self.sent[name], now))
                done += 1
            await asyncio.sleep(TICK_S)
        took_s = time.monotonic() - began
        sent = {name: self.sent[name] for name in names}
        cpu_s = time.process_time() - cpu
        return {"sent": sent, "done": done, "took_s": took_s, "late_s": late_s, "cpu_s": cpu_s, "at": at}


async def serve(certificate: tuple[str, str] | None) -> None:
    """Serve until stdin ends."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    pacer, loop = Pacer(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Stream(pacer.streams, pacer.sent), "127.0.0.1", 0, backlog=8192, ssl=context
    )
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    keeping = loop.create_task(pacer.keep_alive())
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        sys.stdout.write(json.dumps(await pacer.obey(json.loads(line))) + "\n")
        sys.stdout.flush()
    keeping.cancel()


class Provider:
    """The process, as a bench sees it."""

    def __init__(self, process: "Popen[str]") -> None:
        self._process = process
        self.port = int(self._read()["port"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bench's provider ended by itself")
        said: dict[str, Any] = json.loads(line)
        return said

    def do(self, what: str, **more: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        return self._read()

    async def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """The same, while the loop goes on."""
        return await asyncio.to_thread(self.do, what, **more)


@contextmanager
def provider(*certificate: str) -> Iterator[Provider]:
    """A provider that ends with the block, or with us."""
    command = [sys.executable, "-m", "dashboard.bench.provider", *certificate]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as process:  # noqa: S603
        try:
            yield Provider(process)
        finally:
            process.kill()


def raise_file_limit() -> None:
    """As many files as this process may have."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(serve((sys.argv[1], sys.argv[2]) if len(sys.argv) > 2 else None))
