"""The server's own HTTP: what a client may send, and what it gets for what it may not."""

import socket

import pytest

from tests.emulator import Emulator


def talk(emulator: Emulator, data: bytes) -> bytes:
    """Send bytes, say that there are no more, read to the end."""
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def test_requests_on_one_connection_are_answered_in_order(shared: Emulator) -> None:
    one = b"GET /_pending HTTP/1.1\r\nHost: x\r\n\r\n"
    assert talk(shared, one * 3).count(b"HTTP/1.1 200 OK") == 3


def test_close_is_taken_at_its_word(shared: Emulator) -> None:
    one = b"GET /_pending HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = talk(shared, one * 2)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nconnection: close\r\n" in answer


def test_a_chunked_body_is_read(shared: Emulator) -> None:
    body = b'{"fault":"cut","run":"x"}'
    chunks = b"%x\r\n%b\r\n%x;note=1\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    head = b"POST /_faults HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"HTTP/1.1 201 Created" in talk(shared, head + chunks)


def test_a_client_that_waits_for_a_go_ahead_gets_it(shared: Emulator) -> None:
    head = b"POST /_faults HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    assert talk(shared, head).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /_pending HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"POST /_faults HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /_faults HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /_faults HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /_faults HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}",
        b"POST /_faults HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_400(shared: Emulator, data: bytes) -> None:
    try:
        answer = talk(shared, data)
    except ConnectionError:  # a head too long is refused before it is read: the kernel may reset
        assert len(data) > 65_536
    else:
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_unknown_path_outside_the_providers_is_404(shared: Emulator) -> None:
    assert b"404 Not Found" in talk(shared, b"GET /_nothing HTTP/1.1\r\nHost: x\r\n\r\n")
