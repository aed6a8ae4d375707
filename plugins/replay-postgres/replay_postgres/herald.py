"""News between processes: one thread with one connection listens, and tells others.

Rule 1: news are hints. Who hears nothing looks by itself from time to time, so losing some costs time, never truth.
Rule 2: NOTIFY is never part of a transaction that writes: PostgreSQL would let such transactions commit one after the other, each
with its own fsync. It goes out after the commit, over this connection, and many changes are told as one.
Rule 3: a connection that is lost is made again, with pauses that grow; whoever waits is woken then, as nobody listened meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

import psycopg

from replay.hooks import StoreUnavailable
from replay_postgres.address import Address
from replay_postgres.pool import Raw, connected

SPACING: Final = 0.005
"""Seconds between two notifications at the least."""
PULSE: Final = 20.0
"""Seconds of silence after which the connection is tried."""
FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 5.0
"""Seconds until a lost connection is tried again, at first and in the long run."""
SETTLED: Final = 2.0
"""Seconds that the first listener waits for the connection."""


class Bell:
    """What tells the threads of this process that something has changed.

    Attributes:
        changed: Guards and announces ``version``.
        version: How often something changed.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 0

    def ring(self) -> None:
        """Something has changed."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()


class Herald:
    """Listens and tells for one store.

    Args:
        address: Where.
        bell: What to ring when others have changed something.
        heard: Told what the connection was told by the way: what the monotonic clock showed, and the server's time, microseconds.
    """

    def __init__(self, address: Address, bell: Bell, heard: Callable[[int, int], None]) -> None:
        self.address = address
        self.bell = bell
        self._heard = heard
        self._name = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._pipe: tuple[socket.socket, ...] = ()
        self._tried = threading.Event()
        self._listening = threading.Event()
        self._news = False
        self._closed = False

    @property
    def listening(self) -> bool:
        """Whether what others tell is heard at this moment."""
        return self._listening.is_set() and self._process == os.getpid()

    def begin(self) -> None:
        """Listen from now on; comes back when the connection stands, or could not be made at once."""
        if not self.address.listen or (self._thread is not None and self._process == os.getpid()):
            return
        with self._lock:
            if self._closed or (self._thread is not None and self._process == os.getpid()):
                return
            self._tried, self._listening = threading.Event(), threading.Event()
            for end in self._pipe:  # the parent's, in a process that was forked off
                end.close()
            self._pipe = self._ear, self._mouth = socket.socketpair()
            self._mouth.setblocking(False)
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._serve, name="replay-postgres-herald", daemon=True)
            self._thread.start()
        self._tried.wait(SETTLED)

    def tell(self) -> None:
        """Let others know that something has changed; comes back at once."""
        if not self._news:
            self._news = True
            self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe wakes as well, and one that is closed has nobody to wake
            self._mouth.send(b"!")

    def close(self) -> None:
        """Say what is still to be said, and stop."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None or self._process != os.getpid():
            return
        self._nudge()
        thread.join(SETTLED)
        self._mouth.close()

    # ---- the thread -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        pause, again = FIRST_PAUSE, False
        while not self._closed:
            try:
                raw = connected(self.address, self.address.listening(), str)
            except (psycopg.Error, StoreUnavailable):
                self._tried.set()
                select.select([self._ear], [], [], pause)
                pause = min(pause * 2, LAST_PAUSE)
                continue
            with contextlib.closing(raw), contextlib.suppress(psycopg.Error, OSError):
                raw.execute(f"LISTEN {self.channel}")
                self._listening.set()
                self._tried.set()
                if again:
                    self.bell.ring()
                pause, again = FIRST_PAUSE, True
                self._converse(raw)
            self._listening.clear()
            self.bell.ring()
        self._ear.close()

    @property
    def channel(self) -> str:
        """What is listened to."""
        return f"replay_{self.address.schema}"

    def _converse(self, raw: Raw) -> None:
        """Listen and tell until the store closes or the connection breaks."""
        raw.add_notify_handler(lambda news: self._hear(news.payload))
        told = 0.0
        while True:
            if self._news and time.monotonic() - told >= SPACING:
                self._news = False
                raw.execute(f"NOTIFY {self.channel}, '{self._name}'")
                told = time.monotonic()
            if self._closed and not self._news:
                return
            patience = max(0.0, told + SPACING - time.monotonic()) if self._news else PULSE
            ready, _, _ = select.select([self._ear.fileno(), raw.fileno()], [], [], patience)
            if self._ear.fileno() in ready:
                self._ear.recv(4096)
            if raw.fileno() in ready:
                self._listen(raw)
            if not ready and not self._news:
                before = time.monotonic_ns() // 1_000
                row = raw.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8").fetchone()
                self._heard(before, row[0] if row else 0)

    def _listen(self, raw: Raw) -> None:
        raw.pgconn.consume_input()
        while (news := raw.pgconn.notifies()) is not None:
            self._hear(news.extra.decode())

    def _hear(self, name: str) -> None:
        if name != self._name:
            self.bell.ring()
