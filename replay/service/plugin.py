"""What the wire brings to replay, through the same hooks as any plugin: two store schemes and the verb ``serve``."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from replay.hooks import Clock, InvalidRequest, Store, StoreFactory, StoreUnavailable, hookimpl, open_store
from replay.service import TRIED


def _grpc(url: str, *, clock: Clock | None = None) -> Store:
    try:
        from replay.service.store import open_grpc
    except ModuleNotFoundError as missing:
        raise StoreUnavailable(url, *_not_installed(missing)) from missing

    return open_grpc(url, clock=clock)


def _not_installed(missing: ModuleNotFoundError) -> tuple[str, str]:
    """The wire is an extra of the distribution: what is missing, and what to do."""
    return f"the module {missing.name!r} is not installed", "install replay-engine[grpc]"


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """A store behind a server, without and with TLS."""
    return {"grpc": _grpc, "grpcs": _grpc}


@hookimpl
def replay_commands() -> Sequence[Any]:
    """``replay serve``."""
    import click

    @click.command()
    @click.option("--store", envvar="REPLAY_STORE", default="sqlite:///.replay/replay.db", show_default=True, help="What to serve.")
    @click.option("--listen", default="127.0.0.1:7233", show_default=True, help="host:port; port 0 takes a free one.")
    @click.option("--tokens", type=click.Path(path_type=Path), help="JSON file of tokens; without it everybody may do everything.")
    @click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain of the server.")
    @click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key.")
    @click.option("--tls-clients", type=click.Path(path_type=Path), help="Certificates that clients must show (mutual TLS).")
    @click.option("--max-message", default=32 * 1024 * 1024, show_default=True, help="Largest message, in bytes.")
    @click.option("--threads", default=64, show_default=True, help="Calls handled at once.")
    @click.option("--waiting", default=512, show_default=True, help="Waiting calls and open streams at once, beside the others.")
    def serve(**options: Any) -> None:
        """Put a store on the wire, for workers and clients in Python, TypeScript and Go."""
        run_server(options)

    return [serve]


def read_directly(release: str) -> None:
    """Let the thread that serves read the network itself, as it did before gRPC 1.80; to be said before gRPC is imported.

    Since then threads of gRPC's own read, and hand on what they read three times before it is in Python. Where commits come one after
    the other, that is a sixth of the time. A release that does not know the switch would complain, so only those that were tried are
    told; who has set ``GRPC_EXPERIMENTS`` knows better.
    """
    if TRIED.match(release):
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")


def run_server(options: dict[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT; the first lets calls end, the second does not wait."""
    try:
        read_directly(version("grpcio"))
        from replay.service.server import Server, Service
    except ModuleNotFoundError as missing:
        raise InvalidRequest("replay serve", *_not_installed(missing)) from missing

    store = open_store(options.pop("store"))
    service = Service(**options)
    server = Server(store, service)
    host = service.listen.rpartition(":")[0]
    kind = "TLS" if service.tls_cert else "no TLS"
    who = "tokens" if service.tokens else "no tokens: everybody may do everything"
    print(f"replay serves {store.url} on {host}:{server.port} ({kind}, {who})", flush=True)  # noqa: T201 - the command's output
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()
    server.stop()
    store.close()
