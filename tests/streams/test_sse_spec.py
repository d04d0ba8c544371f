"""The WHATWG's rules, case by case: each stream whole, cut in two at every place, and byte by byte."""

import re
from typing import NamedTuple

import pytest

from streams.sse import BOM, Decoder, Frame


class Case(NamedTuple):
    name: str
    stream: bytes
    frames: list[Frame]
    last_id: str = ""
    retry_ms: int | None = None


def message(data: str, *, id: str = "") -> Frame:
    return Frame(event="message", data=data, id=id)


CASES = [
    # Line ends.
    Case("lf", b"data: a\n\ndata: b\n\n", [message("a"), message("b")]),
    Case("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")]),
    Case("cr", b"data: a\r\rdata: b\r\r", [message("a"), message("b")]),
    Case("line ends mixed within a block", b"event: x\rdata: a\ndata: b\r\n\n", [Frame("x", "a\nb", "")]),
    Case("lf then cr are two ends", b"data: a\n\rdata: b\n\r", [message("a"), message("b")]),
    Case("cr cr lf are two ends", b"data: a\r\r\ndata: b\r\r\n", [message("a"), message("b")]),
    Case("crlf then lf are two ends", b"data: a\r\n\ndata: b\r\n\n", [message("a"), message("b")]),
    Case("only line ends", b"\n\n\r\r\r\n\r\n\n", []),
    Case("many blank lines between blocks", b"\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [message("a"), message("b")]),
    Case("other separators are data", "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\n\n".encode(),
         [message("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei")]),
    # The byte order mark.
    Case("bom is dropped", BOM + b"data: a\n\n", [message("a")]),
    Case("only one bom is dropped", BOM + BOM + b"data: a\n\ndata: b\n\n", [message("b")]),
    Case("bom before a blank line", BOM + b"\ndata: a\n\n", [message("a")]),
    Case("bom later is part of the field's name", b"data: a\n\n" + BOM + b"data: b\n\n", [message("a")]),
    Case("bom on the second line is part of the name", b":\n" + BOM + b"data: a\n\n", []),
    Case("bom in data stays", b"data: " + BOM + b"a\n\n", [message("\ufeffa")]),
    Case("bom alone", BOM, []),
    Case("two thirds of a bom are no bom", BOM[:2] + b"data: a\n\ndata: b\n\n", [message("b")]),
    # Comments.
    Case("comments", b": one\n:two\n:\n\ndata: a\n: between\ndata: b\n\n:\n\n", [message("a\nb")]),
    Case("comment with a field in it", b":data: a\n:id: 1\n\ndata: b\n\n", [message("b")]),
    Case("comment before everyday lines", b": hi\nevent: x\ndata: a\n\n", [Frame("x", "a", "")]),
    Case("comment with a line end of another kind", b":a\rdata: b\r\n\r\n", [message("b")]),
    # Field syntax.
    Case("one space is stripped", b"data:  a\n\ndata:a\n\ndata: a \n\n", [message(" a"), message("a"), message("a ")]),
    Case("a tab is not stripped", b"data:\ta\n\n", [message("\ta")]),
    Case("the value keeps its colons", b"data: a: b:c\n\ndata::\n\n", [message("a: b:c"), message(":")]),
    Case("field without colon", b"data\n\ndata\ndata\n\n", [message(""), message("\n")]),
    Case("unknown fields", b"datas: a\nDATA: b\n data: c\ndata : d\nfoo\ndata\x00: e\n\ndata: f\n\n", [message("f")]),
    Case("nul in data stays", b"data: a\0b\n\n", [message("a\0b")]),
    Case("unknown field begins an everyday block", b"foo: 1\nevent: x\ndata: a\n\n", [Frame("x", "a", "")]),
    # data.
    Case("empty data", b"data:\n\ndata: \n\n", [message(""), message("")]),
    Case("data lines are joined by lf", b"data: a\ndata: b\ndata: c\n\n", [message("a\nb\nc")]),
    Case("one trailing newline is removed", b"data: a\ndata:\ndata:\n\n", [message("a\n\n")]),
    Case("leading empty data line", b"data:\ndata: a\n\n", [message("\na")]),
    Case("data lines apart", b"data: a\nfoo: x\n: c\ndata: b\nevent: e\n\n", [Frame("e", "a\nb", "")]),
    # event.
    Case("event", b"event: x\ndata: a\n\n", [Frame("x", "a", "")]),
    Case("event after data", b"data: a\nevent: x\n\n", [Frame("x", "a", "")]),
    Case("event is reset after each block", b"event: x\ndata: a\n\ndata: b\n\n", [Frame("x", "a", ""), message("b")]),
    Case("event is reset after a block without data", b"event: x\n\ndata: a\n\n", [message("a")]),
    Case("the last event line wins", b"event: x\nevent: y\ndata: a\n\n", [Frame("y", "a", "")]),
    Case("emptied event is message", b"event: x\nevent:\ndata: a\n\nevent\ndata: b\n\n", [message("a"), message("b")]),
    Case("event of one space is message", b"event: x\nevent: \ndata: a\n\n", [message("a")]),
    Case("event of two spaces is one", b"event:  \ndata: a\n\n", [Frame(" ", "a", "")]),
    Case("event before a comment", b"event: x\n: c\ndata: a\n\n", [Frame("x", "a", "")]),
    # id.
    Case("id", b"id: 1\ndata: a\n\n", [message("a", id="1")], "1"),
    Case("id is carried over", b"id: 1\ndata: a\n\ndata: b\n\n", [message("a", id="1"), message("b", id="1")], "1"),
    Case("id after data", b"data: a\nid: 1\n\n", [message("a", id="1")], "1"),
    Case("the last id line wins", b"id: 1\nid: 2\ndata: a\n\n", [message("a", id="2")], "2"),
    Case("block without data commits its id", b"id: 1\n\ndata: a\n\n", [message("a", id="1")], "1"),
    Case("event without data commits its id", b"event: x\nid: 1\n\n", [], "1"),
    Case("id of an unfinished block is not committed", b"data: a\n\nid: 1\n", [message("a")]),
    Case("emptied id resets", b"id: 1\ndata: a\n\nid\ndata: b\n\n", [message("a", id="1"), message("b")]),
    Case("id emptied with a colon", b"id: 1\ndata: a\n\nid:\ndata: b\n\n", [message("a", id="1"), message("b")]),
    Case("id with nul is ignored", b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
         [message("a", id="1"), message("b", id="1")], "1"),
    Case("id with nul leaves the block's earlier one", b"id: 1\nid: 2\0\ndata: a\n\n", [message("a", id="1")], "1"),
    Case("id keeps its spaces", b"id:  1 \ndata: a\n\n", [message("a", id=" 1 ")], " 1 "),
    Case("id is any text", "id: é€😀\ndata: a\n\n".encode(), [message("a", id="é€😀")], "é€😀"),
    # retry.
    Case("retry", b"retry: 1500\n\n", [], "", 1500),
    Case("retry applies at its line", b"retry: 1500\ndata: a\n", [], "", 1500),
    Case("retry needs its line's end", b"retry: 1500", []),
    Case("the last retry wins", b"retry: 1\nretry: 2\n\n", [], "", 2),
    Case("retry of zero", b"retry: 0\n\n", [], "", 0),
    Case("retry with leading zeros", b"retry: 0010\n\n", [], "", 10),
    Case("retry with very many zeros", b"retry: " + b"0" * 500 + b"7\n\n", [], "", 7),
    Case("retry beyond 64 bits", b"retry: 100000000000000000000\n\n", [], "", 10**20),
    Case("retry no number can be asked of", b"retry: 5\nretry: " + b"9" * 400 + b"\n\n", [], "", 5),
    *(
        Case(f"retry {value!r} is ignored", b"retry: 7\nretry:" + value + b"\ndata: a\n\n", [message("a")], "", 7)
        for value in (
            b"", b" ", b" 1.5", b" -1", b" +1", b"  1", b" 1 ", b"1_0", b"0x1", b"1s", "\u0661".encode(), b"\xb2",
        )
    ),
    # UTF-8.
    Case("utf-8", "event: é\ndata: €😀\n\n".encode(), [Frame("é", "€😀", "")]),
    Case("invalid bytes are replaced", b"data: a\xffb\xc0\x80c\n\n", [message("a\ufffdb\ufffd\ufffdc")]),
    Case("a sequence cut by the line's end", b"data: \xe2\x82\ndata: b\xf0\x9f\x98\n\n", [message("\ufffd\nb\ufffd")]),
    Case("a sequence cut by a cr", b"data: \xe2\x82\r\r", [message("\ufffd")]),
    Case("surrogates are no utf-8", b"data: \xed\xa0\x80\n\n", [message("\ufffd" * 3)]),
    Case("invalid event and id", b"event: \xff\nid: \xfe\ndata: a\n\n", [Frame("\ufffd", "a", "\ufffd")], "\ufffd"),
    Case("invalid name", b"\xffdata: a\ndata: b\n\n", [message("b")]),
    # The stream's end.
    Case("nothing", b"", []),
    Case("unfinished line", b"data: a\n\ndata: b", [message("a")]),
    Case("unfinished block", b"data: a\n\ndata: b\n", [message("a")]),
    # All at once.
    Case("everything",
         BOM + b": hi\r\nretry: 10\r\n\r\nid: 1\nevent: x\ndata: a\n\nevent: y\rdata: b\rdata: c\r\rid: 2\n\n",
         [Frame("x", "a", "1"), Frame("y", "b\nc", "1")], "2", 10),
]  # fmt: skip


def outcome(chunks: list[bytes]) -> tuple[list[Frame], str, int | None]:
    decoder = Decoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames, decoder.last_event_id, decoder.retry_ms


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "_", case.name))
def test_every_cut_of_a_stream_means_the_same(case: Case) -> None:
    expected = case.frames, case.last_id, case.retry_ms
    stream = case.stream
    assert outcome([stream]) == expected
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == expected
    for cut in range(len(stream) + 1):
        assert outcome([stream[:cut], stream[cut:]]) == expected, cut
        assert outcome([stream[:cut], b"", stream[cut:], b""]) == expected, cut


@pytest.mark.parametrize(
    ("chunks", "dispatched"),
    [
        ([b"data: a\n", b"\n"], [[], ["a"]]),
        (
            [b"data: a\r\r", b"data: b\r", b"\r"],
            [["a"], [], ["b"]],
        ),  # the second CR ends the block: no waiting for an LF
        ([b"data: a\r\n\r", b"\ndata: b\r\n\r", b"\n"], [["a"], ["b"], []]),
        ([b"data: a\r", b"\n", b"\r", b"\n"], [[], [], ["a"], []]),
        ([b"data: a\r", b"", b"\n", b"\n"], [[], [], [], ["a"]]),  # an empty chunk between CR and LF changes nothing
        ([b"data: a\r\n", b"\n"], [[], ["a"]]),
        ([b"data: a\n\nda", b"ta: b\n\ndata: c\n", b"\n"], [["a"], ["b"], ["c"]]),
        ([b"\xef", b"\xbb", b"\xbfdata: a\n\n"], [[], [], ["a"]]),
    ],
)
def test_a_frame_is_dispatched_with_the_chunk_that_completes_it(
    chunks: list[bytes], dispatched: list[list[str]]
) -> None:
    decoder = Decoder()
    assert [[frame.data for frame in decoder.feed(chunk)] for chunk in chunks] == dispatched


def test_retry_is_known_before_its_block_ends() -> None:
    decoder = Decoder()
    decoder.feed(b"retry: 250\n")
    assert decoder.retry_ms == 250


def test_a_block_without_data_commits_its_id_at_the_blank_line() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\n")
    assert decoder.last_event_id == ""
    decoder.feed(b"\n")
    assert decoder.last_event_id == "1"


def test_a_resumed_stream_starts_from_the_id_it_was_given() -> None:
    decoder = Decoder(last_event_id="41")
    assert decoder.feed(b"data: a\n\n") == [message("a", id="41")]
    assert decoder.feed(b"id: 42\ndata: b\n\n") == [message("b", id="42")]
    assert decoder.last_event_id == "42"
