"""A real TCP proxy that delays, holds back, cuts and half-closes connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK = 64 * 1024
PIECE = 5
"""Bytes that still get through a closed gate; less than the header of a frame."""


class Proxy:
    """Stands between a client and a server, on a port of its own.

    Args:
        target: The server's port on this machine.

    Attributes:
        port: Where it listens.
        delay: Seconds that every piece of data is held back.
        asking: While it is not set, nothing goes to the server.
        answering: While it is not set, nothing comes from it; a hole that swallows everything is both.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.asking, self.answering = threading.Event(), threading.Event()
        self.asking.set()
        self.answering.set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> int:
        """Break every connection in the middle of whatever it carries; how many there were."""
        pairs = self._take()
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def half_close(self) -> int:
        """End what goes to the servers, and leave open what comes from them; how many connections there were."""
        pairs = self._take()
        for _, server in pairs:
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
        return len(pairs)

    def close(self) -> None:
        """Cut everything, and listen no more."""
        self._ended.set()
        self._listener.close()
        self.asking.set()
        self.answering.set()
        self.cut()

    def _take(self) -> list[tuple[socket.socket, socket.socket]]:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        return pairs

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                continue
            with self._lock:
                self._pairs.append((client, server))
            for source, sink, gate in ((client, server, self.asking), (server, client, self.answering)):
                threading.Thread(target=self._carry, args=(source, sink, gate), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, gate: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._ended.wait(self.delay)
                if not gate.is_set():
                    sink.sendall(data[:PIECE])  # a frame is cut, not left out
                    data = data[PIECE:]
                    gate.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
