"""Decoder: any chunking and both ways through give what the specification's own steps give; the cap; linear time."""

import ast
import gc
import re
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import sse
from streams.sse import BOM, EVERYDAY, Decoder, Frame, Oversize, StampedFrame, frames
from tests.long_form import examples

ROOT = Path(sse.__file__).resolve().parent.parent
KIB = 1024
MIB = 1024 * KIB

Outcome = tuple[list[tuple[str, str, str, str]], str, int | None, bool]


class ByLine(Decoder):
    """Only the specification's way."""

    def _sweep(self, lines: bytes) -> None:
        self._lines(lines, len(lines))


class BySweep(Decoder):
    """Only the quick way (which leaves the cap to the other)."""

    def _lines(self, chunk: bytes, stop: int) -> None:
        self._sweep(chunk[:stop])


def decode(chunks: Iterable[bytes], decoder: Decoder) -> Outcome:
    """What a stream came to: frames with their own ids, last id, retry, and whether it was refused."""
    got: list[Frame] = []
    refused = False
    try:
        for chunk in chunks:
            got += decoder.feed(chunk)
    except Oversize as oversize:
        got += oversize.frames
        refused = True
    return [(*frame, frame.own_id) for frame in got], decoder.last_event_id, decoder.retry_ms, refused


def specified(stream: bytes) -> Outcome:
    """The specification's steps on a whole stream, as its text has them, with no thought of speed."""
    text = stream.removeprefix(BOM).decode("utf-8", "replace")
    event, data, id_buffer, last_id, block_has_id = "", "", "", "", False
    retry_ms = None
    got = []
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        field, colon, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if line == "":
            own_id = id_buffer if block_has_id and id_buffer != last_id else ""
            last_id, block_has_id = id_buffer, False
            if data:
                got.append((event or "message", data[:-1], last_id, own_id))
            event, data = "", ""
        elif colon and field == "":
            continue
        elif field == "event":
            event = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer, block_has_id = value, True
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry_ms = int(value)
    return got, last_id, retry_ms, False


FRAGMENTS = [
    b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\n\r", b" ", b"  ", b"\0", b"a", b":", b":\n", b": ping\n\n",
    b"data", b"data:", b"data: ", b"data: a", b"data:  a", b"data: {}\n\n", b"foo: bar\n",
    b"event", b"event:", b"event: ", b"event: x\n", b"event: x\ndata: y\n\n", b"event: x\r\ndata: y\r\n\r\n",
    b"id", b"id:", b"id: ", b"id: 1\n", b"id: \0\n", b"id: 2\ndata: z\n\n", b"id: 1\nevent: x\ndata: y\n\n",
    b"retry: 12\n", b"retry: 0\n", b"retry: x\n", b"retry:\n", BOM, BOM[:2], BOM[2:],
    b"\x85", b"\x0b", b"\x0c", "\u2028".encode(), "é€😀".encode(), b"\xff", b"\xe2\x82", b"\xf0\x9f", b"\x98\x80",
]  # fmt: skip

streams = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join) | st.binary(max_size=200)


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]


@settings(max_examples=examples(1000), deadline=None)
@given(cut_streams())
def test_any_chunking_either_way_gives_what_the_specification_says(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    expected = specified(stream)
    for way in (Decoder, ByLine, BySweep):
        assert decode(chunks, way()) == expected, way
        assert decode([stream], way()) == expected, way
        assert decode([bytes([byte]) for byte in stream], way()) == expected, way


@settings(max_examples=examples(300), deadline=None)
@given(cut_streams(), st.integers(1, 60))
def test_any_chunking_gives_the_same_frames_before_the_same_refusal(chunks: list[bytes], cap: int) -> None:
    whole = decode([b"".join(chunks)], ByLine(max_event_bytes=cap))
    assert decode(chunks, Decoder(max_event_bytes=cap)) == whole
    assert decode([b"".join(chunks)], Decoder(max_event_bytes=cap)) == whole


@pytest.mark.parametrize("size", [1000, sse.LONG_LINE_BYTES - 8, sse.LONG_LINE_BYTES, sse.LONG_LINE_BYTES + 8, 300_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_long_lines_among_short_ones_go_either_way(size: int, line_end: bytes) -> None:
    block = [
        b"id: 1",
        b"event: x",
        b"data: " + "ä".encode() * (size // 2),
        b"",
        b"data: a",
        b"data: b",
        b"",
        b"data: c",
        b"",
        b"",
    ]
    stream = line_end.join(block) * 2
    expected = specified(stream)
    for chunk_bytes in (len(stream), 64 * KIB, 1400):
        chunks = [stream[start : start + chunk_bytes] for start in range(0, len(stream), chunk_bytes)]
        assert decode(chunks, Decoder()) == decode(chunks, ByLine()) == decode(chunks, BySweep()) == expected


# Frame.


def test_frame_has_three_fields_and_a_default_event() -> None:
    frame = Frame(event="x", data="a", id="1")
    assert (frame.event, frame.data, frame.id, frame.own_id) == ("x", "a", "1", "")
    assert repr(frame) == "Frame(event='x', data='a', id='1')"
    assert Frame(data="a", id="").event == "message"
    with pytest.raises(AttributeError):
        frame.data = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        frame.other = "b"  # type: ignore[attr-defined]


def own_ids(stream: bytes, last_event_id: str = "") -> list[str]:
    return [frame.own_id for frame in Decoder(last_event_id).feed(stream)]


def test_own_id_is_set_only_where_the_frame_brought_a_new_one() -> None:
    assert own_ids(b"data: a\n\nid: 1\ndata: b\n\ndata: c\n\nid: 2\ndata: d\n\n") == ["", "1", "", "2"]


def test_own_id_is_empty_where_the_block_before_had_the_same() -> None:
    assert own_ids(b"id: 1\ndata: a\n\nid: 1\ndata: b\n\nid: 1\n: c\ndata: c\n\n") == ["1", "", ""]


def test_own_id_of_a_resumed_stream_that_begins_with_the_last_event_again() -> None:
    assert own_ids(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", last_event_id="1") == ["1", "2"]


def test_own_id_does_not_belong_to_the_frame_after_an_id_alone() -> None:
    assert own_ids(b"id: 1\n\ndata: a\n\n") == [""]


def test_a_frame_with_its_own_id_equals_the_same_frame_without() -> None:
    (frame,) = Decoder().feed(b"id: 1\ndata: a\n\n")
    assert isinstance(frame, StampedFrame)
    assert frame == Frame(event="message", data="a", id="1")
    assert hash(frame) == hash(Frame(event="message", data="a", id="1"))


# The cap.


def test_an_event_as_large_as_the_cap_is_decoded() -> None:
    lines = b"event: x\ndata: " + b"a" * 100 + b"\n"
    for way in (Decoder, ByLine):
        assert [frame.data for frame in way(max_event_bytes=len(lines)).feed(lines + b"\n")] == ["a" * 100]
        with pytest.raises(Oversize):
            way(max_event_bytes=len(lines) - 1).feed(lines + b"\n")


def test_many_events_larger_together_than_the_cap_are_decoded() -> None:
    stream = b"event: x\ndata: aaaaaaaaaaaaaaaaaaaa\n\n" * 100
    assert len(Decoder(max_event_bytes=64).feed(stream)) == 100


@pytest.mark.parametrize("name", [b"data: ", b"event: ", b"id: ", b"foo: ", b": ", b""])
def test_a_line_over_the_cap_is_refused_before_it_ends(name: bytes) -> None:
    decoder = Decoder(max_event_bytes=1000)
    decoder.feed(name)
    decoder.feed(b"x" * (1000 - len(name)))
    with pytest.raises(Oversize) as refused:
        decoder.feed(b"x")
    assert (refused.value.size_bytes, refused.value.limit_bytes) == (1001, 1000)


@pytest.mark.parametrize("line", [b"data: xx\n", b"data\r\n", b"event: x\n", b"id: 1\r", b"foo\n"])
def test_an_event_of_many_lines_over_the_cap_is_refused(line: bytes) -> None:
    decoder = Decoder(max_event_bytes=1000)
    with pytest.raises(Oversize):
        for _ in range(1000):
            decoder.feed(line)


def test_comments_without_end_are_no_event() -> None:
    decoder = Decoder(max_event_bytes=100)
    for _ in range(1000):
        assert decoder.feed(b": ping\n") == []
    assert decoder.feed(b"data: a\n\n") == [Frame(data="a")]


def test_a_refused_decoder_stays_refused() -> None:
    decoder = Decoder(max_event_bytes=20)
    with pytest.raises(Oversize) as first:
        decoder.feed(b"data: a\n\ndata: " + b"b" * 100)
    assert first.value.frames == (Frame(data="a"),)
    for chunk in (b"\n\ndata: c\n\n", b""):
        with pytest.raises(Oversize) as again:
            decoder.feed(chunk)
        assert again.value.frames == ()  # handed out once
        assert again.value.size_bytes == first.value.size_bytes


def peak_of(decoder: Decoder, chunk: bytes, total_bytes: int) -> int:
    """Feed a chunk over and over until it is refused; the most memory that this took."""
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(Oversize):
            for _ in range(total_bytes // len(chunk)):
                decoder.feed(chunk)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "chunk",
    [b"x", b"xyz", b"x" * 1400, b"x" * 64 * KIB, b"data: xx\n", b"data: x\n" * 1000, b"data:\n", b"event: \xff\r\n"],
)
def test_memory_stays_within_the_cap_and_a_chunk(chunk: bytes) -> None:
    cap = 256 * KIB
    peak = peak_of(Decoder(max_event_bytes=cap), chunk, total_bytes=4 * cap)
    assert peak < 1.5 * cap + 4 * len(chunk) + 64 * KIB


def test_a_refused_decoder_keeps_nothing() -> None:
    decoder = Decoder(max_event_bytes=MIB)
    tracemalloc.start()
    try:
        with pytest.raises(Oversize):
            for _ in range(20):
                decoder.feed(b"x" * 64 * KIB)
        assert tracemalloc.get_traced_memory()[0] < 64 * KIB + 32 * KIB
    finally:
        tracemalloc.stop()


def test_a_line_of_14_mib_is_decoded_under_the_default_cap() -> None:
    decoder = Decoder()
    piece = b"x" * 64 * KIB
    decoder.feed(b"data: ")
    for _ in range(14 * 16):
        decoder.feed(piece)
    (frame,) = decoder.feed(b"\n\n")
    assert len(frame.data) == 14 * MIB


# Linear time, without a clock.


def calls_for(chunks: list[bytes]) -> int:
    """How many calls, of Python and C functions alike, decoding takes."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    decoder = Decoder()
    sys.setprofile(count)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "piece",
    [
        b"x",
        b"data: x\n",
        b"data: x\n\n",
        b"id: 1\nevent: x\ndata: y\n\n",
        b": c\n",
        b"\r",
        b"data: " + b"x" * 5000 + b"\n",
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_calls_grow_with_the_stream_and_no_faster(piece: bytes, joined: bool) -> None:
    def chunks(count: int) -> list[bytes]:
        return [piece * count] if joined else [piece] * count

    calls = calls_for(chunks(1001)) - calls_for(chunks(1))
    assert calls_for(chunks(2001)) - calls_for(chunks(1)) <= 2 * calls + 10


def test_a_held_line_grows_in_place_and_is_not_read_again() -> None:
    decoder = Decoder()
    decoder.feed(b"data: ")
    held = decoder._held
    for _ in range(1000):
        decoder.feed(b"x" * 16)
    assert decoder._held is held
    assert len(held) == 16_006


def test_the_expression_cannot_backtrack_within_a_line() -> None:
    without_possessive = re.sub(rb"[?*+]\+", b"", EVERYDAY.pattern)
    assert not set(b"*+{") & set(without_possessive)


# frames().


async def each(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_frames_yields_each_frame_and_leaves_its_marks_on_the_decoder() -> None:
    decoder = Decoder()
    got = [frame async for frame in frames(each(b"id: 1\nda", b"ta: a\n\ndata: b\n\n", b"retry: 9\ndata: c"), decoder)]
    assert got == [Frame(data="a", id="1"), Frame(data="b", id="1")]
    assert (decoder.last_event_id, decoder.retry_ms) == ("1", 9)


async def test_frames_yields_what_came_before_the_refused_event() -> None:
    got = []
    with pytest.raises(Oversize):
        async for frame in frames(each(b"data: a\n\ndata: b\n\ndata: " + b"c" * 100), Decoder(max_event_bytes=50)):
            got.append(frame.data)
    assert got == ["a", "b"]


# What it stands on.


def test_only_the_standard_library_is_imported() -> None:
    for name in ("sse.py", "__init__.py"):
        tree = ast.parse((ROOT / "streams" / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in sys.stdlib_module_names


def test_it_runs_on_a_bare_interpreter() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from streams.sse import Decoder; print(Decoder().feed(b'data\\n\\n'))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[Frame(event='message', data='', id='')]", done.stderr
