"""The chunked coding: the same body however it is cut, and h11's opinion on whatever is not well-formed."""

from collections.abc import Iterable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.chunked import LINE_BYTES, TRAILERS_BYTES, Chunked, Malformed
from tests.long_form import examples

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
cuts = st.lists(st.integers(0, 400), max_size=8)


def coded(chunks: Iterable[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    told = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return told + b"0\r\n" + trailers + b"\r\n"


def pieces(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The data cut at these places."""
    places = sorted({0, *(min(one, len(data)) for one in at), len(data)})
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]


def decode(parts: Iterable[bytes]) -> tuple[bytes, bool | None]:
    """The body, and whether it ended; None: it was malformed."""
    decoder, body = Chunked(), b""
    try:
        for part in parts:
            body += decoder.feed(part)
    except Malformed:
        return body, None
    return body, decoder.ended


def by_h11(parts: Iterable[bytes]) -> tuple[bytes, bool | None]:
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    peer.send(h11.EndOfMessage())
    body = b""
    try:
        for part in [HEAD, *parts]:
            peer.receive_data(part)
            while (event := peer.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Data):
                    body += event.data
                if isinstance(event, h11.EndOfMessage):
                    return body, True
    except h11.RemoteProtocolError:
        return body, None
    return body, False


@settings(max_examples=examples(600))
@given(bodies, cuts, st.sampled_from([b"", b";a=b", b';q="x y"']), st.sampled_from([b"", b"x-a: 1\r\nx-b: 2\r\n"]))
def test_a_body_is_the_same_however_it_is_cut(
    chunks: list[bytes], at: list[int], extension: bytes, trailers: bytes
) -> None:
    wire = coded(chunks, extension=extension, trailers=trailers)
    assert decode(pieces(wire, at)) == (b"".join(chunks), True)
    assert decode(wire[place : place + 1] for place in range(len(wire))) == (b"".join(chunks), True)


@settings(max_examples=examples(3_000))
@given(bodies, cuts, st.integers(0, 300), st.sampled_from([b"", b"\r", b"\n", b"\0", b"g", b"0", b" ", b"\r\n", b";"]))
def test_what_is_broken_is_broken_for_h11_too(chunks: list[bytes], at: list[int], place: int, put: bytes) -> None:
    wire = coded(chunks)
    place %= len(wire)
    broken = wire[:place] + put + wire[place + 1 :]
    ours, theirs = decode(pieces(broken, at)), by_h11(pieces(broken, at))
    if theirs[1]:
        assert ours == theirs
    elif ours[1]:  # we are less strict about trailers, and about nothing else
        assert (ours[0], b"\r\n0\r\n" in b"\r\n" + broken) == (theirs[0], True)


@pytest.mark.parametrize(
    "wire",
    [b"x\r\n", b"-1\r\n", b"0x5\r\n", b"5\nhello\r\n", b" 5\r\n", b"5\r\nhelloX\r\n", b"\r\n", b"5\r\nhello\n0\r\n\r\n",
     b"1" * 21 + b"\r\n", b"5\r\nhello\r5\r\n", b"5;a\0b\r\n"],
)  # fmt: skip
def test_what_is_no_chunk_is_refused_in_one_piece_and_byte_by_byte(wire: bytes) -> None:
    assert decode([wire])[1] is None
    assert decode(wire[place : place + 1] for place in range(len(wire)))[1] is None


def test_a_line_without_an_end_is_refused_before_it_is_long() -> None:
    decoder = Chunked()
    with pytest.raises(Malformed, match="size of a chunk"):
        for _ in range(LINE_BYTES + 2):
            decoder.feed(b"1")
    decoder = Chunked()
    decoder.feed(b"0\r\n")
    with pytest.raises(Malformed, match="trailer"):
        for _ in range(TRAILERS_BYTES):
            decoder.feed(b"a: bcdefgh\r\n")


def test_what_follows_the_end_is_left_alone() -> None:
    decoder = Chunked()
    assert decoder.feed(b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n") == b"abc"
    assert (decoder.ended, decoder.feed(b"more")) == (True, b"")


def test_a_body_that_was_cut_off_has_no_end() -> None:
    wire = coded([b"hello", b"again"])
    for end in range(len(wire)):
        assert decode([wire[:end]])[1] is False
