"""The product's one process holds many streams for long: memory a stream and cost an event, at first and at last.

`COUNTERSIGN_BENCH_SOAK=5000x600 manage.py bench hold` runs it for so many streams and seconds;
`COUNTERSIGN_BENCH_SOAK=1000x600,tls` over TLS. Without that environment variable nothing of it runs.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack

from dashboard import env
from dashboard.bench.certificates import certificate
from dashboard.bench.house import House, house
from dashboard.bench.provider import Provider, provider
from dashboard.bench.rows import Row, judged

PER_S = 250.0  # events in all: a stream of 5000 hears something every 20 s
WINDOW_S = 60.0
WARM_EVENTS = 4  # on each stream, before memory is compared: the first ones fill caches and buffers
OPEN_S = 900.0
GROWTH = 1.2
KIB, MIB = 1024, 1024 * 1024


def wanted() -> str:
    """What the environment asks for."""
    return env.text("COUNTERSIGN_BENCH_SOAK")


def run() -> Iterator[Row]:
    """One soak after the other."""
    for asked in wanted().split():
        size, _, how = asked.partition(",")
        n, _, seconds = size.partition("x")
        yield from soak(int(n), float(seconds), tls=how == "tls")


def soak(n: int, seconds: float, *, tls: bool) -> Iterator[Row]:
    """Hold, pace in windows of a minute, compare the last with the first, and count what was stored."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        paths = certificate(folder) if tls else ()
        theirs = stack.enter_context(provider(*paths))
        ours = stack.enter_context(house(*paths[:1]))
        before = ours.rss_bytes()
        cpu, began = ours.cpu_s(), time.monotonic()
        ours.watch(f"{'https' if tls else 'http'}://127.0.0.1:{theirs.port}", "soak", n)
        _until(theirs, n)
        opened_s, opening_cpu_s = time.monotonic() - began, ours.cpu_s() - cpu
        idle_cpu, idle_at = ours.cpu_s(), time.monotonic()
        time.sleep(15)
        idle = (ours.cpu_s() - idle_cpu) / (time.monotonic() - idle_at)
        theirs.do("pace", group="soak-", per_s=2 * PER_S, seconds=WARM_EVENTS * n / PER_S / 2)
        costs, kept, late_s, sent = [], [ours.rss_bytes()], 0.0, {}
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            cpu = ours.cpu_s()
            paced = theirs.do("pace", group="soak-", per_s=PER_S, seconds=WINDOW_S)
            sent, late_s = paced["sent"], max(late_s, paced["late_s"])
            costs.append((ours.cpu_s() - cpu) / paced["done"])
            kept.append(ours.rss_bytes())
        _check(ours, sent)
        held = theirs.do("count", group="soak-")["streams"]
    about = f"{n} streams{' over TLS' if tls else ''}, {PER_S:g} events/s in all, {seconds:g} s"
    yield judged(
        "hold", "soak", (kept[0] - before) / n / KIB, "KiB/stream", n=n,
        note=f"{about}; the process: {before / MIB:.0f} MiB empty, {kept[0] / MIB:.0f} MiB, "
        f"at the end {kept[-1] / MIB:.0f} MiB; opened in {opened_s:.0f} s with {opening_cpu_s / n * 1000:.1f} ms CPU "
        f"each; idle {100 * idle:.1f} % of a processor; {held} held at the end",
    )  # fmt: skip
    yield judged(
        "hold", "soak", (kept[-1] - before) / n / KIB, "KiB/stream", n=n, baseline=(kept[0] - before) / n / KIB,
        ratio=(kept[-1] - before) / (kept[0] - before), at_most=GROWTH, note="memory, at the end against the beginning",
    )  # fmt: skip
    yield judged(
        "hold", "soak", costs[-1] * 1e6, "us CPU/event", n=sum(sent.values()), baseline=costs[0] * 1e6,
        ratio=costs[-1] / costs[0], at_most=GROWTH,
        note=f"last minute against first; all: {', '.join(f'{cost * 1e6:.0f}' for cost in costs)}; "
        f"the provider was at most {late_s:.2f} s late",
    )  # fmt: skip


def _until(theirs: Provider, n: int) -> None:
    until = time.monotonic() + OPEN_S
    while (open_now := theirs.do("count", group="soak-")["streams"]) < n:
        if time.monotonic() > until:
            raise RuntimeError(f"only {open_now} of {n} streams were opened")
        time.sleep(2)


def _check(ours: House, sent: dict[str, int]) -> None:
    """Every event is stored, once, in order."""
    until = time.monotonic() + 60
    while True:
        with sqlite3.connect(ours.folder / "countersign.sqlite3") as database:
            stored = dict(
                database.execute(
                    "SELECT run.external_id, COUNT(event.seq) FROM streams_run run LEFT JOIN streams_event event "
                    "ON event.run_id = run.id AND event.source = 'provider' GROUP BY run.external_id"
                )
            )
            wrong = database.execute(
                "SELECT COUNT(*) FROM streams_event WHERE source = 'provider' "
                "AND CAST(substr(payload, 7, 8) AS INTEGER) != ordinal + 1"
            ).fetchone()[0]
        database.close()
        if stored == sent and not wrong:
            return
        if time.monotonic() > until or wrong:
            lost = sum(sent.values()) - sum(stored.values())
            raise RuntimeError(f"{lost} events are not stored, {wrong} are out of order; {ours.log()}")
        time.sleep(1)
