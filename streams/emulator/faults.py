"""What can be made to go wrong: the catalogue, and which faults are armed for whom."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.emulator.payloads import PAYLOADS

Value = int | float | bool | str


class UnknownFault(ValueError):
    """No fault of that name, or it has no such parameter."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault of the catalogue. `main` is the parameter that `fault:NAME=VALUE` sets."""

    name: str
    says: str
    params: Mapping[str, Value] = field(default_factory=dict)
    main: str = ""
    times: int | None = 1  # None: until disarmed
    choices: Sequence[str] = ()  # what `main` may be; empty: anything of its type
    on: str = ""  # where it bites when nobody says; empty: at the first place that knows it


CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        # the connection
        Entry(
            "cut",
            "Break the stream inside the frame after AFTER frames, or after BYTES bytes; reset=true: by a TCP reset.",
            {"after": 2, "bytes": 0, "mid": True, "reset": False},
            main="after",
        ),
        Entry(
            "stall",
            "Say nothing after AFTER frames, for SECONDS (0: until the client goes), with the socket open.",
            {"after": 2, "seconds": 0.0},
            main="after",
        ),
        Entry(
            "slow",
            "Send the stream in pieces of SIZE bytes, DELAY_MS apart.",
            {"size": 7, "delay_ms": 1.0},
            main="size",
            times=None,
        ),
        Entry("duplicate", "Send frame number AT twice.", {"at": 2}, main="at"),
        Entry(
            "oversize",
            "Send a frame of SIZE bytes after AFTER frames.",
            {"size": 17 * 1024 * 1024, "after": 1},
            main="size",
        ),
        Entry("unknown-event", "Send an event of an unknown kind after the first frame."),
        Entry("missing-terminal", "End the stream cleanly where its last frame should have been."),
        Entry(
            "keepalive",
            "Send a comment every SECONDS while nothing else is said; crlf=true ends it in CRLF between LF frames.",
            {"seconds": 0.05, "crlf": True},
            main="seconds",
            times=None,
        ),
        Entry(
            "line-end",
            "End lines with STYLE: crlf or cr, instead of LF.",
            {"style": "crlf"},
            "style",
            None,
            ("crlf", "cr"),
        ),
        # the answer to a request
        Entry(
            "status",
            "Answer CODE, with Retry-After where RETRY_AFTER is given; on=start, stream, decision or read (Middesk).",
            {"code": 503, "retry_after": ""},
            main="code",
        ),
        Entry(
            "redirect",
            "Answer CODE to TO (default: the same path again); on=start, stream or decision.",
            {"to": "", "code": 307},
            main="to",
        ),
        Entry(
            "wrong-type", "Answer 200 with a web page, as a captive portal does.", {"type": "text/html"}, main="type"
        ),
        Entry(
            "effect-then-drop",
            "Do what was asked, then reset without an answer; sent=true: after headers that prove nothing (AG-UI); "
            "code=500: answer that instead.",
            {"sent": False, "code": 0},
            main="code",
            on="decision",
        ),
        Entry("drop-before-effect", "Reset without an answer, and do nothing.", on="decision"),
        Entry("old-errors", "Give errors in the shape of Mindra's older pages.", times=None),
        Entry("stream-url", "Answer a start with this stream_url.", {"url": "http://127.0.0.1:9/stream"}, main="url"),
        # replay of the Mindra stream
        Entry("replay-all", "Repeat the whole run on every connection (the default).", times=None),
        Entry("replay-tail", "A new connection gets only what comes from now on.", times=None),
        Entry("replay-overlap", "A new connection gets the last N frames again.", {"n": 3}, main="n", times=None),
        Entry("replay-none", "A new connection is ended at once."),
        Entry("replay-divergent", "A new connection gets the whole run, with frame AT changed.", {"at": 1}, main="at"),
        Entry(
            "after-done",
            "A connection after the end gets HOW: eof, 404 or done (the last frame alone); so retention ends.",
            {"how": "eof"},
            main="how",
            choices=("eof", "404", "done"),
            times=None,
        ),
        Entry("ids", "Give each Mindra frame an SSE id and go on after Last-Event-ID.", times=None),
        # what is asked
        Entry(
            "payload",
            "Ask with arguments of an odd FORM.",
            {"form": "unparsable"},
            main="form",
            choices=tuple(PAYLOADS),
        ),
        Entry(
            "changed-input",
            "Ask again under the same approval id with changed arguments: Mindra and Middesk at once, AG-UI instead "
            "of taking the next answer.",
        ),
        Entry("expires", "The next request lapses after SECONDS.", {"seconds": 2.0}, main="seconds"),
        Entry("early-executing", "Say tool_executing before the approval too (Mindra).", times=None),
        # how it ends
        Entry(
            "error-event",
            "A failed run ends with an undocumented event: Mindra's `error` instead of `done`, Middesk's RUN_ERROR "
            "instead of RUN_FINISHED.",
            times=None,
        ),
        Entry("late-run-error", "Send RUN_ERROR after RUN_FINISHED; the interrupts of that run are void."),
        # how answers are taken
        Entry(
            "repeat",
            "A repeated answer is not an error: HOW=ok says yes and does nothing, replay shows the first result "
            "again (AG-UI), acts runs the tool again.",
            {"how": "ok"},
            main="how",
            choices=("ok", "replay", "acts"),
            times=None,
        ),
        Entry("unknown-id-approves", "An AG-UI answer to an unknown id counts for the pending call.", times=None),
        Entry("edits-ignored", "Edited arguments are taken without complaint and the original call runs.", times=None),
        Entry(
            "question-form",
            "LangGraph asks in another FORM: percall is an interrupt for each call, own is one of its author's making.",
            {"form": "percall"},
            main="form",
            choices=("percall", "own"),
            times=None,
        ),
        # Middesk alone
        Entry(
            "interrupt-end",
            "An interrupted run's stream: HOW=silent stays open and goes on after the answer, eof closes without "
            "RUN_FINISHED, once closes with one that no replay repeats.",
            {"how": "silent"},
            main="how",
            choices=("silent", "eof", "once"),
            times=None,
        ),
        Entry(
            "resolved-outside",
            "The first open interrupt disappears without our answer; the run goes on as after HOW.",
            {"how": "approve"},
            main="how",
            choices=("approve", "reject"),
        ),
        Entry(
            "slow-readback",
            "Reading the run shows an interrupt for SECONDS after its answer.",
            {"seconds": 2.0},
            "seconds",
        ),
        Entry("respelled", "Reading the run spells the values of interrupts in another way.", times=None),
        Entry(
            "vocabulary",
            "Say statuses in other WORDS: old (pending, failed, and `graph` for `agent`) or unknown ones.",
            {"words": "old"},
            main="words",
            choices=("old", "unknown"),
            times=None,
        ),
        Entry(
            "event-fields",
            "Put type, thread and time into each event, in STYLE: snake, or camel as AG-UI does.",
            {"style": "camel"},
            main="style",
            choices=("snake", "camel"),
            times=None,
        ),
        Entry(
            "snapshot-shape",
            "Snapshots are less than a run: SHAPE=steps-only has steps and artifacts, no-interrupts lacks interrupts.",
            {"shape": "steps-only"},
            main="shape",
            choices=("steps-only", "no-interrupts"),
            times=None,
        ),
        Entry(
            "resume-shape",
            "Take answers of another SHAPE only: id is {id, input}, list is {interrupts: [{id, input}]}.",
            {"shape": "id"},
            main="shape",
            choices=("id", "list"),
            times=None,
        ),
        Entry("webhook-duplicate", "Send a webhook event twice."),
        Entry("webhook-disorder", "Send a webhook event after the one that follows it."),
        Entry("webhook-lost", "Never send a webhook event."),
        Entry(
            "webhook-signature",
            "Sign one try of a webhook HOW: none, wrong or prefix (sha256=).",
            {"how": "wrong"},
            main="how",
            choices=("none", "wrong", "prefix"),
        ),
    )
}

# Faults that a stream's sender looks for by itself (wire.py).
STREAM_FAULTS = ("cut", "stall", "slow", "duplicate", "oversize", "missing-terminal", "keepalive", "line-end")


@dataclass(slots=True)
class Fault:
    """An armed fault. `left` None: until disarmed. `run`, `kind`, `on` narrow where it bites."""

    name: str
    params: dict[str, Value]
    left: int | None
    kind: str = ""
    run: str = ""
    on: str = ""

    def number(self, key: str) -> float:
        return float(self.params[key])

    def whole(self, key: str) -> int:
        return int(self.params[key])

    def text(self, key: str) -> str:
        return str(self.params[key])

    def flag(self, key: str) -> bool:
        return self.params[key] is True

    def as_dict(self) -> dict[str, object]:
        """For the journal and for `GET /_faults`."""
        named = {"kind": self.kind, "run": self.run, "on": self.on}
        return {"fault": self.name, "times": self.left, **self.params, **{k: v for k, v in named.items() if v}}


def make(spec: Mapping[str, object]) -> Fault:
    """A fault from `{"fault": name, "times": n, ...}`. Raises UnknownFault."""
    name = str(spec.get("fault", ""))
    if name not in CATALOGUE:
        raise UnknownFault(f"no fault is called {name!r}")
    entry = CATALOGUE[name]
    params = dict(entry.params)
    for key, value in spec.items():
        if key in ("fault", "times", "kind", "run", "on"):
            continue
        if key not in params or not isinstance(value, int | float | str):
            raise UnknownFault(f"fault {name!r} has no parameter {key!r} of that type")
        params[key] = _like(params[key], value, f"fault {name!r}: {key}")
    if entry.choices and params[entry.main] not in entry.choices:
        raise UnknownFault(f"fault {name!r}: {entry.main} is one of {', '.join(entry.choices)}")
    times = spec.get("times", entry.times)
    if times is not None and (isinstance(times, bool) or not isinstance(times, int)):
        raise UnknownFault(f"fault {name!r}: times is a number or null")
    return Fault(
        name=name,
        params=params,
        left=times,
        kind=str(spec.get("kind", "")),
        run=str(spec.get("run", "")),
        on=str(spec.get("on", entry.on)),
    )


def _like(default: Value, value: Value, where: str) -> Value:
    """The value in the type of the default."""
    try:
        if isinstance(default, bool):
            return value if isinstance(value, bool) else str(value).lower() in ("true", "1", "yes")
        return type(default)(value)
    except ValueError as exc:
        raise UnknownFault(f"{where} cannot be {value!r}") from exc


_IN_TEXT = re.compile(
    r"fault:(?P<name>[a-z-]+)(?:=(?P<main>[^\s,*]*))?(?P<more>(?:,[a-z_]+=[^\s,*]*)*)(?:\*(?P<times>\d+|all))?"
)


def in_text(text: str) -> list[Fault]:
    """The faults that a task asks for: `fault:cut=3`, `fault:status=429,on=decision*2`, `fault:duplicate*all`.

    Raises UnknownFault, so that a mistyped name cannot pass for a run without faults.
    """
    found = []
    for match in _IN_TEXT.finditer(text):
        spec: dict[str, object] = {"fault": match["name"]}
        if match["main"] is not None:
            entry = CATALOGUE.get(match["name"])
            if entry is None or not entry.main:
                raise UnknownFault(f"fault {match['name']!r} takes no value")
            spec[entry.main] = match["main"]
        for pair in filter(None, match["more"].split(",")):
            key, _, value = pair.partition("=")
            spec[key] = value
        if match["times"]:
            spec["times"] = None if match["times"] == "all" else int(match["times"])
        found.append(make(spec))
    return found


class Board:
    """The faults armed at run time, for every run or one."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []

    def take(
        self,
        name: str,
        *,
        kind: str,
        run: str = "",
        on: str = "",
        own: Iterable[Fault] = (),
        used: Callable[[int], None] | None = None,
    ) -> Fault | None:
        """Use up one turn of a fault, the run's own first; `used` hears the index of an own one."""
        for index, fault in enumerate(own):
            if fault.name == name and fault.left != 0 and _bites(fault, kind="", run="", on=on):
                _use(fault)
                if used is not None and fault.left is not None:
                    used(index)
                return fault
        for fault in self.armed:
            if fault.name == name and fault.left != 0 and _bites(fault, kind=kind, run=run, on=on):
                _use(fault)
                return fault
        return None


def _bites(fault: Fault, *, kind: str, run: str, on: str) -> bool:
    return (
        (not fault.on or not on or fault.on == on)
        and (not fault.kind or not kind or fault.kind == kind)
        and (not fault.run or fault.run == run)
    )


def _use(fault: Fault) -> None:
    if fault.left is not None:
        fault.left -= 1
