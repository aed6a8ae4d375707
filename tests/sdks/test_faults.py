"""What the world does to workers and clients of the SDKs: killed, cut, silent, full or forged, nothing is lost or done again.

Servers and workers are processes, the network is a proxy of ours, and every case names what the SDK says.
"""

from __future__ import annotations

import fcntl
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replay.hooks import open_store
from replay.model.events import Event
from replay.store.contract import Claim, Commit, Committed, Lease, RunKey
from tests.helpers import toolchains
from tests.sdks.faults.shop import deadly, filling, lingering, order
from tests.sdks.shops import PATIENCE, SDK, Crew, Server, audited, build, crew
from tests.sdks.shops import language as language_of
from tests.service.certificates import DAY, Authority
from tests.service.proxy import Proxy
from tests.service.wire import served, tokens_file

MISSING = toolchains.missing("node", "go")
STAMP = SDK / "node_modules" / ".package-lock.json"

pytestmark = [
    pytest.mark.node,
    pytest.mark.go,
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]
sdk = pytest.mark.parametrize("language", ["typescript", "go"])
every = pytest.mark.parametrize("language", ["python", "typescript", "go"])


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The shop in three languages; what the SDK needs is not installed by two processes of pytest at once."""
    with (tmp_path_factory.getbasetemp().parent / "replay-sdk-typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not STAMP.exists() or STAMP.stat().st_mtime < (SDK / "package-lock.json").stat().st_mtime:
            subprocess.run(["npm", "ci", "--silent"], cwd=SDK, env=toolchains.environment(), check=True)
            STAMP.touch()
    return build(tmp_path_factory.mktemp("shops"))


@pytest.fixture
def hands(commands: dict[str, list[str]], tmp_path: Path) -> Iterator[Crew]:
    with crew(commands, tmp_path) as made:
        yield made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as made:
        yield made


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with closing(Proxy(server.port)) as made:
        yield made


# ---- questions between languages -------------------------------------------------------------------------------------------------


@every
def test_a_query_is_answered_by_a_worker_of_any_language_for_a_client_of_any(server: Server, hands: Crew, language: str) -> None:
    """While a step is under way; who asks has no code, and the journal holds no trace of it."""
    worker = hands.worker(language, server.url)
    run = server.client.start(lingering(100), id="asked")
    server.until(lambda: hands.has_begun(worker))
    code = [*hands.commands["python"][:1], "-m", "replay.cli", "--store", server.url, "query", "asked", "planned", "30"]

    told = [hands.ask(asker, "query", server.url, "asked", more)["answer"] for asker, more in (("typescript", "10"), ("go", "20"))]
    told.append(int(subprocess.run(code, capture_output=True, text=True, check=True).stdout))

    assert [110, 120, 130] == told
    assert ["started"] == [event.kind for event in run.journal()]


# ---- processes that die ----------------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_under_workers_of_three_languages_is_a_pause(server: Server, hands: Crew) -> None:
    """SIGKILL, twice, while all of them work on one queue; they go on by themselves, and no step is done again."""
    workers = [hands.worker(language, server.url) for language in hands.commands]
    orders: dict[str, int] = {}
    keep_busy(server, orders, lambda: all(map(hands.has_begun, workers)))
    for _ in range(2):
        reached = server.length() + 20
        keep_busy(server, orders, lambda reached=reached: server.length() >= reached)  # type: ignore[misc]
        server.kill()
        server.start()

    assert ({"python", "typescript", "go"}, []) == audited(server, hands, orders)
    assert [None, None, None] == [worker.poll() for worker in workers]


def test_workers_that_are_killed_again_and_again_lose_nothing(server: Server, hands: Crew) -> None:
    """Forty times SIGKILL, twenty of each SDK, a moment after a step has begun; the seed says who and when."""
    chance = random.Random(7)
    victims = ["typescript", "go"] * 20
    chance.shuffle(victims)
    workers = {language: [hands.worker(language, server.url) for _ in range(2)] for language in ("typescript", "go")}
    orders: dict[str, int] = {}
    for language in victims:
        victim = workers[language].pop(0)
        keep_busy(server, orders, lambda victim=victim: hands.has_begun(victim))  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.06))  # so long it lives
        hands.kill(victim)
        workers[language].append(hands.worker(language, server.url))

    assert ({"typescript", "go"}, []) == audited(server, hands, orders)


def keep_busy(server: Server, orders: dict[str, int], true: Callable[[], bool]) -> None:
    """Wait until something is so; meanwhile there is always work for everybody."""

    def busy() -> bool:
        while len(server.client.find(status=["pending", "running", "waiting"], limit=500).runs) < 20:
            orders.update(server.orders(f"order-{len(orders)}", 5, 10))
        return true()

    server.until(busy)


def caught(server: Server, proxy: Proxy) -> None:
    """Catch a commit in the middle: the store has it, and its answer is under way; from then on nothing is heard."""
    for _ in range(200):
        before = server.length()
        proxy.answering.clear()
        seen, late = 0, time.monotonic() + 0.3
        while time.monotonic() < late:
            if server.length() > before:
                return
            seen = server.store.wait(seen, 0.02)
        proxy.answering.set()
        server.until(lambda before=before: server.length() > before)  # type: ignore[misc]
    raise AssertionError("no commit was caught")


@sdk
def test_a_worker_that_is_killed_in_the_middle_of_a_commit_loses_nothing(
    language: str, server: Server, proxy: Proxy, hands: Crew
) -> None:
    """The commit is in the journal and the worker never heard of it; the next one goes on behind it."""
    orders = server.orders("order", 3, 20)
    for _ in range(2):
        worker = hands.worker(language, f"grpc://127.0.0.1:{proxy.port}")
        server.until(lambda worker=worker: hands.has_begun(worker))  # type: ignore[misc]
        caught(server, proxy)
        hands.kill(worker)
        proxy.cut()
        proxy.answering.set()
    hands.worker(language, server.url)

    assert ({language}, []) == audited(server, hands, orders)


@sdk
def test_a_worker_that_is_asked_to_leave_ends_its_steps_first(language: str, server: Server, hands: Crew) -> None:
    """SIGTERM while a step runs: its answer is committed, the program ends well, and another language does the rest at once."""
    other = "go" if language == "typescript" else "typescript"
    leaving = hands.worker(language, server.url)
    run = server.client.start(lingering(1), id="long")
    server.until(lambda: hands.has_begun(leaving))
    leaving.send_signal(signal.SIGTERM)
    assert {"answer": None} == {"answer": None, **hands.told(leaving)}
    assert 0 == leaving.returncode
    hands.worker(other, server.url)

    assert 3 == run.result(PATIENCE)
    steps = [(event.name, language_of(event)) for event in run.journal() if event.kind == "step_completed"]
    assert [("faults.linger", language), ("faults.touch", other)] == steps


# ---- the network -----------------------------------------------------------------------------------------------------------------


def cut_in_the_answer(server: Server, proxy: Proxy) -> None:
    """Every connection breaks when five bytes of the answer to a commit were heard."""
    for _ in range(4):
        caught(server, proxy)
        proxy.cut()
        proxy.answering.set()
        progress(server)


def delays(server: Server, proxy: Proxy) -> None:
    """Everything takes 300 ms more, each way."""
    proxy.delay = 0.3
    progress(server)


def half_closes(server: Server, proxy: Proxy) -> None:
    """The server hears the end, the worker hears nothing more."""
    for _ in range(4):
        assert proxy.half_close()
        progress(server)


def falls_silent(server: Server, proxy: Proxy) -> None:
    """For three seconds nothing gets through either way, longer than a lease; nobody is told."""
    for gate in (proxy.asking, proxy.answering):
        gate.clear()
    time.sleep(3)  # the fault itself
    for gate in (proxy.asking, proxy.answering):
        gate.set()
    progress(server)


def progress(server: Server) -> None:
    """Wait until a few events more are in the journals."""
    reached = server.length() + 4
    server.until(lambda: server.length() >= reached)


@sdk
@pytest.mark.parametrize("fault", [cut_in_the_answer, delays, half_closes, falls_silent])
def test_a_bad_network_loses_nothing(
    language: str, fault: Callable[[Server, Proxy], None], server: Server, proxy: Proxy, hands: Crew
) -> None:
    """Whatever becomes of the connections, each step is in the journal once, and none is done again after it."""
    orders = server.orders("order", 4, 20)
    worker = hands.worker(language, f"grpc://127.0.0.1:{proxy.port}")
    server.until(lambda: server.length() > 20)
    fault(server, proxy)
    proxy.delay = 0

    assert ({language}, []) == audited(server, hands, orders)
    assert worker.poll() is None


def test_garbage_on_the_port_harms_no_worker(server: Server, hands: Crew) -> None:
    """Bytes that are no HTTP/2, half a preface, another protocol's request: those who work hear nothing of it."""
    orders: dict[str, int] = {}
    workers = [hands.worker(language, server.url) for language in ("typescript", "go")]
    keep_busy(server, orders, lambda: all(map(hands.has_begun, workers)))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for nonsense in (b"\x00\xff" * 50_000, b"GET / HTTP/1.1\r\n\r\n", preface[:9], preface + random.Random(1).randbytes(10_000)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as peer:
            peer.sendall(nonsense)

    assert ({"typescript", "go"}, []) == audited(server, hands, orders)
    assert "does not answer" not in hands.said()


@sdk
def test_a_client_that_does_not_read_holds_up_nobody(language: str, server: Server, hands: Crew) -> None:
    """Twenty megabytes wait for it; others work on, and when it reads again nothing is missing."""
    for _ in range(40):
        server.store.publish("default", [("news", b'"' + b"x" * 100_000 + b'"')] * 5)
    slow = hands.run(language, "slow", server.url, "news")
    assert slow.stdout is not None
    assert "reading\n" == slow.stdout.readline()
    orders = server.orders("order", 8, 10)
    hands.worker(language, server.url)

    assert ({language}, []) == audited(server, hands, orders)
    assert {"answer": 200} == hands.told(slow, "go on\n")


# ---- too much, and unknown -------------------------------------------------------------------------------------------------------


@sdk
def test_a_message_above_the_limit_sets_one_run_aside(language: str, tmp_path: Path, hands: Crew) -> None:
    """The reason is in its note, others go on; with a larger limit it ends. What a client sends too large is refused with advice."""
    with closing(Server(tmp_path, "--max-message", "200000")) as server:
        hands.worker(language, server.url)
        large = server.client.start(filling(500_000, ""), id="large")
        orders = server.orders("order", 4, 10)
        server.until(lambda: large.status == "stuck")
        assert ({language}, []) == audited(server, hands, orders)
        assert "max" in large.about().note

        refused = hands.ask(language, "start", server.url, "refused", "500000")
        assert "StoreRefused" == refused["type"]
        assert "--max-message on the server" in refused["message"]
        assert ["large"] == [run.key.id for run in server.client.find(workflow="faults.filling").runs]

        server.kill()
        server.start()
        large.resume()
        server.until(lambda: large.status != "stuck")
        assert 500_000 == large.result(PATIENCE)


@every
def test_an_event_of_a_kind_from_the_future_sets_its_run_aside(language: str, server: Server, hands: Crew) -> None:
    """An older worker says what it does not know, leaves the journal as it is, and drives the others."""
    key = RunKey("default", "newer")
    _ = server.client.start(order(2), id=key.id)
    asking = Claim(worker="newer", namespace="default", queues=["default"], workflows=["faults.order"], limit=1, ttl=10**7)
    (found,) = server.store.claim(asking).runs
    event = Event(2, "hologram_seen", "0", "faults.touch", server.store.now(), b"1", worker="newer")
    assert [Committed.APPLIED] == server.store.commit([given_back(found.lease, event)])
    hands.worker(language, server.url)
    orders = server.orders("order", 4, 5)
    run = server.client.get(key.id)
    server.until(lambda: run.status == "stuck")

    assert "hologram_seen" in run.about().note
    assert ["started", "hologram_seen"] == [event.kind for event in server.store.journal(key)]
    assert ({language}, []) == audited(server, hands, orders)


def dies(server: Server, workflow: str, times: int) -> None:
    """Workers claim a run and are gone."""
    asking = Claim(worker="dies", namespace="default", queues=["default"], workflows=[workflow], limit=1, ttl=1)
    deaths: list[RunKey] = []

    def died_often() -> bool:
        deaths.extend(found.run.key for found in server.store.claim(asking).runs)
        return len(deaths) >= times

    server.until(died_often)


@pytest.mark.parametrize("order_of_death", [["python", "go"], ["go", "typescript"], ["typescript", "python"]])
def test_a_run_that_kills_is_driven_alone_by_every_language_and_set_aside(
    order_of_death: list[str], server: Server, hands: Crew
) -> None:
    """Each writes down what it is about to do, whoever comes next counts on, and what is mended ends."""
    run = server.client.start(deadly(), id="deadly")
    dies(server, "faults.deadly", 3)
    for language in order_of_death:
        assert -signal.SIGKILL == hands.worker(language, server.url, "4").wait(PATIENCE)
    last = hands.worker(order_of_death[0], server.url, "4")
    server.until(lambda: run.status == "stuck")
    note = run.about().note
    assert "set aside: 5 workers in a row died while they held it, since event #1 (started faults.deadly); in the last 2" in note
    assert f"under way on {'' if order_of_death[1] == 'python' else order_of_death[1] + '/'}" in note
    assert "step faults.kill (command 0, " in note
    assert last.poll() is None

    Path(f"{hands.log}.mended").touch()
    run.resume()
    server.until(lambda: run.status != "stuck")
    assert "mended" == run.result(PATIENCE)


def given_back(lease: Lease, event: Event) -> Commit:
    return Commit(lease=lease, expected=1, events=[event], status="pending", wake_at=0, release=True)


# ---- who may not -----------------------------------------------------------------------------------------------------------------


def expired(authority: Authority) -> tuple[dict[str, Any], str]:
    """A server whose certificate was valid until yesterday."""
    found = authority.identity("server", begins=-2 * DAY, ends=-DAY)
    return {"tls_cert": found.cert, "tls_key": found.key}, f"grpcs://127.0.0.1:PORT?ca={authority.cert}"


def unknown(authority: Authority) -> tuple[dict[str, Any], str]:
    """A server whose authority the client does not know."""
    found = Authority(authority.folder, "other").identity("server")
    return {"tls_cert": found.cert, "tls_key": found.key}, f"grpcs://127.0.0.1:PORT?ca={authority.cert}"


def anonymous(authority: Authority) -> tuple[dict[str, Any], str]:
    """A server that asks for a certificate, and a client that has none."""
    found = authority.identity("server")
    options = {"tls_cert": found.cert, "tls_key": found.key, "tls_clients": authority.cert}
    return options, f"grpcs://127.0.0.1:PORT?ca={authority.cert}"


def wrong(authority: Authority) -> tuple[dict[str, Any], str]:
    """A token that the server does not know."""
    return {
        "tokens": tokens_file(authority.folder / "tokens", {"right": ("default", ["start", "work"])})
    }, "grpc://127.0.0.1:PORT?token=wrong"


def foreign(authority: Authority) -> tuple[dict[str, Any], str]:
    """A token of another namespace."""
    return {
        "tokens": tokens_file(authority.folder / "tokens", {"bank": ("bank", ["start", "work"])})
    }, "grpc://127.0.0.1:PORT?token=bank"


@sdk
@pytest.mark.parametrize(
    ("does", "who", "kind", "words"),
    [
        ("start", expired, "StoreUnavailable", ["expired", "look at the certificates"]),
        ("worker", expired, "StoreUnavailable", ["expired", "look at the certificates"]),
        ("start", unknown, "StoreUnavailable", ["certificate", "look at the certificates"]),
        ("start", anonymous, "StoreUnavailable", ["with mutual TLS"]),
        ("worker", anonymous, "StoreUnavailable", ["with mutual TLS", "?cert=FILE&key=FILE"]),
        ("start", wrong, "StoreRefused", ["UNAUTHENTICATED", "pass a valid token"]),
        ("worker", wrong, "StoreRefused", ["UNAUTHENTICATED", "pass a valid token"]),
        ("start", foreign, "StoreRefused", ["namespace"]),
        ("worker", foreign, "StoreRefused", ["namespace"]),
    ],
)
def test_who_may_not_is_told_why_and_changes_nothing(
    language: str,
    does: str,
    who: Callable[[Authority], tuple[dict[str, Any], str]],
    kind: str,
    words: list[str],
    tmp_path: Path,
    hands: Crew,
) -> None:
    """Clients and workers alike: the error's type and text say what is wrong, and the store is as it was."""
    options, url = who(Authority(tmp_path))
    with closing(open_store(f"sqlite:///{tmp_path}/bank.db")) as store, served(store, **options) as service:
        before = store.wait(0, 0)
        told = hands.ask(language, does, url.replace("PORT", str(service.port)), "refused", "1")

        assert kind == told["type"], told
        assert [] == [word for word in words if word.lower() not in told["message"].lower()], told
        assert before == store.wait(before, 0)
