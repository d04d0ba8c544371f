"""Rows A1 to A7: the decoder's own cases, the same over a real socket, any bytes, long lines, and how fast it is."""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from streams.client import Exchange
from streams.providers.base import Call
from streams.sse import Decoder, Frame, Oversize
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.scripted import STREAM_HEAD
from tests.streams.test_sse import FRAGMENTS, calls_for, decode, specified
from tests.streams.test_sse_spec import CASES, Case, outcome

KIB, MIB = 1024, 1024 * 1024


def cuts(stream: bytes, chance: random.Random) -> list[bytes]:
    """A stream in pieces: whole, byte by byte, or cut anywhere."""
    how = chance.randrange(4)
    if how == 0 or len(stream) < 2:
        return [stream]
    if how == 1:
        return [stream[n : n + 1] for n in range(len(stream))]
    places = sorted({0, len(stream), *(chance.randrange(len(stream)) for _ in range(chance.randint(1, 6)))})
    return [stream[start:end] for start, end in zip(places, places[1:], strict=False)]


def test_a1_every_case_gives_its_frames_last_id_and_retry(figure: Figure) -> None:
    expected = [(case, (case.frames, case.last_id, case.retry_ms)) for case in CASES]
    wrong = [case.name for case, told in expected if outcome([case.stream]) != told]
    assert wrong == []
    figure("A1", worst=len(wrong), n=len(CASES), unit="cases wrong (each also cut at every place)")


class Writing:
    """A server that writes one piece after the other, each in a packet of its own, when it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self._writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM_HEAD)
        await writer.drain()
        await self._writers.put(writer)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[tuple[httpx.Response, asyncio.StreamWriter]]:
        """A connection of ours, and the end at which the pieces are written."""
        exchange = Exchange()
        try:
            response = await exchange.send(Call("GET", self.url, repeatable=True, streams=True))
            yield response, await self._writers.get()
        finally:
            await exchange.aclose()


@asynccontextmanager
async def writing() -> AsyncIterator[Writing]:
    made = Writing()
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


async def over_a_socket(server: Writing, pieces: Sequence[bytes]) -> tuple[list[Frame], str, int | None]:
    """What came of a stream that was written in these pieces."""
    decoder, frames = Decoder(), list[Frame]()
    async with server.stream() as (response, writer):

        async def write() -> None:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()

        writing_it = asyncio.create_task(write())
        async for chunk in response.aiter_raw():
            frames += decoder.feed(chunk)
        await writing_it
    return frames, decoder.last_event_id, decoder.retry_ms


async def test_a2_every_case_over_a_real_socket(figure: Figure) -> None:
    chance, wrong, count = random.Random(2), list[str](), 0
    async with asyncio.timeout(600), writing() as server:
        for case in CASES:
            for pieces in [cuts(case.stream, chance) for _ in range(10 if LONG else 1)]:
                count += 1
                if await over_a_socket(server, pieces) != (case.frames, case.last_id, case.retry_ms):
                    wrong.append(case.name)
    assert wrong == []
    figure("A2", worst=len(wrong), n=count, unit="cases wrong over a socket", seed=2)


async def test_a3_a_frame_is_there_before_the_next_byte_is_sent(figure: Figure) -> None:
    """Whatever ends it. The next chunk is only written once the frame of the one before was dispatched."""
    took: list[float] = []
    async with asyncio.timeout(60), writing() as server:
        for end in (b"\r\r", b"\n\n", b"\r\n\r\n", b"\r\n\r", b"\r\n\n"):
            async with server.stream() as (response, writer):
                decoder, chunks = Decoder(), response.aiter_raw()
                for number in range(40 if LONG else 20):
                    sent_at = time.perf_counter()
                    writer.write(b"data: %d" % number + end)
                    await writer.drain()
                    frames: list[Frame] = []
                    while not frames:
                        frames = decoder.feed(await anext(chunks))
                    took.append(time.perf_counter() - sent_at)
                    assert [frame.data for frame in frames] == [str(number)]
                writer.close()
    p99 = sorted(took)[int(len(took) * 0.99)]
    figure("A3", worst=round(p99 * 1000, 1), n=len(took), unit="ms until dispatched (p99), each before the next byte")


def random_stream(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(200))
    return b"".join(chance.choices(FRAGMENTS, k=chance.randrange(40)))


def test_a4_any_bytes_cut_anywhere_give_what_the_specification_says(figure: Figure) -> None:
    """In the long form for ten minutes; beside it Hypothesis looks for the odd ones (test_sse.py)."""
    chance, count, until = random.Random(4), 0, time.monotonic() + 600
    differ = 0
    while time.monotonic() < until if LONG else count < 2_000:
        stream = random_stream(chance)
        differ += decode(cuts(stream, chance), Decoder()) != specified(stream)
        count += 1
    assert differ == 0
    figure("A4", worst=differ, n=count, unit="streams that differ, 0 crashes", seed=4)


@pytest.mark.parametrize("size", [16, 1400, 64 * KIB])
def test_a5_a_long_line_costs_as_much_a_byte_as_a_short_one(size: int, figure: Figure) -> None:
    """By the calls that it takes, which no busy machine changes; `bench sse` has the seconds."""
    unit = 64 * KIB if size == 16 else MIB
    calls = [calls_for([b"data: ", *[b"x" * size] * (times * unit // size), b"\n\n"]) for times in (1, 2, 4, 8)]
    ratio = max(later / before for before, later in zip(calls, calls[1:], strict=False))
    assert ratio <= 2.3
    figure("A5", worst=round(ratio, 2), n=len(calls), unit=f"times the calls a doubling, chunks of {size} bytes")


def test_a5_a_line_of_14_mib_is_taken(figure: Figure) -> None:
    decoder, piece = Decoder(), b"x" * 64 * KIB
    decoder.feed(b"data: ")
    for _ in range(14 * 16):
        decoder.feed(piece)
    (frame,) = decoder.feed(b"\n\n")
    assert len(frame.data) == 14 * MIB
    figure("A5", worst=len(frame.data) // MIB, n=1, unit="MiB in one line")


def rss_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def test_a6_a_line_without_end_is_cut_at_the_limit(figure: Figure) -> None:
    """Over a socket: a gigabyte is offered, and what is taken of it is bounded."""
    piece, offered, grown = b"x" * 64 * KIB, 0, 0
    async with asyncio.timeout(300), writing() as server, server.stream() as (response, writer):
        writer.transport.set_write_buffer_limits(64 * KIB)

        async def write() -> None:
            nonlocal offered
            writer.write(b"data: ")
            while offered < 1024 * MIB:
                writer.write(piece)
                offered += len(piece)
                await writer.drain()

        writing_it = asyncio.create_task(write())
        decoder, before = Decoder(), rss_bytes()
        with pytest.raises(Oversize):
            async for chunk in response.aiter_raw():
                decoder.feed(chunk)
                grown = max(grown, rss_bytes() - before)
        await response.aclose()
        writing_it.cancel()
        await asyncio.wait([writing_it])
        writer.transport.abort()
    assert grown < 64 * MIB
    assert offered < 64 * MIB
    figure("A6", worst=grown // MIB, n=1, unit=f"MiB of memory more, {offered // MIB} MiB taken of 1024")


def test_a7_a_hundred_thousand_events(figure: Figure) -> None:
    """Each of 200 bytes, in chunks of 64 KiB; how many a second are taken is told, a bench judges it."""
    count = 100_000 if LONG else 20_000
    one = b"id: %07d\nevent: text\ndata: %s\n\n"
    stream = b"".join(one % (n, b"x" * 168) for n in range(count))
    chunks = [stream[start : start + 64 * KIB] for start in range(0, len(stream), 64 * KIB)]
    decoder, frames, began = Decoder(), 0, time.perf_counter()
    for chunk in chunks:
        frames += len(decoder.feed(chunk))
    took_s = time.perf_counter() - began
    assert (frames, decoder.last_event_id) == (count, f"{count - 1:07d}")
    assert len(stream) == 200 * count
    figure("A7", worst=int(count / took_s), n=count, unit="events a second, parser only")


def test_the_cases_are_many_and_none_twice() -> None:
    names: list[str] = [case.name for case in CASES if isinstance(case, Case)]
    assert len(set(names)) == len(names) > 75
