"""LangGraph with SqliteSaver, PostgresSaver and InMemorySaver.

Configuration: a graph of one node with an edge to itself, which is faster than a chain of nodes; ``durability="sync"``, so that a
step's checkpoint is durable before the next step begins, as in replay; SqliteSaver's own WAL mode. A super-step counts as a step.
LangGraph does not replay: it loads one snapshot. So it has no W1, and its recovery stands beside replay's from a savepoint (W12).
"""

from __future__ import annotations

import operator
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, main, median_ms, process_ms, timed

HELLO = """
import sqlite3
from typing import TypedDict
from langgraph.graph import END, START, StateGraph
from langgraph.checkpoint.sqlite import SqliteSaver
class State(TypedDict): name: str
graph = StateGraph(State); graph.add_node("greet", lambda state: {"name": "hello " + state["name"]})
graph.add_edge(START, "greet"); graph.add_edge("greet", END)
saver = SqliteSaver(sqlite3.connect("hello.db", check_same_thread=False))
print(graph.compile(checkpointer=saver).invoke({"name": "you"}, {"configurable": {"thread_id": "1"}}, durability="sync"))
"""


class State(TypedDict):
    at: int
    steps: int
    found: Annotated[list[int], operator.add]


@contextmanager
def saver(place: Place) -> Iterator[Any]:
    """Where checkpoints go."""
    if place.backend == "memory":
        yield InMemorySaver()
    elif place.backend == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        yield SqliteSaver(sqlite3.connect(place.folder / "langgraph.db", check_same_thread=False))
    else:
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        with ConnectionPool(place.dsn, min_size=8, max_size=8, kwargs=settings) as pool:
            made = PostgresSaver(pool)
            made.setup()
            yield made


def looping(checkpoints: Any, *, stops: bool = False) -> Any:
    """One node that counts; with ``stops`` it waits for a human after the last step."""
    graph = StateGraph(State)
    graph.add_node("work", lambda state: {"at": state["at"] + 1})
    graph.add_edge(START, "work")
    last = "stop" if stops else END
    graph.add_conditional_edges("work", lambda state: "work" if state["at"] < state["steps"] else last)
    if stops:
        graph.add_node("stop", lambda state: {"at": interrupt("go") + state["at"]})
        graph.add_edge("stop", END)
    return graph.compile(checkpointer=checkpoints)


def fanning(checkpoints: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("begin", lambda _: {})
    graph.add_node("work", lambda state: {"found": [state["at"]]})
    graph.add_edge(START, "begin")
    graph.add_conditional_edges("begin", lambda state: [Send("work", {"at": number}) for number in range(state["steps"])])
    graph.add_edge("work", END)
    return graph.compile(checkpointer=checkpoints)


def settings(steps: int) -> Any:
    return {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": steps + 10}


def run(graph: Any, steps: int, where: Any = None) -> Any:
    return graph.invoke({"at": 0, "steps": steps, "found": []}, where or settings(steps), durability="sync")


def in_sequence(place: Place) -> Found:
    with saver(place) as checkpoints:
        graph = looping(checkpoints)
        run(graph, WARM)
        return Found(STEPS / timed(lambda: run(graph, STEPS)), "one node in a loop, durability=sync")


def many_runs(place: Place) -> Found:
    with saver(place) as checkpoints, ThreadPoolExecutor(8) as threads:
        graph = looping(checkpoints)
        run(graph, WARM)
        return Found(RUNS / timed(lambda: list(threads.map(lambda _: run(graph, 5), range(RUNS)))), "eight threads")


def at_once(place: Place) -> Found:
    with saver(place) as checkpoints:
        graph = fanning(checkpoints)
        run(graph, WARM)
        return Found(timed(lambda: run(graph, STEPS)), "Send to 1,000 tasks")


def latency(place: Place) -> Found:
    with saver(place) as checkpoints:
        graph = looping(checkpoints)
        run(graph, WARM)
        return Found(median_ms(lambda: run(graph, 1)), "invoke of a graph of one node")


def from_snapshot(place: Place) -> Found:
    with saver(place) as checkpoints:
        graph = looping(checkpoints, stops=True)
        where = settings(REPLAYED)
        run(graph, REPLAYED, where)
        return Found(median_ms(lambda: graph.get_state(where), 5), "get_state: reads the newest snapshot, and takes no lease")


def importing(place: Place) -> Found:
    return Found(process_ms("import langgraph.graph, langgraph.checkpoint.sqlite", place.folder), "with its SQLite saver")


def hello(place: Place) -> Found:
    return Found(process_ms(HELLO, place.folder))


if __name__ == "__main__":
    main(
        {
            "W2": in_sequence,
            "W3": many_runs,
            "W4": at_once,
            "W5": latency,
            "W7 import": importing,
            "W7 hello": hello,
            "W12": from_snapshot,
        }
    )
