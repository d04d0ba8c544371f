"""kill -9 at the points that matter, one after the other: what was decided happens once, or says that nobody knows.

The points are K1 to K8 of a decision's way. One server and one emulator live through all of them; at the end the
agents' own record is compared with the database. With COUNTERSIGN_TEST_LONG=1 every point there is, many times, with
webhooks and an open page.
"""

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from streams import faults
from tests.countersign import PATIENT_S, countersign, eventually
from tests.e2e import ledger
from tests.e2e.rules import lasting
from tests.e2e.stage import Row, Stage
from tests.e2e.test_webhooks import receiver
from tests.emulator import emulator
from tests.faults.history import Record, violations
from tests.long_form import LONG
from tests.plugins.figures import Figure

pytestmark = pytest.mark.process

SEED = 2026
TIMES = 10
WAITING = {"held", "deciding"}
OPEN = {*WAITING, "sent"}  # Middesk's answer is sent until its run, read again, shows it: that survives every kill
SEEN = {"delivered", "unknown", "refused_by_provider", "stale"}
DIES = -signal.SIGKILL

CERTAIN = {
    "decision.uncommitted": "K1",
    "decision.committed": "K2",
    "outbox.unclaimed": "K3",
    "outbox.claimed": "K4",
    "outbox.marking": "K4",
    "courier.recorded": "K8",
}
"""Where a kill leaves no doubt: the answer takes effect once. (An AG-UI answer is a stream: what was recorded at K8 is
that it opened, and with the process dies the stream that would have told the rest.)"""

DOUBTFUL = {"courier.leaving": "K5", "courier.sent": "K6", "call.sent": "K6", "courier.answered": "K7"}
"""Where it may: nothing is sent again, and the request is unknown until something proves what came of it."""

ON_ITS_WAY = CERTAIN | DOUBTFUL
KIND_OF = {"courier.sent": ("mindra", "middesk"), "call.sent": ("agui",)}

WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mindra", tuple(CERTAIN)),
    ("agui", ("courier.leaving",)),
    ("mindra", ("courier.sent",)),
    ("agui", ("call.sent",)),
    ("mindra", ("courier.answered",)),
    ("agui", ("courier.answered",)),
    ("agui", ("courier.recorded",)),
    ("agui", ("outbox.unclaimed", "outbox.claimed", "outbox.marking")),
)
"""(kind, points): one decision each, whose process dies at all of these points in turn."""


@dataclass
class Loop:
    """One server that dies again and again, and what its reviewers were told."""

    on: Stage
    folder: Path
    chance: random.Random
    kinds: tuple[str, ...]
    page: bool = False  # somebody watches the inbox
    confirmed: dict[str, str] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    worst: int = 0

    # -- one death after the other

    def ask(self, kind: str) -> Row:
        """A new run's question."""
        return self.on.asked(self.on.start(f"the-{kind}", "outbound-email"))[0]

    def die(self, point: str, asked: list[Row], verdicts: Mapping[str, str]) -> list[int]:
        """Start so that it dies at this point, and decide these; returns the answers, 0 or nothing for none."""
        answers = []
        if self.come_back(f"{point}:kill"):
            with self.watched():
                answers = [self.decide(row, verdicts[row["id"]]) for row in asked]
                if point.startswith(("open.", "start.", "stream.", "call.", "journal.", "lease.")):
                    self.start_others()
                code = self.end()
            assert code == DIES, f"{point}: exit code {code}"
        self.deaths[point] += 1
        return answers

    def go_on(self) -> None:
        """Start again, to live."""
        self.on.house.env.pop(faults.VARIABLE, None)
        self.on.house.start()
        self.connect()

    def come_back(self, plan: str) -> bool:
        """Start with a plan. False where the process died before it could serve."""
        self.on.house.env[faults.VARIABLE] = plan
        try:
            self.on.house.start()
        except RuntimeError:
            assert self.end() == DIES, plan
            return False
        self.connect()
        return True

    def connect(self) -> None:
        self.on.api.close()
        address, headers = f"{self.on.house.url}/api/v1/", self.on.api.headers
        self.on.api = httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=PATIENT_S)

    def decide(self, asked: Row, verdict: str) -> int:
        """As a reviewer who repeats what was not answered; only what was is confirmed."""
        try:
            answer = self.on.decide(asked, verdict)
        except httpx.TransportError:
            return 0
        if answer.status_code == 409:
            said = answer.json()
            assert (said["code"], said["decision"]["verdict"]) == ("already_decided", verdict), said
        else:
            assert answer.status_code == 202, answer.text
        self.confirmed[asked["id"]] = verdict
        return answer.status_code

    def start_others(self) -> None:
        for kind in self.kinds:
            try:
                self.on.start(f"the-{kind}", "refund")
            except httpx.TransportError:
                return

    def end(self) -> int:
        """Wait until the process died; its exit code."""
        process = self.on.house.process
        assert process is not None
        eventually(lambda: process.poll() is not None, why=f"it dies: {self.on.house.env[faults.VARIABLE]}")
        return self.on.house._reap()

    def at_rest(self, asked: Row, *, among: set[str] = OPEN) -> Row:
        def look() -> Row:
            row = self.on.request(asked["id"])
            return {} if row["status"] in among else row

        return eventually(look, why=f"request {asked['id']} has an end")

    def did(self, asked: Row) -> tuple[int, int, int, int]:
        """What the agent heard and did; at most once, whatever it was."""
        done = self.on.did(asked)
        self.worst = max(self.worst, done[0] + done[1], done[2] + done[3])
        return done

    @contextmanager
    def watched(self) -> Iterator[None]:
        """An inbox that is open and has been told something, where one is wanted; or whose server died of it."""
        if not self.page:
            yield
            return
        there = threading.Event()
        thread = threading.Thread(target=self._watch, args=[there], daemon=True)
        thread.start()
        there.wait(PATIENT_S)
        yield
        thread.join(PATIENT_S)

    def _watch(self, there: threading.Event) -> None:
        house = self.on.house
        try:
            with closing(house.pages()) as browser:
                cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            address = f"{house.url.replace('http', 'ws')}/ws/inbox/"
            headers = {"Cookie": cookies, "Origin": house.url}
            with connect(address, additional_headers=headers, max_size=None) as socket:
                while True:
                    socket.recv()
                    there.set()
        except (WebSocketException, httpx.HTTPError, OSError, EOFError):
            there.set()  # it was killed

    def broken(self) -> list[str]:
        """The agents' record against the database."""
        return violations(Record.read(self.folder / "emulator"), ledger.read(self.on.house), confirmed=self.confirmed)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder, kinds = tmp_path_factory.mktemp("crashes"), ("mindra", "agui")
    env = {"COUNTERSIGN_WEBHOOK_HOSTS": "127.0.0.1", "COUNTERSIGN_UNDO_S": "0"}
    with (
        receiver() as there,
        emulator("all", state=folder / "emulator", seed=SEED) as agents,
        countersign(folder / "data", env=env) as house,
    ):
        on = Stage(house, agents, house.api())
        on.account(*kinds)
        if LONG:
            there.secret = house.command("webhooks", "add", there.url).strip()
        made = Loop(on, folder, random.Random(SEED), kinds, page=LONG)
        yield made
        made.on.api.close()
        assert there.wrong == []


def verdict_of(loop: Loop) -> str:
    return loop.chance.choice(["approve", "reject"])


def is_certain(point: str, kind: str) -> bool:
    return point in CERTAIN and (point, kind) != ("courier.recorded", "agui")


def kind_of(asked: Row) -> str:
    return str(asked["provider"]).removeprefix("the-")


def once(verdict: str) -> tuple[int, int, int, int]:
    return (1, 0, 1, 0) if verdict == "approve" else (0, 1, 0, 1)


@pytest.mark.long
def test_a_decision_whose_process_dies_at_each_point_of_its_way_takes_effect_once_or_is_unknown(
    loop: Loop, figure: Figure
) -> None:
    if loop.on.house.process is None:  # a second try
        loop.go_on()
    asked = [loop.ask(kind) for kind, _ in WAYS]
    verdicts = {row["id"]: verdict_of(loop) for row in asked}
    loop.on.house.kill()
    for row, (_, points) in zip(asked, WAYS, strict=True):
        answers = {point: sum(loop.die(point, [row], verdicts)) for point in points}
        if points == tuple(CERTAIN):  # nobody heard an answer to the first two; the second was kept all the same
            assert (answers["decision.uncommitted"], answers["decision.committed"]) == (0, 0)
            assert set(answers.values()) <= {0, 409}, answers
    loop.go_on()
    ends = Counter[str]()
    for row, (kind, points) in zip(asked, WAYS, strict=True):
        assert loop.decide(row, verdicts[row["id"]]) == 409
        end, done = loop.at_rest(row), loop.did(row)
        ends[end["status"]] += 1
        assert end["delivery"]["attempts"] <= 1 and max(done) <= 1, (kind, points, end)
        if all(is_certain(point, kind) for point in points):
            assert (end["status"], done) == ("delivered", once(verdicts[row["id"]])), (kind, points)
        else:
            assert end["status"] in SEEN, (kind, points)
    deaths = loop.deaths.total()
    unit = f"effects of one decision, {deaths} kills on the way of {len(asked)} decisions: {dict(ends)}"
    figure("C2", worst=loop.worst, n=deaths, unit=unit, seed=SEED)
    agreed(loop, figure)


def agreed(loop: Loop, figure: Figure) -> None:
    """The agents' record and the database, once everything has caught up."""
    assert lasting(loop.broken) == []
    log = loop.on.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]
    figure("C2", worst=0, n=loop.deaths.total(), unit=f"broken rules after kills at {dict(loop.deaths)}", seed=SEED)


@pytest.mark.long
@pytest.mark.parametrize("point", sorted(faults.points(), key=lambda point: point not in ON_ITS_WAY))
def test_every_point_survives_many_kills(loop: Loop, figure: Figure, point: str) -> None:
    if loop.on.house.process is None:
        loop.go_on()
    loop.worst, decided = 0, list[tuple[Row, str]]()
    times = TIMES if point in ON_ITS_WAY else 2
    for _ in range(times):
        asked = [loop.ask(kind) for kind in loop.kinds if kind in KIND_OF.get(point, loop.kinds)]
        verdicts = {row["id"]: verdict_of(loop) for row in asked}
        loop.on.house.kill()
        loop.die(point, asked, verdicts)
        loop.go_on()
        for row in asked:
            assert loop.decide(row, verdicts[row["id"]]) in (202, 409)
            loop.at_rest(row, among=WAITING if kind_of(row) == "middesk" else OPEN)
            decided.append((row, verdicts[row["id"]]))
    ends = Counter[str]()
    for row, verdict in decided:
        end, done = loop.at_rest(row), loop.did(row)
        ends[end["status"]] += 1
        assert end["status"] in SEEN and end["delivery"]["attempts"] == 1, end
        if is_certain(point, kind_of(row)):
            assert (end["status"], done) == ("delivered", once(verdict)), end
    unit = f"effects of one decision, killed at {point} ({ON_ITS_WAY.get(point, 'not on its way')}): {dict(ends)}"
    figure("C2", worst=loop.worst, n=times, unit=unit, seed=SEED)
    assert loop.worst <= 1


@pytest.mark.long
def test_after_many_kills_the_agents_record_and_the_database_agree(loop: Loop, figure: Figure) -> None:
    agreed(loop, figure)
