"""Server-Sent Events, incrementally: bytes in, frames out, the same ones however the bytes were cut.

The rules are the WHATWG's: https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing" and "Interpreting
an event stream", read 2026-11. Two ways lead through, with one meaning: `_sweep` lets one regular expression find a
chunk's everyday blocks, `_line` is the specification's own step and takes whatever is not everyday. A test forces both.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple, NoReturn

BOM = b"\xef\xbb\xbf"
LONG_LINE_BYTES = 4096  # from about here on, `bytes.find` reads a line faster than the expression below does
RETRY_DIGITS = 300  # more is no time anybody waits, no float, and a slow int(): such a line is ignored

# The end of an everyday block (id and event lines or none, one data line, the blank line), else any one line.
# Possessive, so that no line is read more than three times. Emptied fields and an id with NUL are not everyday.
EVERYDAY = re.compile(rb"(?:id: ?+([^\0\n]++)\n)?(?:event: ?+(.++)\n)?data: ?+(.*+)\n\n|(.*+\n)")

Text = bytes | bytearray | memoryview


class Frame(NamedTuple):
    """One dispatched event; `id` is the last event id at that point, which may be an earlier frame's."""

    event: str = "message"
    data: str = ""
    id: str = ""

    @property
    def own_id(self) -> str:
        """The id, if this very frame brought a new one, else ""."""
        return ""


class StampedFrame(Frame):
    """A frame whose own block brought its id, another one than the block before it had."""

    __slots__ = ()

    @property
    def own_id(self) -> str:
        return self.id


class Oversize(ValueError):
    """A line or an event passed the cap. `frames`: those that were complete before it and not yet handed out."""

    permanent = True

    def __init__(self, size_bytes: int, limit_bytes: int, frames: tuple[Frame, ...] = ()) -> None:
        super().__init__(f"an event of at least {size_bytes} bytes, {limit_bytes} are allowed")
        self.size_bytes, self.limit_bytes, self.frames = size_bytes, limit_bytes, frames


class Decoder:
    """Decodes one connection's stream. What the stream's end cuts off is no event, so there is nothing to flush.

    The size of an event is that of its lines, comments aside: a stream may keep itself alive with nothing else.
    """

    def __init__(self, last_event_id: str = "", max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._limit_bytes = max_event_bytes
        self._refused_bytes = 0
        self._ready: list[Frame] = []
        self._at_start = True
        self._after_cr = False
        self._held = bytearray()  # a line without its end; a list of pieces would cost 50 bytes for each tiny chunk
        self._newest_id = ""  # the last one that came on this connection: a resumed stream may repeat `last_event_id`
        self._size_bytes = 0  # of the block that has begun; more than 0 once it has a field
        self._id: bytes | None = None
        self._event = b""
        self._data: Text | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes, return the frames they complete. Raises Oversize, and from then on always."""
        if self._refused_bytes:
            raise Oversize(self._refused_bytes, self._limit_bytes)
        if self._after_cr or chunk.find(b"\r") >= 0:
            chunk = self._with_lf(chunk)
        if self._held or self._at_start:
            chunk = self._first_line(chunk)
        end = chunk.rfind(b"\n") + 1
        long = end > LONG_LINE_BYTES and chunk.find(b"\n", end - LONG_LINE_BYTES, end - 2) < 0
        if long or self._size_bytes + end > self._limit_bytes:
            self._lines(chunk, end)
        elif end:
            self._sweep(chunk[:end])
        if end < len(chunk):
            self._hold(chunk[end:])
        ready, self._ready = self._ready, []
        return ready

    # Whole lines, each ended by one LF.

    def _with_lf(self, chunk: bytes) -> bytes:
        """Make every line end an LF. A CR ends its line at once and takes along an LF after it, even a chunk later."""
        if self._after_cr and chunk:
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        lines = chunk.splitlines()  # of bytes: at CR, LF and CRLF only, and three times as fast as replacing them
        if chunk.endswith((b"\r", b"\n")):
            lines.append(b"")
            self._after_cr = chunk.endswith(b"\r")
        return b"\n".join(lines)

    def _first_line(self, chunk: bytes) -> bytes:
        """End the held line, if the chunk can, and return what follows. Only the stream's first line may have a BOM."""
        end = chunk.find(b"\n")
        if end < 0:
            return chunk
        self._hold(chunk[:end])
        line, self._held = self._held, bytearray()
        if self._at_start:
            line, self._at_start = line.removeprefix(BOM), False
        self._line(line, 0, len(line))
        return chunk[end + 1 :]

    def _hold(self, piece: bytes) -> None:
        size_bytes = self._size_bytes + len(self._held) + len(piece)
        if size_bytes > self._limit_bytes:
            self._refuse(size_bytes)
        self._held += piece

    def _refuse(self, size_bytes: int) -> NoReturn:
        frames_before, self._ready = tuple(self._ready), []
        self._held.clear()
        self._begin_block()
        self._refused_bytes = size_bytes
        raise Oversize(size_bytes, self._limit_bytes, frames_before)

    # The quick way: short lines, together within the cap.

    def _sweep(self, lines: bytes) -> None:
        ready, make = self._ready, tuple.__new__  # half the price of calling a NamedTuple
        for id_, event, data, line in EVERYDAY.findall(lines):
            if line:
                self._line(line, 0, len(line) - 1)
            elif self._size_bytes:
                self._end_begun_block(id_, event, data)
            else:
                kind_of_frame = self._commit_id(id_) if id_ else Frame
                name = event.decode("utf-8", "replace") if event else "message"
                ready.append(make(kind_of_frame, (name, data.decode("utf-8", "replace"), self.last_event_id)))

    def _end_begun_block(self, id_: bytes, event: bytes, data: bytes) -> None:
        """End in the everyday way a block whose first lines were not."""
        if id_:
            self._field(b"id", id_)
        if event:
            self._field(b"event", event)
        self._field(b"data", data)
        self._end_block()

    # The specification's way: line by line, field by field.

    def _lines(self, chunk: bytes, stop: int) -> None:
        start = 0
        while start < stop:
            end = chunk.find(b"\n", start)
            self._line(chunk, start, end)
            start = end + 1

    def _line(self, text: bytes | bytearray, start: int, end: int) -> None:
        """Take the line text[start:end], by its place, so that a long one is copied only once."""
        if start == end:
            self._end_block()
            return
        size_bytes = self._size_bytes + end - start + 1
        if size_bytes > self._limit_bytes:
            self._refuse(size_bytes)
        colon = text.find(b":", start, end)
        if colon == start:
            return
        self._size_bytes = size_bytes
        if colon < 0:
            self._field(text[start:end], b"")
        else:
            value_start = colon + 1 + text.startswith(b" ", colon + 1, end)
            self._field(text[start:colon], memoryview(text)[value_start:end])

    def _field(self, name: Text, value: Text) -> None:
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._event = bytes(value)
        elif name == b"id":
            self._id = self._id if b"\0" in bytes(value) else bytes(value)
        elif name == b"retry":
            digits = bytes(value).lstrip(b"0") or bytes(value[:1])
            if digits.isdigit() and len(digits) <= RETRY_DIGITS:
                self.retry_ms = int(digits)

    def _add_data(self, value: Text) -> None:
        if self._data is None:
            self._data = value  # most often the only one: it is decoded from where it lies
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value

    def _end_block(self) -> None:
        """Commit the id, whether or not there is something to dispatch; dispatch if there was a data line."""
        kind_of_frame = Frame if self._id is None else self._commit_id(self._id)
        if self._data is not None:
            event, data = self._event.decode("utf-8", "replace"), str(self._data, "utf-8", "replace")
            self._ready.append(kind_of_frame(event or "message", data, self.last_event_id))
        self._begin_block()

    def _commit_id(self, value: bytes) -> type[Frame]:
        """Make it the last event id; return the kind of frame that says whether it is a new one."""
        self.last_event_id = value.decode("utf-8", "replace")
        if self.last_event_id == self._newest_id:
            return Frame
        self._newest_id = self.last_event_id
        return StampedFrame

    def _begin_block(self) -> None:
        self._size_bytes = 0
        self._id = None
        self._event = b""
        self._data = None


async def frames(chunks: AsyncIterable[bytes], decoder: Decoder) -> AsyncIterator[Frame]:
    """Yield each frame as soon as its chunk is there. Raises Oversize after the frames that came before it."""
    async for chunk in chunks:
        try:
            ready = decoder.feed(chunk)
        except Oversize as refused:
            for frame in refused.frames:
                yield frame
            raise
        for frame in ready:
            yield frame
