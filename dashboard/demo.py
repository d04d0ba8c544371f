"""The demo: an emulated provider of each kind as a child process, and a driver that keeps its agents asking."""

import asyncio
import itertools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from django.conf import settings

from approvals.models import ApprovalRequest, RequestStatus
from dashboard.models import User
from streams import announce, runs
from streams.errors import SecretError
from streams.models import Provider
from streams.offload import holding
from streams.runs import StartRefused

logger = logging.getLogger(__name__)

PATHS = {"mindra": "/mindra", "middesk": "/middesk", "agui": "/agui/agent"}  # kind -> below the emulator's address
NAMES = {kind: f"demo-{kind}" for kind in PATHS}
OPTIONS: Mapping[str, Mapping[str, Any]] = {"middesk": {"resume": {"enabled": True}}}  # the emulator takes the default
USER = "demo"
START_S = 20.0
LOOK_S = 0.5
AGAIN_S = 3.0

FEW, MANY = 8, 20  # pending requests: below, they come quickly; above, none
QUICK_S, SLOW_S = 5.0, 20.0
QUIET_EVERY = 5  # of so many starts one is a run that needs nobody


@dataclass(frozen=True, slots=True)
class Offer:
    """A run that the emulator can play."""

    kind: str
    title: str
    task: str
    asks: int
    workflow: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pace:
    """When the next run is due. Pure: the time and what is pending are given."""

    started: int = 0
    last_at: float = float("-inf")

    def due(self, now: float, pending: int) -> bool:
        if self.started < len(PATHS):  # one of each kind right away
            return True
        if pending > MANY - 2:  # the next one may ask twice
            return False
        return now - self.last_at >= (QUICK_S if pending < FEW else SLOW_S)

    def start(self, now: float) -> None:
        self.started, self.last_at = self.started + 1, now


def programme(offers: Sequence[Offer]) -> Iterator[Offer]:
    """The order of the runs: the kinds in turn, each through all its stories; single questions first.

    Each kind begins somewhere else, so that the same story is not told twice in a row.
    """
    asking = [[offer for offer in offers if offer.kind == kind and offer.asks] for kind in PATHS]
    shifts = [place * len(found) // len(PATHS) for place, found in enumerate(asking)]
    shifted = [found[shift:] + found[:shift] for found, shift in zip(asking, shifts, strict=True)]
    turns = [itertools.cycle(sorted(found, key=lambda offer: offer.asks)) for found in shifted if found]
    quiet = itertools.cycle([offer for offer in offers if not offer.asks] or [None])
    for count in itertools.count(1):
        for turn in turns:
            yield next(turn)
        if count % QUIET_EVERY == 0 and (offer := next(quiet)) is not None:
            yield offer


async def drive(stop: asyncio.Event) -> None:
    """Keep the emulator running and its agents asking, until cancelled. The demo may fail; the house stands."""
    while True:
        try:
            await _play()
        except (OSError, httpx.HTTPError, TimeoutError, EmulatorEnded) as exc:
            logger.error("demo: it begins again in %s s: %s: %s", AGAIN_S, type(exc).__name__, exc)
        await asyncio.sleep(AGAIN_S)


async def pause(stop: asyncio.Event) -> None:
    """Without --demo there is no emulator: its providers rest."""
    await holding.run(_pause)


class EmulatorEnded(Exception):
    """The child process ended or said something else than its address."""


async def _play() -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "emulate", "all", "--port", "0", "--parent-pipe"]
    command += ["--state", str(settings.DATA_DIR / "emulator")]
    # A session of its own: Ctrl-C is for us. It ends when our end of the pipe closes, however we end.
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        url = await _address(child)
        logger.info("demo: the emulator is at %s", url)
        accounts, user = await holding.run(_prepare, url)
        await _keep_asking(url, accounts, user, child)
    finally:
        if child.stdin is not None:
            child.stdin.close()
        if child.returncode is None:
            child.terminate()


async def _address(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(START_S):
        line = (await child.stdout.readline()).decode("utf-8", "replace").strip()
    word, _, url = line.partition(": ")
    if word != "Emulator":
        raise EmulatorEnded(f"the emulator did not start: {line[:80]!r}")
    return url


async def _keep_asking(
    url: str, accounts: Mapping[str, Provider], user: User, child: asyncio.subprocess.Process
) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        offered = (await client.get(f"{url}/_scenarios")).raise_for_status().json()
    order, pace = programme(_offers(offered)), Pace()
    loop = asyncio.get_running_loop()
    while child.returncode is None:
        if pace.due(loop.time(), await holding.run(_pending)):
            offer = next(order)
            await holding.run(_start, offer, accounts[offer.kind], user)
            if offer.asks:
                pace.start(loop.time())
            continue
        await asyncio.sleep(LOOK_S)
    raise EmulatorEnded(f"the emulator ended with code {child.returncode}")


def _offers(said: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Offer]:
    return [
        Offer(
            kind=kind,
            title=one["title"],
            task=one["task"],
            asks=one["asks"],
            workflow=one.get("workflow", ""),
            options=one.get("options") or {name: one[name] for name in ("forwardedProps",) if name in one},
        )
        for kind, offers in said.items()
        if kind in PATHS
        for one in offers
    ]


def _prepare(url: str) -> tuple[dict[str, Provider], User]:
    accounts = {}
    for kind, path in PATHS.items():
        account, made = Provider.objects.get_or_create(
            name=NAMES[kind],
            defaults={"kind": kind, "base_url": url + path, "options": {"demo": True, **OPTIONS.get(kind, {})}},
        )
        if made:
            try:
                account.set_secret("demo")  # the emulator takes any
            except SecretError as exc:
                logger.warning("demo: %s", exc)
        account.base_url, account.paused, account.credential_refused_at = url + path, False, None
        account.save()
        accounts[kind] = account
    user, made = User.objects.get_or_create(username=USER, defaults={"first_name": "Demo"})
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return accounts, user


def _pause() -> None:
    if Provider.objects.filter(name__in=NAMES.values(), paused=False).update(paused=True):
        announce.changed(announce.INBOX)


def _pending() -> int:
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING)
    return pending.filter(run__provider__name__in=NAMES.values()).count()


def _start(offer: Offer, account: Provider, user: User) -> None:
    try:
        runs.start(account, task=offer.task, workflow=offer.workflow, options=offer.options, title=offer.title, by=user)
    except StartRefused as exc:
        logger.error("demo: %s cannot be started: %s", offer.title, exc)
