"""An order whose payment fails and whose worker dies while it takes back what was done: `python examples/order_saga.py`.

A saga collects what undoes each thing done. When its body fails, the compensations run in reverse, each of them a step like any other:
a crash in between loses none and repeats none that was committed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import replay
from replay import Effect, Saga, Workflow, saga, step, workflow


class PaymentDeclined(Exception):
    """The bank says no."""


def note(text: str) -> None:
    """What the outside world sees."""
    with Path("seen.txt").open("a", encoding="utf-8") as seen:
        seen.write(text + "\n")
    print(f"  {text}", flush=True)


@step
def reserve(sku: str) -> str:
    note(f"reserve {sku}")
    return f"reservation of {sku}"


@step
def book_courier(sku: str) -> str:
    note(f"book a courier for {sku}")
    return f"courier for {sku}"


@step(raises=[PaymentDeclined])
def charge(card: str, cents: int) -> str:
    note(f"charge {cents} cents")
    raise PaymentDeclined(f"card {card} is empty")


@step
def cancel_courier(courier: str) -> None:
    note(f"cancel the {courier}")


@step
def release(reservation: str) -> None:
    if not Path("died").exists():
        Path("died").touch()
        note("… and here the power fails")
        os.kill(os.getpid(), signal.SIGKILL)
    note(f"release the {reservation}")


@workflow
def order(sku: str, card: str, cents: int) -> Workflow[str]:
    def body(undo: Saga) -> Generator[Effect[object], object, str]:
        reservation = yield from reserve(sku)
        undo.compensate(release(reservation))
        courier = yield from book_courier(sku)
        undo.compensate(cancel_courier(courier))
        return (yield from charge(card, cents))

    try:
        return (yield from saga(body))
    except PaymentDeclined as declined:
        return f"nothing was sold: {declined}"


def live() -> None:
    """One life of the program: start the order, or go on with it."""
    print(replay.run(order("book", "4711", 1200), id="order-1", store="sqlite:///orders.db"))


if __name__ == "__main__":
    if sys.argv[1:] == ["live"]:
        live()
    else:
        with tempfile.TemporaryDirectory() as folder:
            for life in (1, 2):
                print(f"life {life}:", flush=True)
                ended = subprocess.run([sys.executable, Path(__file__).resolve(), "live"], cwd=folder, check=False)
                print(f"  exit code {ended.returncode}\n", flush=True)
            seen = (Path(folder) / "seen.txt").read_text(encoding="utf-8").splitlines()
        once = [line for line in seen if "power" not in line]
        print("every thing was done once" if len(once) == len(set(once)) == 5 else f"not what was promised: {seen}")
        sys.exit(len(once) != 5)
