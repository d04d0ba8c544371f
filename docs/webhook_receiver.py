"""Receive Countersign's webhooks: an example to start from. Python 3.9 or newer and nothing else.

    WEBHOOK_SECRET=whsec_... python3 webhook_receiver.py 8080

Any library for Standard Webhooks (https://www.standardwebhooks.com) does what `verify` does here. A webhook says that a
request waits, or is settled; what it asks is behind its link. It may come twice, and late: read the status there.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300
BODY_MAX_BYTES = 65536


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Whether the body came from the holder of the secret, unchanged and within the last minutes."""
    message = headers.get("webhook-id", "")
    sent_at = headers.get("webhook-timestamp", "")
    if not message or "." in message or not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) < 12):
        return False
    if abs(now - int(sent_at)) > TOLERANCE_S:
        return False  # an old one, sent again by somebody who saw it
    key = base64.b64decode(secret[len("whsec_") :])
    digest = hmac.new(key, f"{message}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    # Several while a secret is being changed. Comparing takes the same time wherever the difference is.
    given = headers.get("webhook-signature", "").encode("utf-8", "replace").split(b" ")
    return any(hmac.compare_digest(expected, one) for one in given)


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; long work belongs behind a queue of yours: an answer later than 15 s counts as none."""

    secret = ""
    seen: dict[str, None] = {}  # keep it in your database: a repeat has the same webhook-id

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= BODY_MAX_BYTES):
            return self.answer(413)
        body = self.rfile.read(int(length))  # the bytes as they came: parsed and written again they may differ
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not verify(self.secret, headers, body, now=time.time()):
            return self.answer(401)
        if headers["webhook-id"] not in self.seen:
            self.take(json.loads(body))
            self.seen[headers["webhook-id"]] = None  # not before: what failed is sent again
        self.answer(204)

    def take(self, told: dict[str, object]) -> None:
        """Your part."""
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    Receiver.secret = os.environ["WEBHOOK_SECRET"]
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Receiver)
    sys.stderr.write(f"listening on http://127.0.0.1:{server.server_address[1]}\n")
    sys.stderr.flush()
    server.serve_forever()
