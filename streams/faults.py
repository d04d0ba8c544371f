"""Named points where a test lets the program die, fail or wait. Off, a point is one look at a global that is None.

    fault("journal.committed")                       # in the code: a name of POINTS
    COUNTERSIGN_FAULTS=journal.committed:kill@3      # for a process: the third time that it comes by there
    with faults.on("outbox.claimed:raise"): ...      # in a test's own process

A plan is POINT:ACTION or POINT:ACTION@N, and a list of plans is parted by commas; POINT `*` is every point. ACTION is
`kill` (SIGKILL to itself), `exit` (os._exit, code 137), `raise` (Fault), `delay=SECONDS` (blocks the thread or the loop
that comes by) or `note=FILE` (a line with the name). Without @N every hit counts.

Nobody has this on by accident: settings refuse the variable beside any origin, and the deployment check fails with it.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

VARIABLE = "COUNTERSIGN_FAULTS"
EVERY = "*"
DEAD = 137

POINTS: Mapping[str, str] = MappingProxyType(
    {
        # streams: who holds a run
        "lease.seizing": "The only process takes over every lease; not committed yet.",
        "lease.taken": "Leases of runs are ours by commit; nobody holds the runs yet.",
        "lease.renewing": "Our leases are extended; not committed yet.",
        # streams: a run is started and read
        "open.marking": "A start is marked as let out; not committed yet.",
        "open.marked": "A start is marked as let out by commit; no byte of it has left.",
        "start.answered": "The provider answered a start; nothing of the answer is stored.",
        "start.stored": "The run's id is stored by commit; nobody reads its stream yet.",
        "call.sent": "A start, or an answer that opens a stream, has left whole; the provider has not replied.",
        "stream.connecting": "The stream is about to be joined, or joined again.",
        "stream.read": "Frames came; none of them was handed to the journal.",
        "stream.stored": "Frames are stored by commit; the next ones are not read yet.",
        # streams: the journal
        "journal.batch": "A batch is about to be stored; no transaction yet.",
        "journal.inserted": "The events of a batch are inserted; what they mean is not projected yet.",
        "journal.projected": "A batch is inserted and projected; not committed yet.",
        "journal.committed": "A batch is committed; whoever waits for it has not been told.",
        # approvals: a decision is made
        "decision.uncommitted": "Decision, delivery and audit entry are written; not committed yet.",
        "decision.committed": "A decision is committed; whoever made it has no answer.",
        "request.settled": "A request's status was changed by one UPDATE; not committed yet.",
        "audit.appended": "Audit entries are inserted; the head does not say so yet.",
        # approvals: a decision is carried
        "outbox.unclaimed": "Deliveries are ready; none is claimed yet.",
        "outbox.claimed": "Deliveries are claimed by commit; nobody prepares them yet.",
        "outbox.marking": "A delivery is marked as sent; not committed yet.",
        "courier.leaving": "`sent` is committed; no byte of the answer has left.",
        "courier.sent": "The whole answer has left; the provider has not replied.",
        "courier.answered": "The provider replied; nothing of it is written.",
        "outbox.ending": "What came of a delivery is being written; not committed yet.",
        "courier.recorded": "What came of a delivery is committed; pages may not know yet.",
        # approvals: webhooks
        "herald.claimed": "Webhooks are claimed by commit; nobody signs them yet.",
        "herald.leaving": "A webhook is signed; no byte of it has left.",
        "herald.answered": "The receiver replied; nothing of it is written.",
        "herald.recorded": "What came of a webhook is committed.",
        # dashboard
        "hub.heard": "A hint that something changed was heard; no page knows.",
        "hub.pushing": "A fragment is rendered; no socket has it.",
    }
)

Action = Callable[[str], None]


class Fault(Exception):
    """Raised at a point that a plan says `raise` for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens at a point (`*`: at every one), at its n-th hit or at all of them (0)."""

    point: str
    act: Action
    nth: int = 0


_armed: Callable[[str], None] | None = None


def fault(name: str) -> None:
    """A point of POINTS: nothing happens here unless a test wants it."""
    if _armed is not None:
        _armed(name)


def points() -> Mapping[str, str]:
    """Name -> what is true at that moment, of every point there is."""
    return POINTS


def is_on() -> bool:
    """Whether any plan is in force in this process."""
    return _armed is not None


def switch_on(plans: Sequence[Plan]) -> Counter[str]:
    """Put plans in force in this process, instead of those before. The counter goes on counting hits by name."""
    global _armed
    hits: Counter[str] = Counter()
    lock = threading.Lock()

    def hit(name: str) -> None:
        if name not in POINTS:
            raise LookupError(f"no such fault point: {name}")
        with lock:
            hits[name] += 1
            number = hits[name]
        for plan in plans:
            if plan.point in (name, EVERY) and plan.nth in (0, number):
                plan.act(name)

    _armed = hit
    return hits


def switch_off() -> None:
    """From now on no point does anything."""
    global _armed
    _armed = None


@contextmanager
def on(plans: str | Sequence[Plan] = ()) -> Iterator[Counter[str]]:
    """Plans in force for a block of a test; yields the counter of hits. Without plans it only counts."""
    try:
        yield switch_on(read(plans) if isinstance(plans, str) else plans)
    finally:
        switch_off()


# --- plans as text ----------------------------------------------------------------------------------------------------


def read(text: str) -> list[Plan]:
    """The plans of COUNTERSIGN_FAULTS. Raises ValueError, which names what cannot be read."""
    return [_read(part.strip()) for part in text.split(",") if part.strip()]


def _read(part: str) -> Plan:
    point, _, rest = part.partition(":")
    said, at, number = rest.rpartition("@") if "@" in rest else (rest, "", "0")
    if point != EVERY and point not in POINTS:
        raise ValueError(f"{part!r}: no such fault point")
    if not number.isdecimal() or (at and int(number) < 1):
        raise ValueError(f"{part!r}: @ is followed by the number of the hit, from 1")
    return Plan(point, _action(part, said), int(number))


def _action(part: str, said: str) -> Action:
    word, _, value = said.partition("=")
    match word, value:
        case "kill", "":
            return _kill
        case "exit", "":
            return _exit
        case "raise", "":
            return _raise
        case "delay", str(seconds) if _is_number(seconds):
            return lambda name: time.sleep(float(seconds))
        case "note", str(file) if file:
            return lambda name: _note(file, name)
    raise ValueError(f"{part!r}: an action is kill, exit, raise, delay=SECONDS or note=FILE")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _kill(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal comes; nothing behind this point may run before it


def _exit(name: str) -> NoReturn:
    os._exit(DEAD)


def _raise(name: str) -> NoReturn:
    raise Fault(name)


def _note(file: str, name: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{name}\n".encode())
    finally:
        os.close(fd)
