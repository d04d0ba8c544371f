"""Read a run's stream, one connection after the other: bytes to frames, with a limit on silence and on size."""

import asyncio
import logging
from uuid import UUID

import httpx
from django.conf import settings

from streams import gaps, network
from streams.client import Exchange
from streams.faults import fault
from streams.folding import Held
from streams.reader import CHECK, Reader
from streams.sse import Decoder, Oversize

logger = logging.getLogger(__name__)

LINGER_S = 10.0  # how long a stream is read on behind the run's last word


class Listener:
    """What one connection leaves to the next: the last id, and how long its provider asked us to wait."""

    def __init__(self, run_id: UUID, reader: Reader, *, last_event_id: str = "") -> None:
        self._run_id, self._reader = run_id, reader
        self.last_event_id = last_event_id
        self.retry_s = 0.0
        self._told_oversize = False

    async def read(self, held: Held, exchange: Exchange, response: httpx.Response) -> str:
        """Read one connection until it ends or the run does. Returns why it broke; empty: its regular end.

        Then everything that came is stored. Raises StaleEpoch or NotStored.
        """
        reader = self._reader
        reader.connected, reader.heard_at = True, asyncio.get_running_loop().time()
        try:
            why = await self._read(held, exchange, response)
            await reader.settled()
        finally:
            reader.connected = False
            await reader.let_go()
        return why

    async def _read(self, held: Held, exchange: Exchange, response: httpx.Response) -> str:
        reader = self._reader
        decoder = Decoder(last_event_id=self.last_event_id, max_event_bytes=settings.EVENT_MAX_BYTES)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + settings.RUN_MAX_S
        read = network.reading(response)
        alarm = Alarm()
        reader.on_failure(alarm.ring)
        try:
            with alarm:
                while True:
                    alarm.set_for(self._silence(held, ends_at))
                    chunk = await read()
                    alarm.rest()
                    if not chunk:
                        return ""
                    fault("stream.read")
                    await reader.hand_in(decoder.feed(chunk))
                    if reader.ended and not held.adapter.capabilities.reads_on:
                        return ""
        except Oversize as exc:
            await reader.take(exc.frames)
            if not self._told_oversize:
                self._told_oversize = True
                logger.error("run %s: %s", self._run_id, exc)
                text = f"The provider sent {exc}. The connection was dropped. {CHECK}"
                await reader.say_missing(gaps.OVERSIZE, text)
            return "An event was too large."
        except TimeoutError:
            await reader.settled()  # it may have rung because of what could not be stored
            if reader.ended or reader.closed:
                return ""
            if held.adapter.capabilities.stall_s is None:
                return f"It took longer than {settings.RUN_MAX_S // 60} minutes."
            await reader.say("stalled", "Nothing was heard for too long.")
            return "Nothing was heard for too long."
        except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
            return exchange.why(exc)
        finally:
            self.last_event_id = reader.placed_id or decoder.last_event_id
            self.retry_s = (decoder.retry_ms or 0) / 1000
            await response.aclose()

    def _silence(self, held: Held, ends_at: float) -> float:
        """Until when the next byte must be there."""
        now = asyncio.get_running_loop().time()
        if self._reader.ended or self._reader.closed:
            return now + LINGER_S
        can = held.adapter.capabilities
        silence_s = can.stall_waiting_s if self._reader.waiting else can.stall_s
        return ends_at if silence_s is None else now + silence_s


class Alarm:
    """Interrupts a wait that took too long, with TimeoutError.

    One timer serves a whole connection and is set anew when it rings: a timeout of its own around each wait would cost
    as much as half of the receiving.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None  # None: nobody waits
        self._timer: asyncio.TimerHandle | None = None
        self._rang = False

    def __enter__(self) -> "Alarm":
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
        if not self._rang or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc

    def set_for(self, at: float) -> None:
        """A wait begins that may last until then."""
        self._at = at
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._look)
        elif at < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(at, self._look)

    def rest(self) -> None:
        """The wait is over."""
        self._at = None

    def ring(self) -> None:
        """Interrupt the wait, if there is one."""
        if self._at is not None and not self._rang and self._task is not None:
            self._rang = self._task.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._at is not None and self._at > self._loop.time():
            self._timer = self._loop.call_at(self._at, self._look)
        else:
            self.ring()
