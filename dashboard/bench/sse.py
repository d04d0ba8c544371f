"""The decoder against httpx-sse, against `bytes.split` and against itself: rows P1, P2, P4, A5 and A7.

Every comparison is interleaved in one run and the median of the rounds counts. Both sides read the same in-memory
asynchronous byte iterator, and before a cell is timed its events are compared one by one.
"""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial

import httpx

from dashboard.bench.rows import Row, judged, medians, repeated
from streams import sse

try:
    from httpx_sse import EventSource
except ImportError:  # the baseline is a development dependency
    EventSource = None  # type: ignore[assignment, misc]

LARGE_CHUNK_BYTES = 64 * 1024
SMALL_CHUNK_BYTES = 1400
MIB = 1024 * 1024


# What is decoded.


def token(number: int) -> bytes:
    data = json.dumps({"content": f"token {number} "})
    return f"event: chunk\ndata: {data:<43}\n\n".encode()


def mixed(number: int) -> bytes:
    word = "Grüße an alle " if number % 4 == 0 else "lorem ipsum do "
    data = {"type": "TOOL_CALL_ARGS", "number": number, "text": word * (20 + number % 60)}
    return b"event: tool_call\ndata: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def snapshot(number: int) -> bytes:
    items = [f"item {item} of the list" for item in range(9_000)]
    return b"data: " + json.dumps({"type": "STATE_SNAPSHOT", "number": number, "items": items}).encode() + b"\n\n"


def crlf(number: int) -> bytes:
    return mixed(number).replace(b"\n", b"\r\n")


def with_ids(number: int) -> bytes:
    return b"id: %d\n" % number + mixed(number)


CONTENTS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "token": (token, 20_000),
    "mixed": (mixed, 5_000),
    "snapshot": (snapshot, 60),
    "crlf": (crlf, 5_000),
}


def cut(stream: bytes, chunk_bytes: int) -> list[bytes]:
    return [stream[start : start + chunk_bytes] for start in range(0, len(stream), chunk_bytes)]


# Who decodes it.


class Chunks(httpx.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def by_httpx_sse(chunks: list[bytes], keep: list[tuple[str, str]] | None = None) -> int:
    count = 0
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks))
    async for event in EventSource(response).aiter_sse():
        count += 1
        if keep is not None:
            keep.append((event.event, event.data))
    return count


async def by_feed(chunks: list[bytes], keep: list[tuple[str, str]] | None = None) -> int:
    count = 0
    decoder = sse.Decoder()
    async for chunk in Chunks(chunks):
        for frame in decoder.feed(chunk):
            count += 1
            if keep is not None:
                keep.append((frame.event, frame.data))
    return count


async def by_frames(chunks: list[bytes]) -> int:
    count = 0
    async for _ in sse.frames(aiter(Chunks(chunks)), sse.Decoder()):
        count += 1
    return count


def run_async(decode: Callable[[list[bytes]], Coroutine[None, None, int]], chunks: list[bytes]) -> None:
    asyncio.run(decode(chunks))


def feed_all(chunks: list[bytes]) -> None:
    decoder = sse.Decoder()
    for chunk in chunks:
        decoder.feed(chunk)


def check_same_events(chunks: list[bytes], count: int) -> None:
    theirs: list[tuple[str, str]] = []
    ours: list[tuple[str, str]] = []
    asyncio.run(by_httpx_sse(chunks, theirs))
    asyncio.run(by_feed(chunks, ours))
    if len(ours) != count or ours != theirs:
        raise RuntimeError("an event was lost, doubled, reordered or changed")


def against_httpx_sse(rounds: int, share: float, quick: bool) -> Iterator[Row]:
    """P1: events per second in each cell, then the geometric means."""
    fed, framed = [], []
    for content, (make, full_count) in CONTENTS.items():
        count = max(10, int(full_count * share))
        events = [make(number) for number in range(count)]
        for chunking, chunks in (("event", events), ("64K", cut(b"".join(events), LARGE_CHUNK_BYTES))):
            check_same_events(chunks, count)
            theirs_s, ours_s, frames_s = medians(
                rounds,
                partial(run_async, by_httpx_sse, chunks),
                partial(run_async, by_feed, chunks),
                partial(run_async, by_frames, chunks),
            )
            fed.append(theirs_s / ours_s)
            framed.append(theirs_s / frames_s)
            yield judged(
                "sse", "P1", count / ours_s, "events/s", n=count, baseline=count / theirs_s, ratio=theirs_s / ours_s,
                at_least=1.8, quick=quick, note=f"{content}, {chunking} chunks; frames(): {theirs_s / frames_s:.2f}",
            )  # fmt: skip
    fed_mean, framed_mean = statistics.geometric_mean(fed), statistics.geometric_mean(framed)
    yield judged(
        "sse", "P1", fed_mean, "ratio", n=len(fed), ratio=fed_mean, at_least=2.5, quick=quick,
        note=f"geometric mean; frames(): {framed_mean:.2f}; lowest cell {min(fed):.2f}, frames(): {min(framed):.2f}",
    )  # fmt: skip


def with_an_id_each(rounds: int, share: float) -> Iterator[Row]:
    """Not a goal: the same mix with an id line in each event."""
    count = max(10, int(5_000 * share))
    chunks = cut(b"".join(with_ids(number) for number in range(count)), LARGE_CHUNK_BYTES)
    check_same_events(chunks, count)
    theirs_s, ours_s = medians(rounds, partial(run_async, by_httpx_sse, chunks), partial(run_async, by_feed, chunks))
    yield judged(
        "sse", "P1", count / ours_s, "events/s", n=count, baseline=count / theirs_s, ratio=theirs_s / ours_s,
        note="mixed with ids, 64K chunks; not in the mean",
    )  # fmt: skip


def against_split(rounds: int, share: float, quick: bool) -> Iterator[Row]:
    """P2: the share of the speed of only splitting the same chunks at LF LF."""
    count = max(10, int(5_000 * share))
    chunks = cut(b"".join(mixed(number) for number in range(count)), LARGE_CHUNK_BYTES)
    floor_s, ours_s = medians(2 * rounds, lambda: [chunk.split(b"\n\n") for chunk in chunks], lambda: feed_all(chunks))
    yield judged(
        "sse", "P2", count / ours_s, "events/s", n=count, baseline=count / floor_s, ratio=floor_s / ours_s,
        at_least=0.5,
        quick=quick,
    )  # fmt: skip


def large_events(rounds: int, quick: bool) -> Iterator[Row]:
    """P4: what a byte of a 4 MB event costs, against a byte of a 40 KB event; the same number of bytes in all."""
    small = cut(b"data: " + b"x" * 40_000 + b"\n\n", SMALL_CHUNK_BYTES) * 100
    large = cut(b"data: " + b"x" * 4_000_000 + b"\n\n", SMALL_CHUNK_BYTES)
    small_s, large_s = medians(2 * rounds, lambda: feed_all(small), lambda: feed_all(large))
    yield judged(
        "sse", "P4", large_s / 4e6 * 1e9, "ns/byte", n=len(large), baseline=small_s / 4e6 * 1e9,
        ratio=large_s / small_s,
        at_most=1.3, quick=quick,
    )  # fmt: skip


def long_lines(rounds: int, quick: bool) -> Iterator[Row]:
    """A5: how the time grows with the length of a line, as the factor from each length to its double."""
    # glibc gives memory back to the kernel only above twice the largest block it ever freed: without this, the longest
    # line alone pays for page faults, which take longer than decoding it (bytes.join and decode alone: factor 10).
    del [bytes(31 * MIB)][:]
    doublings = [(1, 2), (2, 4), (4, 8), (7, 14)]
    lengths = sorted({length for doubling in doublings for length in doubling})
    for chunk_bytes in (16, SMALL_CHUNK_BYTES, LARGE_CHUNK_BYTES):
        # One piece over and over, as from a receive buffer: what is measured is the decoder, not reading cold input.
        piece = b"x" * chunk_bytes
        streams = [[b"data: ", *[piece] * (length * MIB // chunk_bytes), b"\n\n"] for length in lengths]
        times = medians(rounds, *(partial(feed_all, chunks) for chunks in streams))
        taken = dict(zip(lengths, times, strict=True))
        steps = [taken[double] / taken[length] for length, double in doublings]
        yield judged(
            "sse", "A5", max(steps), "ratio", n=lengths[-1] * MIB, ratio=max(steps), at_most=2.3, quick=quick,
            note=f"{chunk_bytes} B chunks; {', '.join(f'{step:.2f}' for step in steps)}",
        )  # fmt: skip


def rate(rounds: int, share: float, quick: bool) -> Iterator[Row]:
    """A7: events of 200 B on one connection, the decoder alone."""
    count = int(100_000 * share)
    event = b"event: chunk\ndata: " + b"x" * 179 + b"\n\n"
    chunks = cut(event * count, LARGE_CHUNK_BYTES)
    (ours_s,) = medians(rounds, lambda: feed_all(chunks))
    yield judged("sse", "A7", count / ours_s, "events/s", n=count, at_least=20_000, quick=quick)


def run(quick: bool) -> Iterator[Row]:
    """Every row, as it is measured. `quick` takes fewer events, judges at 0.7 and may measure a bad row again."""
    rounds, share = (3, 0.2) if quick else (7, 1.0)
    benches: list[Callable[[], Iterator[Row]]] = [
        lambda: against_split(rounds, share, quick),
        lambda: large_events(rounds, quick),
        lambda: long_lines(rounds, quick),
        lambda: rate(rounds, share, quick),
    ]
    if EventSource is None:
        yield judged("sse", "P1", 0.0, "ratio", n=0, note="httpx-sse is not installed")
    else:
        benches = [lambda: against_httpx_sse(rounds, share, quick), lambda: with_an_id_each(rounds, share), *benches]
    yield from repeated(benches, quick=quick)
    yield judged("sse", "P3", 0.0, "ratio", n=0, note="node's eventsource-parser is not installed")
