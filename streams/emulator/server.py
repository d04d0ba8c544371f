"""The emulator as a whole: which path belongs to which provider, and what it tells about itself."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.emulator.agno import Agno
from streams.emulator.agui import AgUi
from streams.emulator.faults import CATALOGUE, UnknownFault, make
from streams.emulator.http import MAX_HEAD_BYTES, BadRequest, Connection, Hangup, Request
from streams.emulator.langgraph import LangGraph
from streams.emulator.middesk import Middesk
from streams.emulator.mindra import Mindra
from streams.emulator.state import Approval, Run, sha256
from streams.emulator.wire import Wire, World

logger = logging.getLogger(__name__)

# A further provider is one more row: its prefix is its kind.
WIRES: Mapping[str, Callable[[World], Wire]] = {
    "mindra": Mindra,
    "agui": AgUi,
    "middesk": Middesk,
    "langgraph": LangGraph,
    "agno": Agno,
}
STOP_S = 2.0


class Emulator:
    """One server. Each provider answers below its prefix.

    Mindra answers at the root as well: its `stream_url` begins with a slash, and a client may join that to the base
    URL or resolve it against it. A provider that is alone answers at the root too.
    """

    def __init__(self, kinds: Sequence[str], world: World) -> None:
        self._world = world
        self._wires = {kind: WIRES[kind](world) for kind in kinds}
        self._at_root = self._wires.get("mindra") or (next(iter(self._wires.values())) if len(kinds) == 1 else None)
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Take the open runs up again and serve."""
        for wire in self._wires.values():
            wire.go_on()
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=MAX_HEAD_BYTES)

    async def stop(self) -> None:
        """Break every connection and end all work."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections.values():
            connection.writer.transport.abort()  # each handler ends by itself; asyncio 3.11 complains of cancelled ones
        if self._connections:
            await asyncio.wait(self._connections, timeout=STOP_S)
        for wire in self._wires.values():
            await wire.stop()
        self._world.state.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._connections[task] = Connection(reader, writer)
        try:
            while not connection.spent and (request := await connection.read_request()) is not None:
                await self._handle(request, connection)
        except BadRequest as exc:
            connection.spent = True
            try:
                await connection.answer_json(400, {"error": str(exc)})
            except Hangup:
                pass
        except (Hangup, ConnectionError):
            pass
        except Exception:  # one broken request must not end the server
            logger.exception("a request failed")
        finally:
            del self._connections[task]
            writer.close()

    async def _handle(self, request: Request, connection: Connection) -> None:
        first, _, rest = request.path.lstrip("/").partition("/")
        if first.startswith("_"):
            await self._tell(request, connection)
        elif first in self._wires:
            await self._wires[first].handle(request, rest, connection)
        elif self._at_root is not None:
            await self._at_root.handle(request, request.path, connection)
        else:
            await connection.answer_json(404, {"error": "Each provider is below its name.", "see": list(self._wires)})

    # -- what it tells about itself

    async def _tell(self, request: Request, connection: Connection) -> None:
        state = self._world.state
        match request.method, request.path:
            case "GET", "/_effects":
                answer: object = {"effects": [approval.effects() for approval in state.approvals()]}
            case "GET", "/_pending":
                answer = {"pending": [_pending(approval, state.runs) for approval in state.pending()]}
            case "GET", "/_runs":
                answer = {"runs": [_run(run) for run in state.runs.values()]}
            case "GET", "/_scenarios":
                answer = {kind: wire.offers() for kind, wire in self._wires.items()}
            case "GET", "/_faults":
                answer = self._faults()
            case "POST", "/_faults":
                await self._arm(request, connection)
                return
            case "DELETE", "/_faults":
                self._world.board.armed.clear()
                answer = self._faults()
            case _:
                await connection.answer_json(404, {"error": "There is nothing at this path."})
                return
        await connection.answer_json(200, answer)

    def _faults(self) -> dict[str, object]:
        known = [
            {
                "fault": entry.name,
                "says": entry.says,
                "params": dict(entry.params),
                "main": entry.main,
                "choices": list(entry.choices),
                "times": entry.times,
                "on": entry.on,
            }
            for entry in CATALOGUE.values()
        ]
        armed = [fault.as_dict() for fault in self._world.board.armed if fault.left != 0]
        return {"faults": known, "armed": armed}

    async def _arm(self, request: Request, connection: Connection) -> None:
        try:
            spec = request.json()
            if not isinstance(spec, dict):
                raise UnknownFault("a fault is an object")
            fault = make(spec)
        except (ValueError, RecursionError) as exc:
            await connection.answer_json(422, {"error": str(exc)})
            return
        board = self._world.board
        board.armed = [other for other in board.armed if other.left != 0]
        board.armed.append(fault)
        for run in self._world.state.runs.values():
            if not run.ended:
                run.announce()
        await connection.answer_json(201, fault.as_dict())


def _pending(approval: Approval, runs: Mapping[tuple[str, str], Run]) -> dict[str, object]:
    return {
        "kind": approval.kind,
        "run": approval.run,
        "thread": runs[approval.kind, approval.run].thread,
        "approval": approval.id,
        "tool": approval.tool,
        "input_sha256": sha256(approval.text),
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
    }


def _run(run: Run) -> dict[str, object]:
    return {
        "kind": run.kind,
        "run": run.id,
        "thread": run.thread,
        "continues": run.continues,
        "scenario": run.scenario,
        "task": run.task,
        "status": run.status,
        "frames": len(run.frames),
        "connections": run.connections,
        "approvals": list(run.approvals),
    }


def listen(host: str, port: int, remembered: Path | None) -> socket.socket:
    """A bound socket. Port 0 takes the port of the last start where it is free. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port]
    if port == 0 and remembered is not None and remembered.exists():
        text = remembered.read_text().strip()
        wanted = [int(text), 0] if text.isdigit() and 0 < int(text) < 65536 else [0]
    for number in wanted:
        try:
            listener = socket.create_server((host, number), family=family, backlog=1024)
            break
        except OSError:
            if number == wanted[-1]:
                raise
    if remembered is not None:
        remembered.write_text(f"{listener.getsockname()[1]}\n")
    return listener


def say_where(host: str, listener: socket.socket) -> None:
    """The one line on stdout, which the parent waits for."""
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"Emulator: http://{shown}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
