"""TLS and mutual TLS, with certificates made here; every misfit has a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay import Client, Engine, InvalidRequest, StoreUnavailable
from replay.hooks import open_store
from replay.service.server import Server, Service
from replay.store.contract import Store
from tests.service.certificates import DAY, Authority, Identity
from tests.service.wire import PATIENCE, doubling, served


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(identity: Identity, **more: Any) -> dict[str, Any]:
    return {"tls_cert": identity.cert, "tls_key": identity.key, **more}


def test_a_worker_works_over_tls(authority: Authority) -> None:
    """The server's certificate is checked against the authority that the client trusts."""
    with (
        served("memory://tls", **tls(authority.identity("server"))) as server,
        Engine(f"grpcs://127.0.0.1:{server.port}?ca={authority.cert}", workflows=[doubling]) as engine,
    ):
        assert 20 == engine.start(doubling(5)).result(PATIENCE)


def test_with_mutual_tls_only_clients_with_a_certificate_get_in(authority: Authority, tmp_path: Path) -> None:
    """One signed by the server's authority works, none and a stranger's do not."""
    friend = authority.identity("friend")
    stranger = Authority(tmp_path, "other").identity("stranger")
    with served("memory://mtls", **tls(authority.identity("server"), tls_clients=authority.cert)) as server:
        url = f"grpcs://127.0.0.1:{server.port}?ca={authority.cert}"
        with Client(f"{url}&cert={friend.cert}&key={friend.key}") as client:
            assert [] == client.find().runs
        for refused in (url, f"{url}&cert={stranger.cert}&key={stranger.key}"):
            with pytest.raises(StoreUnavailable):
                Client(refused)


def test_an_expired_certificate_is_named_as_such(authority: Authority) -> None:
    """The error says what is wrong and where to look."""
    expired = authority.identity("server", begins=-2 * DAY, ends=-DAY)
    with (
        served("memory://expired", **tls(expired)) as server,
        pytest.raises(StoreUnavailable, match=r"(?i)certificate.*look at the certificates"),
    ):
        Client(f"grpcs://127.0.0.1:{server.port}?ca={authority.cert}")


def test_a_server_of_an_unknown_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    """Whoever signed it must be known to the client."""
    other = Authority(tmp_path, "other")
    with (
        served("memory://unknown", **tls(other.identity("server"))) as server,
        pytest.raises(StoreUnavailable, match=r"(?i)certificate"),
    ):
        Client(f"grpcs://127.0.0.1:{server.port}?ca={authority.cert}")


def test_speaking_plainly_to_a_tls_server_and_the_other_way_round_fails_clearly(authority: Authority) -> None:
    """Neither hangs."""
    with served("memory://plain") as plain, served("memory://tls", **tls(authority.identity("server"))) as secure:
        for url in (f"grpc://127.0.0.1:{secure.port}", f"grpcs://127.0.0.1:{plain.port}?ca={authority.cert}"):
            with pytest.raises(StoreUnavailable, match="grpc"):
                Client(url)


@pytest.fixture
def store() -> Store:
    return open_store("memory://tls-files")


def test_a_server_does_not_start_half_secure(authority: Authority, store: Store) -> None:
    """A key without a certificate, or an authority for clients without either, is no TLS at all: refused."""
    identity = authority.identity("server")
    misfits: tuple[dict[str, Any], ...] = (
        {"tls_cert": identity.cert},
        {"tls_key": identity.key},
        {"tls_clients": authority.cert},
        {"tls_cert": identity.cert, "tls_key": identity.cert.with_name("missing")},
    )
    for options in misfits:
        with pytest.raises(InvalidRequest):
            Server(store, Service(listen="127.0.0.1:0", **options))


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    """On the client's side too."""
    with pytest.raises(InvalidRequest, match="nowhere"):
        Client(f"grpcs://127.0.0.1:1?ca={tmp_path}/nowhere.pem")
