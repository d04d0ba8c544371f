"""What must hold after a campaign: the agents' own record against the API, the pages and the database."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from streams.sse import Decoder
from tests.countersign import PATIENT_S, approvals, eventually
from tests.e2e import ledger
from tests.e2e.ledger import Asked, Ledger
from tests.e2e.plain_forms import form_to

if TYPE_CHECKING:
    from tests.fifty_decisions import Session

Row = dict[str, Any]
ENDS = {"finished", "failed"}
CUT_OFF = {"truncated", "lost"}
NOBODY_DECIDED = {"withdrawn", "superseded", "expired"}


def broken_rules(session: "Session") -> list[str]:
    """Every rule that does not hold, in words."""
    agreed = lasting(lambda: differing_lists(ledger.read(session.house), approvals(session.api)))
    books = ledger.read(session.house)
    effects = session.agents.effects()
    return [
        *agreed,
        *wrong_effects(books, effects),
        *wrong_ends(books, effects, says=None if session.browser is None else partial(says_unknown, session.browser)),
        *lost_decisions(session.decided, books),
        *wrong_words(session, books, effects),
        *broken_streams(session),
        *forgotten_runs(session),
        *missing_requests(session),
        *stuck_runs(session),
    ]


def differing_lists(books: Ledger, rows: list[Row]) -> list[str]:
    """The API's list is the database's; agents that ask meanwhile make them differ for a moment."""
    ours = {one.id: (one.status, one.input_sha256) for one in books.requests}
    told = {row["id"]: (row["status"], row["input_sha256"]) for row in rows}
    return [f"request {key}: the database has it, the API does not" for key in sorted(set(ours) - set(told))] + [
        f"request {key}: the API says {told[key]}, the database {ours.get(key)}"
        for key in told
        if told[key] != ours.get(key)
    ]


def wrong_effects(books: Ledger, effects: list[Row]) -> list[str]:
    """No effect without the decision that was made on exactly these arguments; none twice.

    None was told both ways, but for a new version of what was not taken, on which a person decided otherwise.
    """
    wrong = []
    for effect in effects:
        name = f"{effect['kind']} {effect['run']} {effect['approval']}"
        versions = books.about(effect)
        sent = [made for one in versions for made in one.decisions if made.left]
        if any(made.why == "undone" for made in sent):
            wrong.append(f"{name}: a decision left although it was undone")
        if effect["executed"] + effect["skipped"] > 1:
            wrong.append(f"{name}: acted {effect['executed']} + {effect['skipped']} times")
        if effect["approve"] and effect["reject"] and not decided_anew(books, versions):
            wrong.append(f"{name}: was told yes and no")
        if effect["approve"] + effect["reject"] > max(len(sent), 0):
            told = f"{effect['approve']} times yes and {effect['reject']} times no"
            wrong.append(f"{name}: was told {told}, by {len(sent)} decisions that left")
        if not effect["executed"] and not effect["skipped"]:
            continue
        wanted = "approve" if effect["executed"] else "reject"
        exactly = (True, wanted, effect["input_sha256"])
        fitting = [made for made in sent if (made.live, made.verdict, made.seen_sha256) == exactly]
        if not fitting:
            wrong.append(f"{name}: {wanted} took effect without such a decision on these arguments")
        elif effect["executed"] and edited_sha256(fitting[-1].edited) != effect.get("executed_sha256", ""):
            wrong.append(f"{name}: it did not run with the arguments that the decision gave it")
    return wrong


def decided_anew(books: Ledger, versions: list[Asked]) -> bool:
    """Whether each version was answered in one way, and each but the last turned out not to be taken."""
    answered = [
        (one, {made.verdict for made in one.decisions if made.left})
        for one in sorted(versions, key=lambda one: one.version)
        if any(made.left for made in one.decisions)
    ]
    earlier = [one for one, _ in answered[:-1]]
    one_way = all(len(verdicts) == 1 for _, verdicts in answered)
    return one_way and bool(earlier) and all(one.status == "stale" and reoffered(books, one) for one in earlier)


def edited_sha256(edited: str) -> str:
    """Of an edit as the emulator hashes it; empty where nothing was edited."""
    if not edited:
        return ""
    canonical = json.dumps(json.loads(edited), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def wrong_ends(books: Ledger, effects: list[Row], says: Callable[[Asked], bool] | None = None) -> list[str]:
    """A decided request is delivered, with its one effect, or says that nobody knows; `says`: whether its page does."""
    wrong = []
    for asked in books.requests:
        if asked.decision is None or asked.status in NOBODY_DECIDED:
            continue
        if asked.status == "delivered":
            seen = [one for one in effects if asked in books.about(one)]
            done = sum(one["executed" if asked.decision.verdict == "approve" else "skipped"] for one in seen)
            if done != 1:
                wrong.append(f"{asked.name}: delivered, but took effect {done} times")
        elif asked.status == "unknown":
            if says is not None and not says(asked):
                wrong.append(f"{asked.name}: unknown, but its page does not say so")
        elif not (asked.status == "stale" and reoffered(books, asked)):
            wrong.append(f"{asked.name}: decided and {asked.status}, not delivered or unknown")
    return wrong


def reoffered(books: Ledger, asked: Asked) -> bool:
    """Whether a later version asks again."""
    same = [one for one in books.requests if (one.run_id, one.call_id) == (asked.run_id, asked.call_id)]
    return any(one.version > asked.version for one in same)


def says_unknown(browser: httpx.Client, asked: Asked) -> bool:
    """Whether the request's page tells that nobody knows what came of it."""
    page = browser.get(f"/requests/{asked.id}/").raise_for_status()
    return re.search("unknown|not known", page.text, re.IGNORECASE) is not None


def lost_decisions(confirmed: Mapping[str, str], books: Ledger) -> list[str]:
    """Decisions (request -> verdict) that were confirmed to us and are no longer there, or are other ones.

    An empty verdict: it was confirmed that the decision was taken back.
    """
    kept = {one.id: one.decision.verdict for one in books.requests if one.decision is not None}
    lost = sorted(key for key, verdict in confirmed.items() if kept.get(key, "") != verdict)
    return [f"decision on {key} was confirmed and is gone" for key in lost]


def wrong_words(session: "Session", books: Ledger, effects: list[Row]) -> list[str]:
    """Reasons and edits are kept as they were given."""
    wrong = []
    for asked in books.requests:
        if asked.decision is None or asked.id not in session.decided:
            continue
        if asked.decision.reason != session.reasons.get(asked.id, ""):
            wrong.append(f"{asked.name}: its reason is {asked.decision.reason!r}, not {session.reasons[asked.id]!r}")
        edit = session.edits.get(asked.id)
        if (json.loads(asked.decision.edited) if asked.decision.edited else None) != edit:
            wrong.append(f"{asked.name}: its edit is not the one that was given")
        if edit is not None and asked.status == "delivered":
            ran = {one.get("executed_sha256") for one in effects if asked in books.about(one)}
            if ran != {edited_sha256(json.dumps(edit))}:
                wrong.append(f"{asked.name}: the agent did not run the edit")
    return wrong


# --- runs and their streams -------------------------------------------------------------------------------------------


def broken_streams(session: "Session") -> list[str]:
    """Runs whose stored events are not what the provider told, frame by frame (Mindra tells an ended run again).

    The emulator forgets what was told by all but the last 300 runs that ended.
    """
    told = {run["run"] for run in session.agents.runs(kind="mindra") if run["status"] in ENDS}

    def differing() -> list[str]:
        wrong = []
        ours = [run for run in all_runs(session) if run["external_id"] in told]
        session.compared = 0
        for run in ours:
            if run["status"] in CUT_OFF:
                wrong.append(f"run {run['id']}: {run['status']}, although its stream can be joined again")
            elif (theirs := replayed(session, run["external_id"])) is not None:
                session.compared += 1
                if difference := differs(stored(session, run["id"]), theirs):
                    wrong.append(f"run {run['id']}: its events are not the provider's: {difference}")
        return wrong

    return lasting(differing)


def differs(ours: list[tuple[str, str]], theirs: list[tuple[str, str]]) -> str:
    """Where two histories part first, in words; empty where they do not."""
    if ours == theirs:
        return ""
    at = next((n for n, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), -1)
    at = at if at >= 0 else min(len(ours), len(theirs))
    return f"{len(ours)} and {len(theirs)}, from number {at + 1} on: {ours[at : at + 2]} and {theirs[at : at + 2]}"


def stored(session: "Session", run_id: str) -> list[tuple[str, str]]:
    """A run's provider events, in the order of our numbers, which have no holes."""
    found: list[Row] = []
    more = True
    while more:
        params = {"after": found[-1]["seq"] if found else 0, "limit": 1000}
        page = session.api.get(f"runs/{run_id}/events", params=params).raise_for_status().json()
        found, more = found + page["items"], page["next"] is not None
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1)), f"run {run_id}: holes in its numbers"
    return [(row["kind"], row["data"]) for row in found if row["source"] == "provider"]


def replayed(session: "Session", external_id: str) -> list[tuple[str, str]] | None:
    """The whole stream of an ended Mindra run, from its provider; None where that has forgotten it."""
    url = f"{session.agents.mindra}/api/v1/workflows/execute/{external_id}/stream"
    answer = httpx.get(url, headers={"x-api-key": "any"}, trust_env=False, timeout=PATIENT_S)
    if answer.status_code == 404:
        return None
    return [(frame.event, frame.data) for frame in Decoder().feed(answer.content)]


def forgotten_runs(session: "Session") -> list[str]:
    """A run that ended at its agent has ended here, and the same way where its stream can be read again.

    An AG-UI run whose own answer is in doubt goes on waiting, until a person says what came of it (stuck_runs).
    """

    def differing() -> list[str]:
        doubted = {row["run_id"] for row in approvals(session.api, status="unknown")}
        ended = {(run["kind"], run["run"]): run["status"] for run in session.agents.runs() if run["status"] in ENDS}
        wrong = []
        for run in all_runs(session):
            kind = run["provider"].removeprefix("the-")
            theirs = ended.get((kind, run["external_id"] or ""))
            cut_off = kind == "agui" and run["status"] in CUT_OFF
            in_doubt = kind == "agui" and run["status"] == "waiting" and run["id"] in doubted
            if theirs is not None and not cut_off and not in_doubt and run["status"] != theirs:
                wrong.append(f"run {run['id']} ({kind}): {run['status']}, but it has {theirs} at its agent")
        return wrong

    return lasting(differing)


def stuck_runs(session: "Session") -> list[str]:
    """AG-UI runs that go on waiting when a person has said of each answer in doubt that their agent took it.

    The last rule, since it changes what the others look at.
    """
    over = {run["run"] for run in session.agents.runs(kind="agui") if run["status"] in ENDS}
    waiting = {run["id"] for run in all_runs(session) if run["status"] == "waiting" and run["external_id"] in over}
    doubted = [row["id"] for row in approvals(session.api, status="unknown") if row["run_id"] in waiting]
    if doubted:
        with closing(session.house.pages()) as browser:
            for request_id in doubted:
                resolve(browser, request_id, "yes")

    def still() -> list[str]:
        return [
            f"run {run['id']} (agui): {run['status']}, although a person said that its answer was taken"
            for run in all_runs(session)
            if run["id"] in waiting and (run["status"], run["outcome"]) != ("finished", "continued")
        ]

    return lasting(still)


def resolve(browser: httpx.Client, request_id: str, happened: str) -> None:
    """As somebody who looked at the agent: what was sent did happen (yes), did not (no), or it is open still."""
    form = form_to(browser.get(f"/requests/{request_id}/").raise_for_status().text, "/resolve/")
    assert form is not None, f"request {request_id}: nobody is asked what came of it"
    said = {**form.fields, "happened": happened, "note": "The agent's own record."}
    browser.post(form.action, data=said, headers={"Referer": str(browser.base_url)}).raise_for_status()


def missing_requests(session: "Session") -> list[str]:
    """What the emulator waits for and the inbox does not show."""

    def absent() -> list[str]:
        runs: dict[str, Row] = {}
        known = approvals(session.api)
        shown = {run_of(session, runs, row)["external_id"] for row in known}
        # A run whose stream the kill cut off says so itself: its last bytes may have died in our kernel's buffer.
        cut_off = [run for run in all_runs(session) if run["status"] in CUT_OFF]
        shown |= {run["external_id"] for run in cut_off}
        # Where the kill came before the answering run's first byte, the decision that opened it is shown as unknown.
        doubted = {run_of(session, runs, row)["external_id"] for row in known if row["status"] == "unknown"}
        begun = session.agents.runs()
        shown |= {run["run"] for run in begun if run["continues"] in doubted}
        # Where it came before the answer to a start, the run is shown as lost: it may have started. One for one.
        nameless = Counter(run["title"] for run in cut_off if run["external_id"] is None)
        named = {run["external_id"] for run in all_runs(session)}
        for run in begun:
            if run["run"] not in named and nameless[run["task"]]:
                nameless[run["task"]] -= 1
                shown.add(run["run"])
        waiting = session.agents.pending()
        return [f"{one['run']} {one['approval']}: not in the inbox" for one in waiting if one["run"] not in shown]

    return lasting(absent)


def run_of(session: "Session", known: dict[str, Row], row: Row) -> Row:
    """The run of a request, asked for once."""
    if row["run_id"] not in known:
        known[row["run_id"]] = session.api.get(f"runs/{row['run_id']}").json()
    return known[row["run_id"]]


def all_runs(session: "Session") -> list[Row]:
    """Every run that was started here, in its present state, answering runs included."""
    found: list[Row] = []
    ids = [*session.run_ids]
    while ids:
        run = session.api.get(f"runs/{ids.pop()}").raise_for_status().json()
        found.append(run)
        ids += [run["continued_by"]] if run["continued_by"] else []
    return found


def lasting(wrong: Any) -> list[str]:
    """What is still wrong when everything had time to catch up."""
    try:
        eventually(lambda: not wrong(), within_s=PATIENT_S, why="everything has caught up")
    except AssertionError:
        found: list[str] = wrong()
        return found
    return []
