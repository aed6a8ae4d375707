"""Temporal's Python SDK: only its Replayer, as no server can be installed from a package registry.

Configuration: ``UnsandboxedWorkflowRunner``, which is faster than the default sandbox. The history is made by hand, of the six events
that a server writes for each activity: 1,000 steps, as its rate falls with length and a server ends a run at 51,200 events.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    HistoryEvent,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from benchmarks.against.harness import Found, Place, main, process_ms, timed

STEPS = 1_000


@workflow.defn(name="Sequence")
class Sequence:
    @workflow.run
    async def run(self, steps: int) -> int:
        total = 0
        for number in range(steps):
            total += await workflow.execute_activity("work", number, start_to_close_timeout=timedelta(seconds=60))
        return total


def payloads(value: int) -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=str(value).encode())])


class Book:
    """A history, as a server would write it."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []
        self.queue = TaskQueue(name="bench")

    def add(self, kind: EventType.ValueType, **attributes: Any) -> int:
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=kind, task_id=1_000 + len(self.events), **attributes)
        event.event_time.FromSeconds(1_760_000_000 + len(self.events))
        self.events.append(event)
        return event.event_id

    def begin(self, steps: int) -> None:
        started = WorkflowExecutionStartedEventAttributes(
            workflow_type=WorkflowType(name="Sequence"),
            task_queue=self.queue,
            input=payloads(steps),
            original_execution_run_id="11111111-2222-3333-4444-555555555555",
            first_execution_run_id="11111111-2222-3333-4444-555555555555",
            attempt=1,
            workflow_id="bench",
        )
        started.workflow_task_timeout.FromSeconds(10)
        self.add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, workflow_execution_started_event_attributes=started)

    def turn(self) -> int:
        """A workflow task, and the number of its last event."""
        asked = self.add(
            EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
            workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(task_queue=self.queue, attempt=1),
        )
        began = self.add(
            EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            workflow_task_started_event_attributes=WorkflowTaskStartedEventAttributes(scheduled_event_id=asked, identity="bench"),
        )
        done = WorkflowTaskCompletedEventAttributes(scheduled_event_id=asked, started_event_id=began, identity="bench")
        return self.add(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, workflow_task_completed_event_attributes=done)

    def activity(self, number: int, turn: int) -> None:
        asked = ActivityTaskScheduledEventAttributes(
            activity_id=str(number + 1),
            activity_type=ActivityType(name="work"),
            task_queue=self.queue,
            input=payloads(number),
            workflow_task_completed_event_id=turn,
        )
        asked.start_to_close_timeout.FromSeconds(60)
        scheduled = self.add(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, activity_task_scheduled_event_attributes=asked)
        started = self.add(
            EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
            activity_task_started_event_attributes=ActivityTaskStartedEventAttributes(
                scheduled_event_id=scheduled, identity="bench", attempt=1
            ),
        )
        done = ActivityTaskCompletedEventAttributes(
            scheduled_event_id=scheduled, started_event_id=started, identity="bench", result=payloads(number)
        )
        self.add(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, activity_task_completed_event_attributes=done)


def history(steps: int) -> WorkflowHistory:
    book = Book()
    book.begin(steps)
    for number in range(steps):
        book.activity(number, book.turn())
    ended = WorkflowExecutionCompletedEventAttributes(result=payloads(sum(range(steps))), workflow_task_completed_event_id=book.turn())
    book.add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, workflow_execution_completed_event_attributes=ended)
    return WorkflowHistory("bench", book.events)


def replaying(_: Place) -> Found:
    recorded = history(STEPS)

    def replay() -> None:
        asyncio.run(Replayer(workflows=[Sequence], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(recorded))

    return Found(STEPS / timed(replay), "Replayer, unsandboxed, 1,000 steps, from memory")


def importing(place: Place) -> Found:
    return Found(process_ms("import temporalio.worker, temporalio.client, temporalio.workflow", place.folder))


if __name__ == "__main__":
    main({"W1 alone": replaying, "W7 import": importing})
