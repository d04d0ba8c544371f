"""A frame built once for all sockets that get it, and written straight to each connection, which says when it is full.

Otherwise a text passes a coroutine a middleware, and Daphne encodes and frames it anew for each socket. Daphne also has
no end to what it keeps for somebody who does not read: a `Wire` says `full` beyond 64 KiB.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autobahn.websocket.protocol import PreparedMessage
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer  # type: ignore[import-untyped]

EXTENSION = "countersign.wire"  # in the scope's "extensions"


@dataclass(slots=True)
class Frame:
    """Text for any number of sockets."""

    text: str
    _made: bytes = field(default=b"", repr=False)

    @property
    def bytes(self) -> bytes:
        """As it is on the wire: one unmasked, uncompressed text frame."""
        if not self._made:
            prepared = PreparedMessage(self.text.encode(), isBinary=False, applyMask=False, doNotCompress=True)
            self._made = prepared.payloadHybi
        return self._made


@implementer(IPushProducer)
class Wire:
    """The connection under one open WebSocket of Daphne's. `on_room` is called when it can take something again."""

    def __init__(self, protocol: Any) -> None:
        self._paused = False
        self.on_room: Callable[[], None] = lambda: None
        self._protocol, self._transport = protocol, protocol.transport
        if self._transport.producer is not None:  # the HTTP request's, which would stop reading too
            self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    @property
    def full(self) -> bool:
        """Whether it should be given nothing more now."""
        return self._paused or self._protocol.state == self._protocol.STATE_CONNECTING

    def write(self, frame: Frame) -> None:
        """Send it, or keep what the connection does not take now. Nothing happens where it is closing."""
        transport = self._transport
        if self._protocol.state != self._protocol.STATE_OPEN:
            return
        data = frame.bytes
        if not isinstance(transport, Connection) or transport.dataBuffer or transport._tempDataBuffer:
            transport.write(data)
            return
        sent = transport.writeSomeData(data)  # at once: the reactor would first wait until it may
        if isinstance(sent, int) and sent < len(data):  # else it is lost, which reading from it will tell
            transport.write(data[sent:])  # type: ignore[no-untyped-call]

    def close(self, code: int) -> None:
        """Close it with this code (RFC 6455 section 7.4). Daphne's own way raises at 1008, 1012 and 1013."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.sendCloseFrame(code=code)

    # --- what the transport asks of whoever produces for it -----------------------------------------------------------

    def pauseProducing(self) -> None:
        """More waits than it should keep."""
        self._paused = True

    def resumeProducing(self) -> None:
        """All of it is gone."""
        self._paused = False
        if self._protocol.state == self._protocol.STATE_OPEN:
            self.on_room()
        else:
            self._transport.unregisterProducer()  # it would wait for us before it closes

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.on_room = lambda: None
