"""Log lines that stay one line: control characters become visible escapes, and what was refused leaves no traceback."""

import logging
import re

CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Nothing that came over the wire can forge a second line or drive a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().formatMessage(record))


class NoFaultOfOurs(logging.Filter):
    """A request that was refused (4xx) is a line; only where something broke here, a traceback says where."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        if record.exc_info and 400 <= getattr(record, "status_code", 0) < 500:
            record.exc_info = record.exc_text = None
        return True
