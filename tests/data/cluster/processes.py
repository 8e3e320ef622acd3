"""Real `dask scheduler` and `dask worker` processes, and a wire between them that can be cut."""

import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import distributed

from tests.conftest import REPOSITORY


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class DaskProcesses:
    """A scheduler and workers that are killed when the test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.all: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, *, python_path: Path | None = None) -> None:
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", self.port, "--no-dashboard", python_path=python_path
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_for_workers(self, number: int) -> None:
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=60)

    def start_worker(
        self, *, prefix: tuple[str, ...] = (), python_path: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """A worker with one thread; `prefix` is put before its command, `python_path` before its modules."""
        return self._start(
            "worker",
            self.address,
            "--nthreads",
            1,
            "--no-dashboard",
            "--local-directory",
            self.folder,
            "--host",
            "127.0.0.1",
            prefix=prefix,
            python_path=python_path,
        )

    def stop(self) -> None:
        for process in self.all:
            kill_group(process)

    def _start(
        self, *arguments: object, prefix: tuple[str, ...] = (), python_path: Path | None = None
    ) -> subprocess.Popen[bytes]:
        paths = [*([str(python_path)] if python_path else []), str(REPOSITORY / "src"), str(REPOSITORY)]
        with open(self.folder / f"{arguments[0]}.log", "ab") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "dask", *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.all.append(process)
        return process


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all it started, at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Wire:
    """Forwards connections to a port; can be cut (connections are reset, new ones refused) and mended."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.mend()
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def mend(self) -> None:
        with self._lock:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self._listener.listen()
            self._selector.register(self._listener, selectors.EVENT_READ)

    def cut(self) -> None:
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            for end in list(self._pairs):
                self._reset(end)

    def close(self) -> None:
        self.cut()
        self._ended.set()
        self._thread.join()
        self._selector.close()

    def _forward(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._pass_on(key.fileobj)

    def _accept(self) -> None:
        assert self._listener is not None
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            near.close()
            return
        for end, other in ((near, far), (far, near)):
            self._pairs[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        try:
            data = end.recv(2**16)
            if data:
                self._pairs[end].sendall(data)
                return
        except OSError:
            pass
        self._reset(self._pairs[end])
        self._reset(end)

    def _reset(self, end: socket.socket) -> None:
        self._pairs.pop(end, None)
        try:
            self._selector.unregister(end)
        except (KeyError, ValueError):
            return
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
