"""Holding many streams: processor time an event, memory a stream, opening and closing, decisions beside (H1 to H5).

Every way of holding is a process of its own (subject.py), and so is the provider (provider.py), which paces one event
at a time over all streams: what is compared is the holding process's processor time, and other work on the machine does
not count. The ways take turns; the median of the rounds counts.
"""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from dashboard.bench import soak
from dashboard.bench.certificates import certificate
from dashboard.bench.provider import Provider, provider
from dashboard.bench.rows import Row, judged, repeated
from dashboard.bench.subject import Process, subject

try:
    import httpx_sse
except ImportError:  # the baseline is a development dependency
    httpx_sse = None  # type: ignore[assignment]

MICRO = 1e6
KIB = 1024


def paced(house: Provider, held: Process, group: str, per_s: float, seconds: float) -> float:
    """Processor seconds an event, every one of which must arrive."""
    before = held.do("cpu")
    done = house.do("pace", group=f"{group}-", per_s=per_s, seconds=seconds)["done"]
    while True:
        after = held.do("cpu")
        came = after["heard"] - before["heard"]
        if came >= done:
            break
    if came > done:
        raise RuntimeError(f"{group}: {done} events were sent and {came} came")
    return float(after["cpu_s"] - before["cpu_s"]) / float(done)


def per_event(rounds: int, n: int, per_s: float, seconds: float, quick: bool) -> Iterator[Row]:
    """H1, H2: what an event costs whoever holds its stream."""
    ways = ["ours", "protocol", *(["naive"] if httpx_sse else [])]
    with provider() as house, ExitStack() as stack:
        url = f"http://127.0.0.1:{house.port}"
        held = {way: stack.enter_context(subject(way, url)) for way in ways}
        for way, process in held.items():
            process.do("open", group=way, n=n)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, process in held.items():
                taken[way].append(paced(house, process, way, per_s, seconds))
    cost = {way: statistics.median(times) for way, times in taken.items()}
    about = f"{n} streams, {per_s:g} events/s"
    report = partial(judged, "hold", value=cost["ours"] * MICRO, unit="us CPU/event", n=int(per_s * seconds) * rounds)
    if httpx_sse:
        naive = cost["naive"]
        yield report(
            row="H1", baseline=naive * MICRO, ratio=cost["ours"] / naive, at_most=0.8, quick=quick,
            note=f"{about}, against httpx + httpx-sse; stretch 0.5",
        )  # fmt: skip
    else:
        yield report(row="H1", note="httpx-sse is not installed")
    raw = cost["protocol"]
    yield report(row="H2", baseline=raw * MICRO, ratio=cost["ours"] / raw, note=f"{about}, against asyncio.Protocol")


def memory(n: int, quick: bool) -> Iterator[Row]:
    """H3: what a held stream keeps resident, after a few events on each."""
    with tempfile.TemporaryDirectory() as folder:
        paths = certificate(folder)
        for scheme, tls in (("http", ()), ("https", paths)):
            kept = {}
            for way in ("streams", "ours"):
                with provider(*tls) as house, subject(way, f"{scheme}://127.0.0.1:{house.port}", *tls[:1]) as held:
                    held.do("open", group="warm", n=20)
                    held.do("close")
                    before = held.do("rss")["rss_bytes"]
                    held.do("open", group=way, n=n)
                    paced(house, held, way, min(4 * n, 4000), max(1.0, 3 * n / 4000))
                    kept[way] = (held.do("rss")["rss_bytes"] - before) / n
            yield judged(
                "hold", "H3", kept["ours"] / KIB, "KiB/stream", n=n, baseline=kept["streams"] / KIB,
                ratio=kept["ours"] / kept["streams"], at_most=1.5 if tls else None, quick=quick,
                note="TLS, against asyncio's with max_size 16 KiB" if tls else "plain, against asyncio's streams",
            )  # fmt: skip


def opening(rounds: int, few: int, many: int, quick: bool) -> Iterator[Row]:
    """H4, H5: what opening and closing a stream costs where there are many, and a decision beside them."""
    costs: dict[int, list[float]] = {few: [], many: []}
    p50: dict[int, list[float]] = {0: [], many: []}
    posts = 100 if quick else 400
    with provider() as house, subject("ours", f"http://127.0.0.1:{house.port}") as held:
        held.do("open", group="warm", n=few)
        held.do("close")
        held.do("post", n=50)
        for number in range(rounds):
            few_s = []
            for part in range(5):
                few_s.append(_open_close(held, f"few{number}.{part}", few))
            costs[few].append(statistics.median(few_s))
            p50[0].append(held.do("post", n=posts)["p50_s"])
            opened_s = held.do("open", group=f"many{number}", n=many)["cpu_s"]
            p50[many].append(held.do("post", n=posts)["p50_s"])
            costs[many].append((opened_s + held.do("close")["cpu_s"]) / many)
    cost = {n: statistics.median(times) for n, times in costs.items()}
    yield judged(
        "hold", "H4", cost[many] * MICRO, "us CPU/stream", n=many * rounds, baseline=cost[few] * MICRO,
        ratio=cost[many] / cost[few], at_most=1.3, quick=quick, note=f"open and close, {many} streams against {few}",
    )  # fmt: skip
    idle, busy = (statistics.median(p50[n]) for n in (0, many))
    yield judged(
        "hold", "H5", busy * 1000, "ms p50", n=posts * rounds, baseline=idle * 1000, ratio=busy / idle, at_most=1.3,
        quick=quick, note=f"a decision's POST, {many} streams held against none",
    )  # fmt: skip


def _open_close(held: Process, group: str, n: int) -> float:
    return float(held.do("open", group=group, n=n)["cpu_s"] + held.do("close")["cpu_s"]) / n


def growth(rounds: int, sizes: tuple[int, ...], per_s: float, seconds: float, quick: bool) -> Iterator[Row]:
    """What an event costs at so many streams, at the same number of events a second in all."""
    with provider() as house, ExitStack() as stack:
        url = f"http://127.0.0.1:{house.port}"
        held = {n: stack.enter_context(subject("ours", url)) for n in sizes}
        for n, process in held.items():
            process.do("open", group=f"of{n}", n=n)
        taken: dict[int, list[float]] = {n: [] for n in sizes}
        for _ in range(rounds):
            for n, process in held.items():
                taken[n].append(paced(house, process, f"of{n}", per_s, seconds))
    cost = {n: statistics.median(times) for n, times in taken.items()}
    least, most = cost[sizes[0]], max(cost.values())
    yield judged(
        "hold", "growth", most * MICRO, "us CPU/event", n=int(per_s * seconds) * rounds * len(sizes),
        baseline=least * MICRO, ratio=most / least, at_most=1.2, quick=quick,
        note=", ".join(f"{n} streams: {cost[n] * MICRO:.1f} us" for n in sizes) + f", {per_s:g} events/s in all",
    )  # fmt: skip


def run(quick: bool) -> Iterator[Row]:
    """Every row, or the soak that the environment asks for (soak.py).

    `quick` takes fewer streams and events, judges at 0.7 and may measure a bad row again.
    """
    if soak.wanted():
        yield from soak.run()
        return
    if quick:
        yield from repeated(
            [
                lambda: per_event(2, 100, 2000, 0.5, quick),
                lambda: memory(100, quick),
                lambda: opening(1, 50, 200, quick),
                lambda: growth(2, (50, 200), 2000, 0.5, quick),
            ],
            quick=quick,
        )
        return
    yield from per_event(5, 1000, 8000, 2.0, quick)
    yield from memory(1000, quick)
    yield from opening(5, 100, 5000, quick)
    yield from growth(5, (100, 1000, 5000), 4000, 2.0, quick)
