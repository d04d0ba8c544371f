"""The chunked transfer coding of HTTP/1.1, incrementally: bytes of the wire in, bytes of the body out.

RFC 9112, section 7.1, read 2026-11: chunk = size in hex, extensions that are ignored, CRLF, data, CRLF; a chunk of size
0, trailers that are ignored and an empty line end the body. As strict as h11, against which a test compares it.
"""

import re

SIZE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[^\r\n\0]*)?[ \t]*\r\n")
LINE_BYTES = 4096  # of a chunk's first line
TRAILERS_BYTES = 64 * 1024


class Malformed(ValueError):
    """The bytes do not follow the coding: what comes behind them cannot be understood."""


class Chunked:
    """Decodes one body. `ended` once its end came; what follows it is not looked at."""

    __slots__ = ("_held", "_left", "_trailing", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._left = 0  # bytes of the chunk that has begun and of the CRLF behind it
        self._held = b""  # the beginning of a line
        self._trailing = 0  # bytes of trailers so far; more than 0 once the last chunk came

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, return those of the body among them. Raises Malformed."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.ended:
            if self._left:
                at = self._chunk(data, at, pieces)
            elif self._trailing:
                at = self._trailer(data, at)
            else:
                at = self._size(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Go on in a chunk's data, then in the CRLF behind it."""
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            pieces.append(piece)
            self._left -= len(piece)
            at += len(piece)
        if self._left <= 2:
            told = data[at : at + self._left]
            if told != b"\r\n"[2 - self._left :][: len(told)]:
                raise Malformed("a chunk is longer than its size says")
            self._left -= len(told)
            at += len(told)
        return at

    def _size(self, data: bytes, at: int) -> int:
        found = SIZE.match(data, at)
        if found is None:
            self._hold(data[at:], LINE_BYTES, "the size of a chunk")
            return len(data)
        size = int(found[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailing = 1
        return found.end()

    def _trailer(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        if end < 0:
            self._hold(data[at:], TRAILERS_BYTES - self._trailing, "a trailer")
            return len(data)
        self._trailing += end + 1 - at
        if self._trailing > TRAILERS_BYTES:
            raise Malformed("a trailer cannot be read")
        self.ended = data[at:end] in (b"", b"\r")
        return end + 1

    def _hold(self, rest: bytes, most: int, what: str) -> None:
        """A line without its end: the next bytes bring it, or it is none."""
        if len(rest) > most or b"\n" in rest:
            raise Malformed(f"{what} cannot be read")
        self._held = rest
