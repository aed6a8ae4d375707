"""How much room a store takes while runs come and go: ``python -m benchmarks.churn [sqlite|postgres] [--rounds N] [--runs N]``.

Each round makes runs, ends them and prunes them (``replay store prune``). Tables whose room is used again stop growing after a few
rounds; those that bloat do not. On PostgreSQL autovacuum looks every second instead of every minute, as a round lasts seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator

from replay import Client
from replay.client.retention import prune
from replay.hooks import Commit, Event, NewRun, RunKey, Store, open_store

EVENTS = 20
PAYLOAD = b'"' + b"x" * 300 + b'"'


def come_and_go(store: Store, round_: int, runs: int) -> None:
    """Runs of twenty events, each in a few turns."""
    for first in range(0, runs, 100):
        fresh = [
            NewRun(
                key=RunKey("default", f"{round_}-{n}"), workflow="w", events=[Event(1, "started", "", "w", 1, b"{}")], tags={"a": "b"}
            )
            for n in range(first, min(first + 100, runs))
        ]
        leases = [made.lease for made in store.create(fresh, worker="ann", ttl=600_000_000) if made.lease]
        for seq in range(1, EVENTS, 5):
            events = [Event(seq + k, "step_completed", str(seq + k), "s", 1, PAYLOAD) for k in range(1, 6)]
            store.commit([Commit(lease=lease, expected=seq, events=events) for lease in leases])
        store.commit([Commit(lease=lease, expected=EVENTS + 1, status="completed", result=PAYLOAD) for lease in leases])


@contextlib.contextmanager
def sqlite() -> Iterator[tuple[Store, Callable[[], dict[str, int]]]]:
    """A file, and its size."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/runs.db"
        with contextlib.closing(open_store(f"sqlite:///{path}?durability=relaxed")) as store:

            def size() -> dict[str, int]:
                with contextlib.closing(sqlite3.connect(path)) as raw:
                    pages, page, free = (
                        raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
                    )
                return {"file": pages * page, "free": free * page}

            yield store, size


@contextlib.contextmanager
def postgres() -> Iterator[tuple[Store, Callable[[], dict[str, int]]]]:
    """A cluster with autovacuum, and the size of the store's tables and indexes."""
    from replay_postgres.testing import TemporaryCluster

    with TemporaryCluster(("fsync=off", "autovacuum_naptime=1")) as cluster, contextlib.closing(open_store(cluster.url())) as store:

        def size() -> dict[str, int]:
            with cluster.connection() as raw:
                row = raw.execute(
                    "SELECT sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)) FROM pg_class c"
                    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'replay' AND c.relkind = 'r'"
                ).fetchone()
            return {"tables": int(row[0]), "indexes": int(row[1])} if row else {}

        yield store, size


def main() -> None:
    """Rounds, and the size after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("store", choices=["sqlite", "postgres"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1_000)
    given = parser.parse_args()
    with {"sqlite": sqlite, "postgres": postgres}[given.store]() as (store, size):
        client = Client(store)
        for round_ in range(1, given.rounds + 1):
            began = time.perf_counter()
            come_and_go(store, round_, given.runs)
            made = time.perf_counter()
            removed = prune(client, older_than=0).runs
            pruned = time.perf_counter()
            time.sleep(2)  # for autovacuum to look
            sizes = ", ".join(f"{name} {octets / 1e6:.1f} MB" for name, octets in size().items())
            print(f"round {round_}: {removed} runs made in {made - began:.1f} s, pruned in {pruned - made:.1f} s; {sizes}", flush=True)


if __name__ == "__main__":
    main()
