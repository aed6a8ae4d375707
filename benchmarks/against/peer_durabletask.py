"""Microsoft's durabletask for Python with the only backend that needs no service: ``durabletask.testing``, in memory.

Configuration: worker, backend and client in one process, over gRPC on the loopback address. Nothing is durable, so it stands beside
replay on memory. W1 is the SDK's executor on a history of three events a step, from the bytes of the request that brings it.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from durabletask import client, task, worker
from durabletask.internal import helpers
from durabletask.internal import orchestrator_service_pb2 as wire
from durabletask.serialization import JsonDataConverter
from durabletask.testing import create_test_backend

from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, main, median_ms, process_ms, timed

QUIET = logging.getLogger("quiet")
QUIET.setLevel(logging.CRITICAL)


def work(_: task.ActivityContext, number: int) -> int:
    return number


def sequence(context: task.OrchestrationContext, steps: int) -> Generator[Any, Any, int]:
    total = 0
    for number in range(steps):
        total += yield context.call_activity(work, input=number)
    return total


def at_once(context: task.OrchestrationContext, steps: int) -> Generator[Any, Any, int]:
    results = yield task.when_all([context.call_activity(work, input=number) for number in range(steps)])
    return len(results)


class Rig:
    """Backend, worker and client."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.backend = create_test_backend(port=port, max_history_size=1_000_000)
        address = f"localhost:{port}"
        self.worker = worker.TaskHubGrpcWorker(host_address=address, logger=QUIET)
        self.worker.add_orchestrator(sequence)
        self.worker.add_orchestrator(at_once)
        self.worker.add_activity(work)
        self.worker.start()
        self.client = client.TaskHubGrpcClient(host_address=address, logger=QUIET)

    def run(self, workflow: Any, steps: int) -> None:
        self.wait(self.client.schedule_new_orchestration(workflow, input=steps))

    def wait(self, run: str) -> None:
        state = self.client.wait_for_orchestration_completion(run, timeout=120)
        assert state is not None, run
        assert state.runtime_status == client.OrchestrationStatus.COMPLETED, state


def warm() -> Rig:
    rig = Rig()
    rig.run(sequence, WARM)
    return rig


def replaying(_: Place) -> Found:
    registry = worker._Registry()
    name, activity = registry.add_orchestrator(sequence), task.get_name(work)
    now = datetime.now(UTC)
    past = [
        helpers.new_orchestrator_started_event(now),
        helpers.new_execution_started_event(name, "run", json.dumps(REPLAYED)),
        helpers.new_task_scheduled_event(1, activity, "0"),
    ]
    for number in range(1, REPLAYED):
        past.append(helpers.new_orchestrator_started_event(now))
        past.append(helpers.new_task_completed_event(number, str(number - 1)))
        past.append(helpers.new_task_scheduled_event(number + 1, activity, str(number)))
    new = [helpers.new_orchestrator_started_event(now), helpers.new_task_completed_event(REPLAYED, str(REPLAYED - 1))]
    request = wire.OrchestratorRequest(instanceId="run", pastEvents=past, newEvents=new).SerializeToString()

    def replay() -> None:
        read = wire.OrchestratorRequest.FromString(request)
        done = worker._OrchestrationExecutor(registry, QUIET, JsonDataConverter()).execute("run", read.pastEvents, read.newEvents)
        assert done.actions[0].completeOrchestration.orchestrationStatus == wire.ORCHESTRATION_STATUS_COMPLETED

    replay()
    return Found(REPLAYED / timed(replay), "its executor, on the bytes of a request")


def in_sequence(_: Place) -> Found:
    rig = warm()
    return Found(STEPS / timed(lambda: rig.run(sequence, STEPS)), "sends the history at every turn")


def many_runs(_: Place) -> Found:
    rig = warm()

    def all_of_them() -> None:
        for run in [rig.client.schedule_new_orchestration(sequence, input=5) for _ in range(RUNS)]:
            rig.wait(run)

    return Found(RUNS / timed(all_of_them))


def side_by_side(_: Place) -> Found:
    rig = warm()
    return Found(timed(lambda: rig.run(at_once, STEPS)), "when_all")


def latency(_: Place) -> Found:
    rig = warm()
    return Found(median_ms(lambda: rig.run(sequence, 1)))


def importing(place: Place) -> Found:
    return Found(process_ms("import durabletask.worker, durabletask.client", place.folder))


if __name__ == "__main__":
    main({"W1": replaying, "W2": in_sequence, "W3": many_runs, "W4": side_by_side, "W5": latency, "W7 import": importing})
