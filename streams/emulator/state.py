"""What the emulator knows: runs, requests and effects, in memory and in an append-only file."""

import asyncio
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.emulator.faults import Fault, make

JOURNAL = "emulator.jsonl"
KEEP_RUNS = 300  # ended runs whose frames can still be replayed
DROP_LINES = 20_000  # so many lines that nobody needs are worth a rewrite at the start


def sha256(text: str) -> str:
    """Lower-case hex SHA-256 of a text's UTF-8; a lone surrogate is hashed as its three bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE message: its kind and its data, before it is dressed for the wire."""

    event: str
    data: str
    extra: bool = False  # no part of the story: a fault put it in


@dataclass(slots=True)
class Approval:
    """One tool call that waits, or waited, for a person."""

    kind: str
    run: str  # the run that asked
    id: str
    tool: str
    text: str  # the arguments as asked, last version
    message: str = ""
    call_id: str = ""
    asked_at: float = 0.0
    expires_at: float | None = None
    schema: dict[str, Any] | None = None
    reason_kind: str = "tool_call"
    verdict: str = ""  # approve, reject, expired, void (nobody can answer it any more); empty while open
    reason: str = ""
    edited: str = ""  # canonical JSON of the arguments a person put in place
    order: int = 0  # position among the settled ones
    approve: int = 0
    reject: int = 0
    cancelled: int = 0
    executed: int = 0
    skipped: int = 0

    def as_record(self) -> dict[str, Any]:
        """What the journal keeps of a request that is about to be shown."""
        names = ("kind", "run", "tool", "text", "message", "call_id", "asked_at", "expires_at", "schema", "reason_kind")
        return {"approval": self.id, **{name: getattr(self, name) for name in names}}

    def effects(self) -> dict[str, object]:
        """The row of `GET /_effects`."""
        row: dict[str, object] = {
            "kind": self.kind,
            "run": self.run,
            "approval": self.id,
            "tool": self.tool,
            "input_sha256": sha256(self.text),
            "approve": self.approve,
            "reject": self.reject,
            "executed": self.executed,
            "skipped": self.skipped,
        }
        if self.edited:
            row["executed_sha256"] = sha256(self.edited)
        if self.cancelled:
            row["cancelled"] = self.cancelled
        return row


@dataclass(slots=True)
class Run:
    """One run. Mindra and Middesk keep its frames; an AG-UI run only lives as long as its connection."""

    kind: str
    id: str
    scenario: str
    seed: int
    task: str
    thread: str = ""
    continues: str = ""
    subject: str = ""  # what it is about: Middesk's business
    at: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    status: str = "running"  # running, waiting, finished, failed, dropped
    frames: list[Frame] = field(default_factory=list)
    told: int = 0  # frames of the script among them; the others a fault put in
    view: str = ""  # the last whole snapshot among them, kept when they are forgotten
    connections: int = 0
    forgotten: bool = False
    asks_again: bool = False  # by a fault: repeats the question before it, changed
    approvals: dict[str, Approval] = field(default_factory=dict)
    history: list[list[str]] = field(default_factory=list)  # ids of the approvals of each answered question
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        return self.status in ("finished", "failed", "dropped")

    def announce(self) -> None:
        """Wake whoever waits for this run's next frame or answer."""
        self.news.set()
        self.news = asyncio.Event()


class State:
    """All runs by (kind, id). Each change is a record: written first, then applied by the same function that reads."""

    def __init__(self, directory: Path | None) -> None:
        self.runs: dict[tuple[str, str], Run] = {}
        self.threads: dict[str, list[Run]] = {}  # the runs of each thread, oldest first
        self.things: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}  # by (kind, collection), then by id
        self.settled = 0
        self._ended: deque[Run] = deque()
        self._file: int | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._load(directory / JOURNAL)

    # -- reading and writing the file

    def _load(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("torn")
                records.append(json.loads(line))
            except ValueError:
                if number != len(lines):
                    raise ValueError(f"{path}: line {number} is broken") from None
        for record in records:
            self._apply(record)
        for run in self.runs.values():
            run.connections = 1 if run.frames else 0
            if run.kind == "agui" and run.status == "running":
                run.status = "waiting" if any(not a.verdict for a in run.approvals.values()) else "dropped"
        self._rewrite(path, lines, records)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _rewrite(self, path: Path, lines: list[bytes], records: list[dict[str, Any]]) -> None:
        """Leave out a torn last line, and what nobody needs any more once it is much."""
        kept = [record for record in records if self._matters(record)]
        if len(records) - len(kept) < DROP_LINES:
            kept = records
        if len(kept) == len(lines):
            return
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(_line(record) for record in kept)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _matters(self, record: Mapping[str, Any]) -> bool:
        """Whether a record still says something: not the frames of forgotten runs, not what is gone."""
        if record["t"] == "thing":
            return record["id"] in self.collection(record["kind"], record["of"])
        if record["t"] != "frame":
            return True
        run = self.runs[record["kind"], record["run"]]
        return not run.forgotten or record["data"] == run.view

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def record(self, t: str, *, sync: bool = True, **fields: Any) -> None:
        """Write a record, to the disk where `sync`, and then apply it."""
        record = {"t": t, **fields}
        if self._file is not None:
            os.write(self._file, _line(record))
            if sync:
                os.fsync(self._file)
        self._apply(record)

    # -- what each record means

    def _apply(self, record: Mapping[str, Any]) -> None:
        if record["t"] == "run":
            self._apply_run(record)
            return
        if record["t"] == "thing":
            self._apply_thing(record)
            return
        run = self.runs[record["kind"], record["run"]]
        match record["t"]:
            case "frame":
                frame = Frame(record["event"], record["data"], record.get("extra", False))
                run.frames.append(frame)
                run.told += not frame.extra
                if frame.event == "STATE_SNAPSHOT":
                    run.view = frame.data
            case "asked":
                self._apply_asked(run, record)
            case "received":
                approval = run.approvals[record["approval"]]
                setattr(approval, record["verdict"], getattr(approval, record["verdict"]) + 1)
            case "settled":
                self._apply_settled(run, record)
            case "effect":
                approval = run.approvals[record["approval"]]
                approval.executed += record["did"] == "executed"
                approval.skipped += record["did"] == "skipped"
            case "status":
                run.status = record["status"]
                self._forget_old(run)
            case "fault":
                left = run.faults[record["index"]].left
                if left is not None and record["left"] < left:
                    run.faults[record["index"]].left = record["left"]
        run.announce()

    def _forget_old(self, run: Run) -> None:
        """Keep the frames of the last ended runs only: a demo may run for days."""
        if run.ended and run.frames:
            self._ended.append(run)
        while len(self._ended) > KEEP_RUNS:
            old = self._ended.popleft()
            old.frames.clear()
            old.forgotten = True

    def _apply_run(self, record: Mapping[str, Any]) -> None:
        fields = {key: value for key, value in record.items() if key not in ("t", "faults", "run")}
        run = Run(id=record["run"], faults=[make(spec) for spec in record["faults"]], **fields)
        self.runs[run.kind, run.id] = run
        if run.thread:
            self.threads.setdefault(run.thread, []).append(run)

    def _apply_thing(self, record: Mapping[str, Any]) -> None:
        things = self.things.setdefault((record["kind"], record["of"]), {})
        if record["value"] is None:
            things.pop(record["id"], None)
        else:
            things[record["id"]] = record["value"]

    def _apply_asked(self, run: Run, record: Mapping[str, Any]) -> None:
        known = run.approvals.get(record["approval"])
        if known is not None:  # asked again under the same id
            known.text = record["text"]
            return
        fields = {key: value for key, value in record.items() if key not in ("t", "approval")}
        run.approvals[record["approval"]] = Approval(id=record["approval"], **fields)

    def _apply_settled(self, run: Run, record: Mapping[str, Any]) -> None:
        """One record holds every answer that came together, so that no crash can part them."""
        for answer in record["answers"]:
            approval = run.approvals[answer["approval"]]
            self.settled += 1
            approval.order = self.settled
            approval.verdict = answer["verdict"]
            approval.reason = answer.get("reason", "")
            approval.edited = answer.get("edited", "")
            approval.executed += answer["verdict"] == "approve"
            approval.skipped += answer["verdict"] in ("reject", "expired")

    # -- moments

    def start_run(self, *, kind: str, id: str, scenario: str, seed: int, task: str, **more: Any) -> Run:
        """A new run; `more`: thread, continues, history, faults."""
        faults = [fault.as_dict() for fault in more.pop("faults", [])]
        self.record(
            "run", kind=kind, run=id, scenario=scenario, seed=seed, task=task, at=time.time(), faults=faults, **more
        )
        return self.runs[kind, id]

    def keep(self, kind: str, of: str, id: str, value: Mapping[str, Any] | None, *, sync: bool = True) -> None:
        """Put a provider's further thing into its collection, or take it out (None)."""
        self.record("thing", kind=kind, of=of, id=id, value=value, sync=sync)

    def collection(self, kind: str, of: str) -> Mapping[str, dict[str, Any]]:
        """A provider's further things by id, oldest first."""
        return self.things.get((kind, of), {})

    def of_kind(self, kind: str) -> Iterator[Run]:
        """The runs of one provider, oldest first."""
        return (run for run in list(self.runs.values()) if run.kind == kind)

    def approvals(self) -> Iterator[Approval]:
        """Everything that was ever asked, oldest first."""
        return (approval for run in self.runs.values() for approval in run.approvals.values())

    def pending(self) -> Iterator[Approval]:
        """What waits for an answer now."""
        return (approval for approval in self.approvals() if not approval.verdict)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
