"""What the agents wrote down against what the database holds afterwards: a pure function of the two.

    violations(Record.read(emulator_state_folder), ledger, confirmed={request id: verdict})

The emulator appends every question, every answer that reached it and every effect to a file before it goes on; nothing
of ours takes part in that. Each violation names its rule: I1 ... I10 as in the table of invariants (I4 and I7 show in
their consequences alone: an effect too many, an event twice or out of place), `events`, `asked` and `confirmed`.
Everything is judged at rest: no stream behind, nothing on its way.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.ledger import Ledger
from tests.e2e.rules import CUT_OFF, lost_decisions, wrong_effects, wrong_ends

Row = dict[str, Any]
FILE = "emulator.jsonl"
EXACT = {"mindra"}  # whose streams bring the same frames to everybody
ENDS = {"RUN_FINISHED", "RUN_ERROR"}
NOT_SENT = {"expired", "withdrawn", "superseded"}
GONE = {"sent", "delivered", "unknown"}


@dataclass(frozen=True, slots=True)
class Record:
    """The lines of the emulator's file, in the order in which things happened."""

    lines: tuple[Row, ...]

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Of a state folder; a torn last line is none."""
        whole, _, _ = (folder / FILE).read_bytes().rpartition(b"\n")
        return cls(tuple(json.loads(line) for line in whole.splitlines()))

    def runs(self) -> set[tuple[str, str]]:
        """(kind, id) of every run that began."""
        return {(line["kind"], line["run"]) for line in self.of("run")}

    def without(self, runs: set[tuple[str, str]]) -> "Record":
        """As if these runs had never been: they belong to another database."""
        return Record(tuple(line for line in self.lines if (line["kind"], line.get("run")) not in runs))

    def of(self, t: str) -> Iterator[Row]:
        """The lines of one type."""
        return (line for line in self.lines if line["t"] == t)

    def effects(self) -> list[Row]:
        """One row for each question, as the emulator's /_effects tells it: the last arguments, and what was done."""
        rows: dict[tuple[str, str, str], Row] = {}
        for line in self.of("asked"):
            key = (line["kind"], line["run"], line["approval"])
            row = rows.setdefault(key, dict.fromkeys(("approve", "reject", "cancelled", "executed", "skipped"), 0))
            row |= dict(zip(("kind", "run", "approval"), key, strict=True)) | {"input_sha256": sha256(line["text"])}
        for line in self.lines:
            match line["t"]:
                case "received":
                    rows[line["kind"], line["run"], line["approval"]][line["verdict"]] += 1
                case "effect":
                    rows[line["kind"], line["run"], line["approval"]][line["did"]] += 1
                case "settled":
                    for answer in line["answers"]:
                        row = rows[line["kind"], line["run"], answer["approval"]]
                        row["executed"] += answer["verdict"] == "approve"
                        row["skipped"] += answer["verdict"] in ("reject", "expired")
                        if answer.get("edited"):
                            row["executed_sha256"] = sha256(answer["edited"])
        return list(rows.values())

    def told(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """(kind of event, hash of its data) of every frame of each run, in order."""
        found: dict[tuple[str, str], list[tuple[str, str]]] = {(one["kind"], one["run"]): [] for one in self.of("run")}
        for line in self.of("frame"):
            found[line["kind"], line["run"]].append((line["event"], sha256(line["data"])))
        return found


def sha256(text: str) -> str:
    """As both sides hash a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def violations(record: Record, books: Ledger, *, confirmed: Mapping[str, str] | None = None) -> list[str]:
    """Every rule that does not hold, in words that begin with its name."""
    effects = record.effects()
    return [
        *holes(books),
        *other_events(record, books),
        *unasked(record, books),
        *torn_decisions(books),
        *(f"I3 I5 I6: {one}" for one in wrong_effects(books, effects)),
        *other_arguments(books),
        *(f"I8: {one}" for one in wrong_ends(books, effects)),
        *unproved(record, books),
        *sent_too_late(books),
        *(f"I10: {one}" for one in broken_chain(books)),
        *(f"confirmed: {one}" for one in lost_decisions(confirmed or {}, books)),
    ]


# --- events -----------------------------------------------------------------------------------------------------------


def holes(books: Ledger) -> Iterator[str]:
    """Our numbers are dense for each run, in the order of the rows."""
    seqs: dict[str, list[int]] = {}
    for event in books.events:
        seqs.setdefault(event.run_id, []).append(event.seq)
    for run_id, found in seqs.items():
        if found != list(range(1, len(found) + 1)):
            yield f"events: run {run_id}: its numbers are not 1 to {len(found)} in the order they were stored"


def other_events(record: Record, books: Ledger) -> Iterator[str]:
    """What a run stored is what its agent told: nothing lost, nothing twice, nothing in another place."""
    ours: dict[str, list[tuple[str, str]]] = {run["id"]: [] for run in books.runs}
    for event in books.events:
        if event.source == "provider":
            ours[event.run_id].append((event.kind, event.sha256))
    told = record.told()
    for run in books.runs:
        stored, frames = ours[run["id"]], told.get((run["kind"], run["external_id"] or ""))
        if frames is not None and run["kind"] in EXACT and run["status"] not in CUT_OFF and stored != frames:
            yield f"events: run {run['id']} ({run['kind']}): {difference(stored, frames)}"
        if run["kind"] == "agui":
            kinds = [kind for kind, _ in stored]
            if kinds.count("RUN_STARTED") > 1 or sum(kind in ENDS for kind in kinds) > 1:
                yield f"events: run {run['id']} (agui): it begins or ends more than once"
            if any(kind in ENDS for kind in kinds[:-1]):
                yield f"events: run {run['id']} (agui): events behind its end"


def difference(stored: list[tuple[str, str]], frames: list[tuple[str, str]]) -> str:
    """Where two histories part, and in which way."""
    at = next((n for n, pair in enumerate(zip(stored, frames, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(stored), len(frames)) if at is None else at
    have, want = Counter(stored), Counter(frames)
    if have == want:
        how = "out of order"
    elif have > want:
        how = f"{sum((have - want).values())} doubled or invented"
    elif have < want:
        how = f"{sum((want - have).values())} lost"
    else:
        how = f"{sum((want - have).values())} lost and {sum((have - want).values())} others in their place"
    return f"{how}, from event {at + 1} of {len(frames)}"


def unasked(record: Record, books: Ledger) -> Iterator[str]:
    """Every question is a request, and every request is a question with exactly these arguments; each once."""
    asked: dict[tuple[str, str, str], set[str]] = {}
    for line in record.of("asked"):
        asked.setdefault((line["kind"], line["run"], line["approval"]), set()).add(sha256(line["text"]))
    known = {(one.kind, one.external_id or "", one.call_id): one for one in books.requests}
    followed = {(run["kind"], run["external_id"]) for run in books.runs if run["status"] not in CUT_OFF}
    for key in asked:
        if key not in known and key[:2] in followed:
            yield f"asked: {' '.join(key)}: the agent asked, and there is no request"
    for one in books.requests:
        texts = asked.get((one.kind, one.external_id or "", one.call_id))
        if texts is None or one.input_sha256 not in texts:
            yield f"asked: {one.name}: nobody asked this, or not with these arguments"
    for name, count in Counter(one.name.partition("(")[2] + one.run_id for one in books.requests).items():
        if count > 1:
            yield f"asked: {name}: {count} rows of one version"


# --- decisions --------------------------------------------------------------------------------------------------------


def torn_decisions(books: Ledger) -> Iterator[str]:
    """One live decision each; decision, delivery and audit entry are there together or not at all."""
    proofs = {}
    for entry in books.audit:
        data = json.loads(entry["data"])
        if entry["action"] == "decision.made":
            proofs[data["decision"]] = (data["verdict"], data["seen_sha256"])
    carried = Counter(one["decision"] for one in books.deliveries)
    batches = {one["batch"] for one in books.deliveries}
    for asked in books.requests:
        if sum(made.live for made in asked.decisions) > 1:
            yield f"I1: {asked.name}: more than one decision counts"
        for made in asked.decisions:
            if proofs.pop(made.id, None) != (made.verdict, made.seen_sha256):
                yield f"I2: {asked.name}: the audit chain does not have its decision as it is"
            if (asked.batch not in batches) if asked.batch else (carried[made.id] != 1):
                yield f"I2: {asked.name}: nothing carries its decision, or more than one delivery does"
    for decision in proofs:
        yield f"I2: decision {decision}: the audit chain has it, and it is gone"


def other_arguments(books: Ledger) -> Iterator[str]:
    """A decision is about the arguments that its request has."""
    for asked in books.requests:
        for made in asked.decisions:
            if made.seen_sha256 != asked.input_sha256:
                yield f"I6: {asked.name}: decided on other arguments than it has"


def unproved(record: Record, books: Ledger) -> Iterator[str]:
    """`delivered` and `unknown` are the same on a request and on what carried its answer; `delivered` has evidence.

    Where the evidence is an HTTP answer, the agent has heard the verdict.
    """
    heard = {
        (line["kind"], line["run"], line["approval"]) for t in ("received", "settled") for line in _answers(record, t)
    }
    evidence = {one["id"]: one for one in books.deliveries}
    of_decision = {one["decision"]: one for one in evidence.values() if one["decision"] and one["state"] != "cancelled"}
    for one in evidence.values():
        if one["state"] == "delivered" and not one["evidence"]:
            yield f"I8: delivery {one['id']}: delivered without evidence"
    for asked in books.requests:
        if asked.decision is None or asked.batch:
            continue
        carried = of_decision.get(asked.decision.id)
        state = carried["state"] if carried else ""
        for status in ("delivered", "unknown"):
            if (asked.status == status) != (state == status):
                yield f"I8: {asked.name}: {asked.status}, and what carried its answer is {state or 'gone'}"
        if asked.status == "delivered" and (asked.kind, asked.external_id, asked.call_id) not in heard:
            yield f"I8: {asked.name}: delivered, and its agent never heard of it"


def _answers(record: Record, t: str) -> Iterator[Row]:
    for line in record.of(t):
        if t == "settled":
            yield from ({**line, "approval": answer["approval"]} for answer in line["answers"])
        else:
            yield line


def sent_too_late(books: Ledger) -> Iterator[str]:
    """Nothing that is over, and nothing behind its deadline, left as somebody's answer; what came back may end so."""
    gone = [one for one in books.deliveries if one["sent_at"] and one["state"] in GONE]
    sent_at = {one["decision"] or one["batch"]: one["sent_at"] for one in gone}
    for asked in books.requests:
        left = any(made.left and made.id in sent_at for made in asked.decisions)
        if asked.status in NOT_SENT and left:
            yield f"I9: {asked.name}: {asked.status}, and its decision left"
        for made in asked.decisions:
            at = sent_at.get(made.id) or (sent_at.get(asked.batch) if asked.batch and made.left else None)
            if at and asked.deadline and at > asked.deadline:
                yield f"I9: {asked.name}: its {made.verdict} left at {at}, behind its deadline"


# --- the audit chain --------------------------------------------------------------------------------------------------

SEALED = ("format", "seq", "previous", "at", "actor", "action", "target", "origin", "data")


def broken_chain(books: Ledger) -> Iterator[str]:
    """The chain by its published format, with nothing of the product's own verifier."""
    previous = "0" * 64
    for number, entry in enumerate(books.audit, 1):
        sealed = json.dumps([entry[name] for name in SEALED], separators=(",", ":"), ensure_ascii=True)
        if entry["seq"] != number or entry["previous"] != previous or sha256(sealed) != entry["hash"]:
            yield f"audit entry {number} does not follow"
            return
        previous = entry["hash"]
    if books.audit_head != (len(books.audit), previous):
        yield "the audit head is not the last entry"
