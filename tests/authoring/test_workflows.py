"""@workflow: a generator function becomes something to start."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import attrs
import pytest

from replay import Call, DefinitionError, PayloadError, Retry, Workflow, sleep, step, workflow
from replay.authoring.definitions import WORKFLOWS
from replay.model.names import SECOND


@attrs.frozen
class Receipt:
    id: str
    cents: int


@step
def authoring_pay(cents: int) -> Receipt:
    return Receipt("r", cents)


@workflow
def authoring_order(cents: int, note: str = "") -> Workflow[Receipt]:
    """Sell something."""
    return (yield from authoring_pay(cents))


@workflow(name="authoring.versioned", version="1")
def first_version() -> Workflow[None]:
    yield from sleep(1)


@workflow(name="authoring.versioned", version="2", patches=["a", "b"], queue="gpu", retry=Retry(max_attempts=2), signals={"go": bool})
def second_version() -> Workflow[None]:
    yield from sleep(1)


def test_calling_a_workflow_builds_a_call_and_runs_nothing() -> None:
    """To start, or to yield as a child."""
    call = authoring_order(5)

    assert isinstance(call, Call)
    assert ("authoring_order", b"[5]") == (call.name, call.payload)


def test_the_plain_generator_function_stays_at_hand() -> None:
    """For unit tests that send answers by hand."""
    generator = authoring_order.fn(5)

    assert "step authoring_pay(5)" == str(next(generator))
    with pytest.raises(StopIteration) as stop:
        generator.send(Receipt("r", 5))
    assert Receipt("r", 5) == stop.value.value


def test_a_workflow_looks_like_its_function() -> None:
    """Name, docstring, module."""
    assert ("authoring_order", "Sell something.", __name__) == (
        getattr(authoring_order, "__name__", ""),
        authoring_order.__doc__,
        authoring_order.__module__,
    )
    assert "<workflow authoring_order>" == repr(authoring_order)
    assert "<workflow authoring.versioned 2>" == repr(second_version)


def test_settings_are_kept() -> None:
    """Under the name that was given."""
    assert ("authoring.versioned", "2", frozenset({"a", "b"}), "gpu", 2, ["go"]) == (
        second_version.name,
        second_version.version,
        second_version.patches,
        second_version.defaults.queue,
        second_version.defaults.retry and second_version.defaults.retry.max_attempts,
        list(second_version.signals),
    )


def test_a_wrong_argument_is_named_at_the_call() -> None:
    """Before anything is started."""
    with pytest.raises(PayloadError, match="argument 'cents' of authoring_order: expected int, got str 'x'"):
        authoring_order("x")  # type: ignore[arg-type]


def test_arguments_that_do_not_fit_the_signature_are_a_type_error() -> None:
    """As in a plain call."""
    call: Any = authoring_order

    with pytest.raises(TypeError, match="missing"):
        call()


def test_a_call_may_be_started_otherwise() -> None:
    """Spans are given in seconds."""
    call = authoring_order(5).options(id="o-1", priority=3, delay=1.5, deadline=60, tags={"a": "b"}, queue="q")
    options = call.options_

    assert ("o-1", 3, 1.5 * SECOND, 60 * SECOND, {"a": "b"}, "q", "cancel") == (
        options.id,
        options.priority,
        options.delay,
        options.deadline,
        options.tags,
        options.queue,
        options.on_parent_close,
    )
    assert call.payload == authoring_order(5).payload


def test_an_option_that_cannot_work_is_refused_at_the_call() -> None:
    """Silence would mean ``cancel``."""
    call: Any = authoring_order(5)

    with pytest.raises(DefinitionError, match="on_parent_close must be 'cancel', 'abandon' or 'wait', got str 'leave'"):
        call.options(on_parent_close="leave")
    with pytest.raises(TypeError):
        call.options(colour="red")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delay": -1}, "workflow authoring_order: delay must be 0 seconds or more, got int -1; leave it out for none"),
        ({"delay": float("nan")}, "delay must be 0 seconds or more, got float nan"),
        ({"deadline": float("inf")}, "deadline must be 0 seconds or more, got float inf"),
        ({"deadline": "1h"}, "deadline must be 0 seconds or more, got str '1h'"),
        ({"queue": 5}, "queue must be a name, got int 5; leave it out for the workflow's own"),
        ({"priority": "high"}, "priority must be a whole number, got str 'high'; write priority=1"),
        ({"tags": ["blue"]}, "tags must be words by name, got list"),
    ],
)
def test_no_run_can_be_asked_for_that_a_store_could_not_order(settings: dict[str, Any], message: str) -> None:
    """One priority that is no number would hold up all who claim."""
    with pytest.raises(DefinitionError, match=message):
        authoring_order(5).options(**settings)


def test_the_retry_policy_is_the_workflow_s() -> None:
    """A call has none, for the code that tries again reads the workflow's."""
    call: Any = authoring_order(5)

    with pytest.raises(TypeError, match="retry"):
        call.options(retry=Retry())


def test_results_come_back_as_their_annotation_says() -> None:
    """``Workflow[T]`` names T."""
    receipt = Receipt("r", 5)

    assert receipt == authoring_order.decode(authoring_order.encode_result(receipt))
    with pytest.raises(PayloadError, match="result of workflow authoring_order"):
        authoring_order.encode_result("receipt")


def test_a_spelt_out_generator_annotation_means_the_same() -> None:
    """Its third argument is the result."""

    @workflow
    def spelt() -> Generator[Any, Any, Receipt]:
        return (yield from authoring_pay(1))

    assert Receipt("r", 1) == spelt.decode(spelt.encode_result(Receipt("r", 1)))


def test_an_iterators_annotation_says_nothing_about_the_result() -> None:
    """Its argument is what is yielded."""

    def loosely() -> Iterator[int]:
        yield 1

    decorate: Any = workflow
    loose = decorate(loosely)

    assert {"a": 1} == loose.decode(loose.encode_result({"a": 1}))


def test_a_workflow_without_annotations_takes_and_gives_plain_data() -> None:
    """Nothing is guessed."""

    @workflow
    def untyped(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the point of the test
        yield sleep(1)
        return value

    assert b"[[1]]" == untyped([1]).payload
    assert [1] == untyped.decode(untyped.encode_result([1]))


def test_local_classes_may_stand_in_annotations() -> None:
    """Of a workflow that is defined beside them."""

    @attrs.frozen
    class Local:
        n: int

    @workflow
    def local(value: Local, state: Local | None = None) -> Workflow[Local]:
        yield from sleep(1)
        return value

    assert b'[{"n":1}]' == local(Local(1)).payload
    assert Local(1) == local.decode(local.encode_result(Local(1)))
    assert Local(2) == local.decode_state(local.encode_state(Local(2)))


# ---- state and queries -------------------------------------------------------------------------------------------------------


@workflow
def authoring_stateful(n: int, state: dict[str, int] | None = None) -> Workflow[int]:
    seen = dict(state or {})
    yield from sleep(1)
    return n + len(seen)


def test_state_is_no_argument_of_a_call() -> None:
    """Only recovery gives it."""
    call: Any = authoring_stateful

    assert b"[1]" == call(1).payload
    with pytest.raises(TypeError):
        call(1, {"a": 1})
    with pytest.raises(TypeError):
        call(1, state={"a": 1})


def test_recovery_begins_with_input_and_state() -> None:
    """The same input, and what the savepoint held."""
    generator = authoring_stateful.begin(b"[1]", {"a": 1, "b": 2})
    next(generator)

    with pytest.raises(StopIteration) as stop:
        generator.send(None)
    assert 3 == stop.value.value


def test_queries_are_registered_by_name() -> None:
    """And stay plain functions."""

    @workflow
    def asked() -> Workflow[None]:
        yield from sleep(1)

    @asked.query
    def half(total: float) -> float:
        return total / 2

    assert {"half": half} == asked.queries
    assert 2 == half(4)


# ---- definitions that cannot work --------------------------------------------------------------------------------------------


def test_a_function_without_yield_is_no_workflow() -> None:
    """The advice says what it could be."""
    decorate: Any = workflow

    def plain() -> int:
        return 1

    with pytest.raises(DefinitionError, match="it is no generator function; write `def` and `yield from` its effects"):
        decorate(plain)


def test_an_async_function_is_no_workflow() -> None:
    """It cannot be driven over a journal."""
    decorate: Any = workflow

    async def asynchronous() -> int:
        return 1

    with pytest.raises(DefinitionError, match="it is an async function; write `def` and `yield from`"):
        decorate(asynchronous)


@pytest.mark.parametrize("thing", [print, int, 3, None, authoring_pay])
def test_only_plain_functions_can_be_workflows(thing: Any) -> None:
    """Not steps, classes or values."""
    with pytest.raises(DefinitionError, match="decorate a plain function: `@workflow` above `def`"):
        workflow()(thing)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"patchs": ["a"]}, TypeError, "patchs"),
        ({"patches": "fraud"}, DefinitionError, "patches must be several names, got str 'fraud'"),
        ({"patches": [1]}, DefinitionError, "patches must be several names"),
        ({"retry": 3}, DefinitionError, "retry must be a Retry, got int 3"),
        ({"version": 2}, DefinitionError, "version must be a text, got int 2"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_the_definition(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Nothing is silently ignored."""
    decorate: Any = workflow

    def wrong() -> Workflow[None]:
        yield from sleep(1)

    with pytest.raises(error, match=message):
        decorate(**settings)(wrong)


# ---- names -------------------------------------------------------------------------------------------------------------------


def test_workflows_are_found_by_name_and_version() -> None:
    """Several versions of one name may be offered."""
    assert authoring_order is WORKFLOWS["authoring_order", ""]
    assert first_version is WORKFLOWS["authoring.versioned", "1"]
    assert second_version is WORKFLOWS["authoring.versioned", "2"]


def test_two_workflows_of_one_name_and_version_are_an_error_at_once() -> None:
    """Both are named."""

    def other() -> Workflow[None]:
        yield from sleep(1)

    other.__qualname__ = "other"
    with pytest.raises(DefinitionError, match=f"workflow authoring.versioned 1: the name is taken by {__name__}.first_version"):
        workflow(name="authoring.versioned", version="1")(other)


def test_functions_defined_inside_functions_are_not_offered_by_name() -> None:
    """Another process could not import them; an engine can still be given them."""

    @workflow
    def local_one() -> Workflow[None]:
        yield from sleep(1)

    assert ("local_one", "") not in WORKFLOWS


def test_a_workflow_function_that_returns_no_generator_is_found_out_when_it_begins() -> None:
    """Somebody put another decorator in between."""

    @workflow
    def replaced() -> Workflow[None]:
        yield from sleep(1)

    replaced.fn = lambda: 3  # type: ignore[assignment,return-value]  # the point of the test
    with pytest.raises(DefinitionError, match="it returned int 3, no generator"):
        replaced.begin(b"[]")
