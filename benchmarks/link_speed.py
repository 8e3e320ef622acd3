"""What a link between two hosts of `namespaces.py` carries: bytes a second one way, and a round trip.

As a program it is one end: `link_speed.py serve ADDRESS` on one host, `link_speed.py connect ADDRESS` on the
other, which prints both numbers as JSON.
"""

import json
import socket
import statistics
import subprocess
import sys
import time

from namespaces import Network

PORT = 29399
SECONDS = 1.0
ROUND_TRIPS = 200
CHUNK = 2**18


def link_speed(network: Network) -> dict[str, float]:
    """`bytes_per_s` from host two to one; `round_trip_s`: the median of 8 bytes there and back."""
    ends = [
        subprocess.Popen(
            network.on(host, [sys.executable, __file__, what, network.address("one")]), stdout=subprocess.PIPE
        )
        for host, what in (("one", "serve"), ("two", "connect"))
    ]
    answers = [end.communicate(timeout=60)[0] for end in ends]
    found: dict[str, float] = json.loads(answers[1])
    return found


def serve(address: str) -> None:
    with socket.create_server((address, PORT)) as listener:
        connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUND_TRIPS):
            connection.sendall(connection.recv(8))
        received, started_at = 0, time.perf_counter()
        while count := len(connection.recv(CHUNK)):
            received += count
        connection.sendall(json.dumps(received / (time.perf_counter() - started_at)).encode())


def connect(address: str) -> None:
    connection = _connected(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range(ROUND_TRIPS):
        started_at = time.perf_counter()
        connection.sendall(b"12345678")
        connection.recv(8)
        trips.append(time.perf_counter() - started_at)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        connection.sendall(bytes(CHUNK))
    connection.shutdown(socket.SHUT_WR)
    rate = json.loads(connection.recv(64))
    print(json.dumps({"bytes_per_s": round(rate), "round_trip_s": statistics.median(trips)}))


def _connected(address: str) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection((address, PORT))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    {"serve": serve, "connect": connect}[sys.argv[1]](sys.argv[2])
