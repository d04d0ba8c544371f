"""Fifty random decisions by page and API, while processes are killed: every effect has its one decision, and back.

    python -m tests.fifty_decisions [--decisions 50] [--minutes 5] [--kills 2] [--seed N] [--pace real]
                                    [--through both] [--database-url URL [--redis-url URL --holders 2]]

Emulator and server are real processes; the emulator's record of effects is compared with the API and the database.
Prints one JSON object of figures; exits 1 and names every broken rule.
"""

import argparse
import base64
import json
import os
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.countersign import PATIENT_S, Countersign, approvals, countersign, eventually
from tests.e2e.plain_forms import Form, form_to
from tests.e2e.rules import broken_rules
from tests.e2e.stage import KINDS, Stage
from tests.emulator import Emulator, emulator

KEEP_PENDING = 6
OPEN = {"pending", "held", "deciding", "sent"}
TAKEN = {200, 202}
REASONS = (
    "",
    "",
    "Not on a Friday.",
    "Too much: half of it.\nAsk me again.",
    "Ünïcode 🤖 \u202eand\u202c <b>markup</b>",
)

Row = dict[str, Any]


@dataclass
class Session:
    """One seeded campaign: what is asked, decided and killed, and what was seen."""

    house: Countersign
    agents: Emulator
    rng: random.Random
    through: str = "both"  # api, page or both
    kinds: tuple[str, ...] = KINDS
    decided: dict[str, str] = field(default_factory=dict)  # request id -> verdict that was confirmed
    doubtful: dict[str, str] = field(default_factory=dict)  # posted, but the server died before it answered
    reasons: dict[str, str] = field(default_factory=dict)
    edits: dict[str, Row] = field(default_factory=dict)  # the arguments given instead
    by_page: int = 0
    by_api: int = 0
    undone: int = 0
    conflicts: int = 0
    compared: int = 0
    restarts_s: list[float] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    def sign_in(self) -> None:
        self.api = self.house.api()
        self.browser = None if self.through == "api" else self.house.pages()

    def sign_out(self) -> None:
        self.api.close()
        if self.browser is not None:
            self.browser.close()

    # -- runs

    def start_runs(self) -> None:
        """Keep a few requests waiting."""
        waiting = len(approvals(self.api, status="pending"))
        if waiting >= KEEP_PENDING:
            return
        for sure in (True, False):  # one that asks, and one that may need nobody
            kind = self.rng.choice(self.kinds)
            scenario = self.rng.choice([one for one in self.scenarios[kind] if one["asks"] or not sure])
            body = {name: scenario[name] for name in ("task", "workflow", "options") if scenario.get(name)}
            answer = self.api.post("runs", json={"provider": f"the-{kind}", **body})
            self.run_ids.append(answer.raise_for_status().json()["id"])

    @property
    def scenarios(self) -> dict[str, list[Row]]:
        if not hasattr(self, "_scenarios"):
            answer = httpx.get(f"{self.agents.url}/_scenarios", trust_env=False, timeout=PATIENT_S)
            self._scenarios: dict[str, list[Row]] = answer.json()
        return self._scenarios

    # -- decisions

    def decide_one(self) -> bool:
        """Decide one random pending request; False if there is none, or nothing came of it."""
        pending = approvals(self.api, status="pending")
        if not pending:
            return False
        return self.decide(self.rng.choice(pending), self.rng.choice(["approve", "reject"]))

    def decide(self, asked: Row, verdict: str) -> bool:
        """Decide this one; False if somebody or something was quicker."""
        key = asked["id"]
        self.doubtful[key], self.reasons[key] = verdict, self.rng.choice(REASONS)
        self.edits.pop(key, None)
        editable = verdict == "approve" and asked["can"]["edit"] and isinstance(asked["tool_input"], dict)
        if self.rng.random() < 0.5 and editable:
            self.edits[key] = {**asked["tool_input"], "note": "edited"}
        through = self._through_page if self._by_page() else self._through_api
        status = through(asked, verdict)
        if status in TAKEN:
            self.decided[key] = self.doubtful.pop(key)
            return True
        if status != 409:
            raise AssertionError(f"a decision was answered with {status}")
        self.conflicts += 1
        del self.doubtful[key]
        return False

    def look_into(self, request_id: str) -> bool:
        """Look at the agent what came of an answer that nobody confirmed, and say it on the page, as a person would.

        False where there is nothing to say: it is not unknown any more, or nothing happened and its run is over.
        """
        assert self.browser is not None
        form = form_to(self.browser.get(f"/requests/{request_id}/").text, "/resolve/")
        asked: Row = self.api.get(f"approvals/{request_id}").raise_for_status().json()
        run = self.api.get(f"runs/{asked['run_id']}").raise_for_status().json()
        seen = self.agents.effects(run=run["external_id"], input_sha256=asked["input_sha256"])
        says = "yes" if any(one["executed"] or one["skipped"] for one in seen) else "open"
        if asked["status"] != "unknown" or form is None or not form.offers("happened", says):
            return False
        answer = self._post(form, {**form.fields, "note": "looked at the agent", "happened": says})
        return answer.status_code == 200

    def _by_page(self) -> bool:
        chance = self.rng.random()  # drawn in any case, so that a seed asks for the same runs either way
        return self.through == "page" or (self.through == "both" and chance < 0.5)

    def _through_api(self, asked: Row, verdict: str) -> int:
        key, body = asked["id"], {"verdict": verdict, "input_sha256": asked["input_sha256"]}
        body |= {"reason": self.reasons[key], "undo_s": self.rng.choice([0, 0, 2])}
        if key in self.edits:
            body["edited_input"] = self.edits[key]
        answer = self.api.post(f"approvals/{key}/decision", json=body)
        regret = self.rng.random() < 0.3 and answer.status_code == 202 and body["undo_s"]
        if regret and self.api.delete(f"approvals/{key}/decision").status_code == 200:
            self.undone += 1
            answer = self.api.post(f"approvals/{key}/decision", json={**body, "undo_s": 0})
        self.by_api += answer.status_code == 202
        return answer.status_code

    def _through_page(self, asked: Row, verdict: str) -> int:
        """As a browser without JavaScript does it."""
        status = self._press(asked, verdict)
        if self.rng.random() < 0.2 and status == 200 and self._undo(asked):
            self.undone += 1
            status = self._press(asked, verdict)
        self.by_page += status == 200
        return status

    def _press(self, asked: Row, verdict: str) -> int:
        form = self._sign_off(asked, verdict)
        if form is None:  # decided meanwhile, or not approvable: the page offers nothing to press
            return 409
        return self._post(form, {**form.fields, "verdict": verdict, "reason": self.reasons[asked["id"]]}).status_code

    def _sign_off(self, asked: Row, verdict: str) -> Form | None:
        """The form with the verdicts, edit included; nobody can approve what is too long before opening all of it."""
        assert self.browser is not None
        here = f"/requests/{asked['id']}/"
        if asked["id"] in self.edits:
            area = form_to(self.browser.get(f"{here}edit/").text, "/edit/")
            if area is None:
                return None
            text = json.dumps(self.edits[asked["id"]], ensure_ascii=False)
            pages = [self._post(area, {**area.fields, "edited": text}).text]
        else:
            pages = [self.browser.get(here + shown).raise_for_status().text for shown in ("", "?parts=all")]
        for page in pages:
            form = form_to(page, "/decision/")
            if form is not None and form.offers("verdict", verdict):
                return form
        return None

    def _undo(self, asked: Row) -> bool:
        assert self.browser is not None
        form = form_to(self.browser.get(f"/requests/{asked['id']}/").text, "/undo/")
        return form is not None and self._post(form, form.fields).status_code == 200

    def _post(self, form: Form, fields: dict[str, str]) -> httpx.Response:
        assert self.browser is not None
        return self.browser.post(form.action, data=fields, headers={"Referer": f"{self.house.url}/"})

    # -- deaths

    def decide_while_it_dies(self) -> None:
        """Kill the server somewhere between the click and the provider's answer, and start it again."""
        killer = threading.Timer(self.rng.uniform(0, 0.4), self.house.kill)
        killer.start()
        try:
            self.decide_one()
        except httpx.TransportError:
            pass  # it stays doubtful: the row says later whether it was taken
        killer.join()
        self.restarts_s.append(self.house.start())
        self.sign_out()
        self.sign_in()


def settle(session: Session) -> list[Row]:
    """Answer what batches still miss, then wait until nothing is on its way. Returns all requests."""

    def quiet() -> list[Row]:
        rows = approvals(session.api)
        touched = [row for row in rows if row["decision"]]
        waiting = {row["batch"]["id"] for row in touched if row["status"] == "held"} - {None}
        for row in rows:
            if row["status"] == "pending" and row["batch"]["id"] in waiting:
                session.decide(row, "reject")
        return [] if any(row["status"] in OPEN for row in touched) else rows

    return eventually(quiet, why="every decision has an end")


def settings(database_url: str, redis_url: str = "") -> dict[str, str]:
    """The server's environment; a database of its own needs keys of its own."""
    made = {"COUNTERSIGN_UNDO_S": "2"}
    if redis_url:
        made |= {"REDIS_URL": redis_url, "COUNTERSIGN_REDIS_PREFIX": f"fifty-{os.getpid()}"}
    if database_url:
        made |= {
            "DATABASE_URL": database_url,
            "COUNTERSIGN_SECRET_KEY": secrets.token_urlsafe(50),
            "COUNTERSIGN_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
    return made


def campaign(
    folder: Path,
    *,
    decisions: int = 50,
    minutes: float = 5.0,
    kills: int = 2,
    seed: int = 1,
    pace: str = "real",
    through: str = "both",
    kinds: tuple[str, ...] = KINDS,
    database_url: str = "",
    redis_url: str = "",
    holders: int = 0,
) -> Row:
    """Run it and return the figures; `broken` lists every rule that did not hold."""
    rng = random.Random(seed)
    steps = decisions + kills  # a decision that a kill interrupts is one more
    kill_after = sorted(rng.sample(range(2, steps - 1), kills))
    with (
        emulator("all", state=folder / "emulator", pace=pace, seed=seed) as agents,
        countersign(folder / "data", env=settings(database_url, redis_url)) as house,
    ):
        session = Session(house, agents, rng, through, kinds)
        session.sign_in()
        Stage(house, agents, session.api).account(*kinds)
        for _ in range(holders):
            house.add_holder()
        began = time.monotonic()
        for number in range(steps):
            session.start_runs()
            eventually(lambda: approvals(session.api, status="pending"), why="something to decide")
            if number in kill_after:
                session.decide_while_it_dies()
                if holders:
                    house.kill_holder(rng.randrange(holders))
            else:
                eventually(session.decide_one)
            left = minutes * 60 * (number + 1) / steps - (time.monotonic() - began)
            time.sleep(max(0.0, min(left, 10.0)))  # spread over the time that was asked for: nothing is waited for
        rows = settle(session)
        broken = broken_rules(session)
        session.sign_out()
        acted = [effect for effect in agents.effects() if effect["executed"] or effect["skipped"]]
        kind_of = {f"the-{kind}": kind for kind in kinds}
        return {
            "seed": seed,
            "through": through,
            "holders": holders,
            "minutes": round((time.monotonic() - began) / 60, 2),
            "runs": len(session.run_ids),
            "requests": len(rows),
            "decisions": sum(1 for row in rows if row["decision"]),
            "by_kind": dict(Counter(kind_of[row["provider"]] for row in rows if row["decision"])),
            "by_page": session.by_page,
            "by_api": session.by_api,
            "edited": len(session.edits.keys() & session.decided.keys()),
            "undone": session.undone,
            "conflicts": session.conflicts,
            "unanswered_posts": len(session.doubtful),
            "streams_compared": session.compared,
            "kills": len(session.restarts_s),
            "restart_s": [round(took, 2) for took in session.restarts_s],
            "statuses": dict(Counter(row["status"] for row in rows)),
            "effects": len(acted),
            "executed": sum(effect["executed"] for effect in acted),
            "skipped": sum(effect["skipped"] for effect in acted),
            "broken": broken,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--pace", choices=["real", "fast"], default="real", help="of the agents")
    parser.add_argument("--through", choices=["api", "page", "both"], default="both", help="where decisions are made")
    parser.add_argument("--kinds", type=lambda text: tuple(text.split(",")), default=KINDS, help="of providers")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database instead of SQLite")
    parser.add_argument("--redis-url", default="", help="for more processes than one")
    parser.add_argument(
        "--holders", type=int, default=0, help="processes beside the server; one dies with it each time"
    )
    with tempfile.TemporaryDirectory(prefix="countersign-fifty-") as folder:
        figures = campaign(Path(folder), **vars(parser.parse_args()))
    print(json.dumps(figures, indent=1))
    sys.exit(1 if figures["broken"] else 0)


if __name__ == "__main__":
    main()
