"""Keys that sort in the order in which they were made: RFC 9562, version 7, with a counter (section 6.2, method 1)."""

import os
import threading
import uuid
from time import time_ns

COUNTER_MAX = 0xFFF

_lock = threading.Lock()
_last = (0, 0)  # milliseconds, counter


def in_order() -> uuid.UUID:
    """A key above every key this process made before, also within a millisecond or after the clock went back.

    Requests of one pause are stored in one moment: by their keys they keep the order in which they were asked.
    """
    global _last
    with _lock:
        now, (ms, counter) = time_ns() // 1_000_000, _last
        if now > ms:
            ms, counter = now, 0
        elif counter < COUNTER_MAX:
            counter += 1
        else:
            ms, counter = ms + 1, 0
        _last = (ms, counter)
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=(ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | chance)
