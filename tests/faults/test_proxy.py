"""The fault proxy between a real client and a real server on loopback."""

import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.countersign import eventually
from tests.faults.proxy import (
    DEAF,
    PASS,
    Plan,
    Plans,
    Proxy,
    Way,
    cut,
    half_open,
    hole,
    late,
    proxy,
    random_cuts,
    reset,
    slow,
    unanswered,
)

PATIENT_S = 60.0
SILENT_S = 0.2  # silence holds however long one listens, so a slow machine cannot break it
SAID = b"0123456789" * 2_000


class Server(socketserver.ThreadingTCPServer):
    """Answers each line with SAID; notes what it heard and how each connection ended for it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.heard: list[bytes] = []
        self.ends: list[str] = []


class Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        try:
            while line := self.rfile.readline():
                server.heard.append(line)
                self.wfile.write(SAID)
            server.ends.append("end")
        except ConnectionError:
            server.ends.append("reset")


@contextmanager
def between(plan: Plans = PASS) -> Iterator[tuple[Server, Proxy]]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            with proxy(f"http://127.0.0.1:{server.server_address[1]}/agent?x=1") as made:
                made.plan = plan
                yield server, made
        finally:
            server.shutdown()


@contextmanager
def client(made: Proxy) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", made.port), PATIENT_S)) as sock:
        sock.sendall(b"hello\n")
        yield sock


def read(sock: socket.socket, most: int = 10**9) -> tuple[bytes, str]:
    """Up to so many bytes, and how it ended: "end", "reset", or "" when all came."""
    got = b""
    try:
        while len(got) < most:
            piece = sock.recv(min(65536, most - len(got)))
            if not piece:
                return got, "end"
            got += piece
    except ConnectionResetError:
        return got, "reset"
    return got, ""


def silent(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], SILENT_S)[0]


def test_without_a_plan_everything_passes_both_ways_and_so_does_the_end() -> None:
    with between() as (server, made):
        assert made.url == f"http://127.0.0.1:{made.port}/agent?x=1"
        with client(made) as sock:
            assert read(sock, len(SAID)) == (SAID, "")
            sock.shutdown(socket.SHUT_WR)
            assert read(sock) == (b"", "end")
        eventually(lambda: not made.open)
        [one] = made.connections
        assert (one.up_bytes, one.down_bytes, one.ended, server.ends) == (6, len(SAID), "closed", ["end"])


@pytest.mark.parametrize("after", [0, 1, 4_097, len(SAID) - 1])
@pytest.mark.parametrize(("plan", "end"), [(cut, "end"), (reset, "reset")])
def test_a_cut_and_a_reset_come_after_exactly_so_many_bytes(plan, end: str, after: int) -> None:  # type: ignore[no-untyped-def]
    with between(plan(after)) as (server, made):
        with client(made) as sock:
            assert read(sock) == (SAID[:after], end)
        assert made.connections[0].ended == ("cut" if end == "end" else "reset")
        assert server.heard == [b"hello\n"]
        eventually(lambda: server.ends)
        made.plan = PASS
        with client(made) as sock:
            assert read(sock, len(SAID)) == (SAID, "")


def test_a_hole_swallows_nothing_tells_nobody_and_can_be_lifted() -> None:
    with between(hole(100)) as (server, made), client(made) as sock:
        assert read(sock, 100) == (SAID[:100], "")
        assert silent(sock)
        assert (server.heard, server.ends) == ([b"hello\n"], [])
        made.change(PASS)
        assert read(sock, len(SAID) - 100) == (SAID[100:], "")


def test_a_hole_at_the_headers_lets_the_request_through_and_nothing_back() -> None:
    with between(hole()) as (server, made), client(made) as sock:
        assert eventually(lambda: server.heard) == [b"hello\n"]
        assert silent(sock)


def test_a_hole_in_the_request_keeps_it_from_the_server() -> None:
    with between(Plan(up=Way(after=3, end="hole"))) as (server, made), client(made) as sock:
        eventually(lambda: made.connections and made.connections[0].up_bytes == 3)
        assert silent(sock)
        assert server.heard == []
        made.change(PASS)
        assert read(sock, len(SAID)) == (SAID, "")


def test_a_deaf_connection_is_accepted_and_the_server_never_hears_of_it() -> None:
    with between(DEAF) as (server, made), client(made) as sock:
        eventually(lambda: made.connections)
        assert silent(sock)
        assert (server.heard, server.ends, made.connections[0].up_bytes) == ([], [], 0)
        made.change(PASS)  # as if the packets had only been late
        assert read(sock, len(SAID)) == (SAID, "")


def test_half_open_takes_the_server_away_and_the_client_is_not_told() -> None:
    with between(half_open(50)) as (server, made), client(made) as sock:
        assert read(sock, 50) == (SAID[:50], "")
        eventually(lambda: server.ends)
        sock.sendall(b"still there?\n")
        assert silent(sock)
        assert server.heard == [b"hello\n"]
        assert made.connections[0].ended == "half-open"


def test_a_running_connection_meets_another_plan() -> None:
    with between() as (server, made), client(made) as sock:
        assert read(sock, len(SAID)) == (SAID, "")
        made.change(cut(after=len(SAID) + 5))  # counted from its begin
        sock.sendall(b"more\n")
        assert read(sock) == (SAID[:5], "end")


@pytest.mark.parametrize(("how", "end"), [("cut", "end"), ("reset", "reset")])
def test_every_open_connection_can_be_ended_at_once(how: str, end: str) -> None:
    with between() as (server, made), client(made) as one, client(made) as other:
        for sock in (one, other):
            assert read(sock, len(SAID)) == (SAID, "")
        made.end(how)  # type: ignore[arg-type]
        assert [read(sock) for sock in (one, other)] == [(b"", end)] * 2
        assert made.open == []


def test_nobody_listens_and_then_somebody_does_on_the_same_port() -> None:
    with between() as (_, made), client(made) as old:
        eventually(lambda: made.open)
        made.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", made.port), PATIENT_S)
        assert read(old, len(SAID)) == (SAID, ""), "those that are open stay"
        made.listen()
        with client(made) as sock:
            assert read(sock, len(SAID)) == (SAID, "")


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with between() as (server, made):
        server.server_close()
        with closing(socket.create_connection(("127.0.0.1", made.port), PATIENT_S)) as sock:
            assert read(sock)[1] == "reset"


def test_slow_and_late_bring_all_of_it_no_sooner_than_they_say() -> None:
    for plan, least_s in ((slow(100_000), 0.19), (late(0.1), 0.19)):
        with between(plan) as (_, made):
            began = time.monotonic()
            with client(made) as sock:
                assert read(sock, len(SAID)) == (SAID, "")
                sock.shutdown(socket.SHUT_WR)
                assert read(sock) == (b"", "end")
            assert time.monotonic() - began >= least_s


def test_pieces_of_one_byte_are_the_same_bytes() -> None:
    with between(Plan(up=Way(piece_bytes=1), down=Way(piece_bytes=7))) as (_, made), client(made) as sock:
        assert read(sock, len(SAID)) == (SAID, "")


def test_random_cuts_are_the_same_for_each_seed_and_end_where_they_say() -> None:
    plans = random_cuts(7, times=20, high=len(SAID))
    assert [plans(number) for number in range(25)] == [random_cuts(7, times=20, high=len(SAID))(n) for n in range(25)]
    assert [plans(number) for number in range(20)] != [random_cuts(8, times=20, high=len(SAID))(n) for n in range(20)]
    assert all(plans(number) == PASS for number in range(20, 25))
    with between(plans) as (_, made):
        for number in range(20):
            with client(made) as sock:
                got, end = read(sock, len(SAID))
            way = plans(number).down
            assert got == SAID[: way.after]
            assert end in ("", {"cut": "end", "reset": "reset"}[way.end])
        with client(made) as sock:
            assert read(sock, len(SAID)) == (SAID, "")


def test_many_at_once_keep_their_bytes_apart() -> None:
    with between(lambda number: cut(number * 100) if number % 2 else PASS) as (_, made):
        socks = [socket.create_connection(("127.0.0.1", made.port), PATIENT_S) for _ in range(50)]
        for sock in socks:
            sock.sendall(b"hello\n")
        got = sorted(len(read(sock, len(SAID))[0]) for sock in socks)
        for sock in socks:
            sock.close()
        assert got == sorted([len(SAID)] * 25 + [number * 100 for number in range(1, 50, 2)])


def test_a_port_that_never_answers_neither_connects_nor_refuses() -> None:
    with unanswered() as port, closing(socket.socket()) as sock:
        sock.settimeout(SILENT_S)
        with pytest.raises(TimeoutError):
            sock.connect(("127.0.0.1", port))
