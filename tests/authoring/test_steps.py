"""@step: a plain function becomes a builder of effects."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import zlib
from typing import Any

import attrs
import pytest

from replay import DefinitionError, Effect, EffectError, PayloadError, Retry, Step, StepFailed, step
from replay.authoring.definitions import RIVALS, STEPS
from replay.model.failure import Failure
from replay.model.retry import ONCE


@attrs.frozen
class Item:
    sku: str
    price: float


@attrs.frozen
class Cart:
    items: list[Item]
    note: str = ""


class Declined(Exception):
    pass


@step
def authoring_charge(card: str, cents: int = 100, *, note: str = "") -> str:
    """Take money."""
    return f"{card}:{cents}:{note}"


@step
async def authoring_ship(sku: str) -> str:
    await asyncio.sleep(0)
    return sku


@step(
    name="authoring.settings",
    retry=Retry(max_attempts=3),
    timeout=10,
    queue="gpu",
    compare_arguments=False,
    on_cancel="wait",
    raises=[Declined],
)
def full(cart: Cart) -> Cart:
    return cart


# ---- calling -----------------------------------------------------------------------------------------------------------------


def test_calling_a_step_builds_an_effect_and_runs_nothing() -> None:
    """The call is a value."""
    ran: list[int] = []

    @step
    def noisy(n: int) -> None:
        ran.append(n)

    effect = noisy(1)

    assert isinstance(effect, Step)
    assert ("noisy", b"[1]") == (effect.name, effect.payload)
    assert [] == ran


def test_the_plain_function_stays_at_hand() -> None:
    """For unit tests of its body."""
    assert "visa:5:" == authoring_charge.fn("visa", 5)
    assert "sku" == asyncio.run(authoring_ship.fn("sku"))


def test_a_step_looks_like_its_function() -> None:
    """Name, docstring, module, signature."""
    assert ("authoring_charge", "Take money.", __name__) == (
        getattr(authoring_charge, "__name__", ""),
        authoring_charge.__doc__,
        authoring_charge.__module__,
    )
    assert ["card", "cents", "note"] == list(authoring_charge.arguments.signature.parameters)
    assert "<step authoring_charge>" == repr(authoring_charge)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("visa", 5), {}), (("visa",), {"cents": 5}), ((), {"card": "visa", "cents": 5}), ((), {"cents": 5, "card": "visa"})],
)
def test_the_same_call_is_the_same_bytes_however_it_is_written(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checksums depend on nothing else."""
    call: Any = authoring_charge

    assert b'["visa",5]' == call(*args, **kwargs).payload


def test_defaults_are_not_written() -> None:
    """So that one may be added later."""
    assert b'["visa"]' == authoring_charge("visa").payload


def test_a_step_shares_no_mutable_value_with_its_workflow() -> None:
    """What is changed after the call is not in it."""

    @step
    def listing(values: list[int]) -> None: ...

    values = [1]
    effect = listing(values)
    values.append(2)

    assert b"[[1]]" == effect.payload


def test_the_checksum_is_that_of_the_encoded_arguments() -> None:
    """CRC-32; nought where a step opted out."""
    assert zlib.crc32(b'["visa",5]') == authoring_charge("visa", 5).check()
    assert 0 == full(Cart([])).check()


# ---- what does not fit -------------------------------------------------------------------------------------------------------


def test_a_wrong_argument_is_named_at_the_call() -> None:
    """With what was expected and what came."""
    with pytest.raises(PayloadError, match="argument 'cents' of authoring_charge: expected int, got str 'five'") as caught:
        authoring_charge("visa", "five")  # type: ignore[arg-type]
    assert ("int", "$") == (caught.value.expected, caught.value.path)


def test_a_wrong_field_deep_inside_is_named_by_its_path() -> None:
    """As it is written in the value."""
    cart = Cart([Item("a", 1.0), Item("b", "dear")])  # type: ignore[arg-type]

    with pytest.raises(PayloadError) as caught:
        full(cart)
    assert ("argument 'cart' of full", "$.items[1].price", "float") == (
        caught.value.where,
        caught.value.path,
        caught.value.expected,
    )


def test_what_is_no_data_is_refused_at_the_call() -> None:
    """A function, a lock, an open file."""

    @step
    def anything(value: Any) -> None: ...

    for value in (print, object(), {1: "int keys"}, float("nan")):
        with pytest.raises(PayloadError, match="argument 'value' of anything"):
            anything(value)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a", 1, 2), {}), (("a",), {"card": "b"}), (("a",), {"x": 1})])
def test_arguments_that_do_not_fit_the_signature_are_a_type_error(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """As in a plain call."""
    call: Any = authoring_charge

    with pytest.raises(TypeError):
        call(*args, **kwargs)


def test_a_result_that_does_not_fit_is_refused_when_it_is_encoded() -> None:
    """At the step's end, before anything is journaled."""
    with pytest.raises(PayloadError, match="result of step authoring_charge: expected str, got int 3"):
        authoring_charge.encode_result(3)


# ---- the other side ----------------------------------------------------------------------------------------------------------


def test_invoking_calls_the_plain_function_with_what_was_written() -> None:
    """Values come back as their annotations say."""
    cart = Cart([Item("a", 1.5)])

    assert cart == full.invoke(full(cart).payload)
    assert "visa:5:hi" == authoring_charge.invoke(authoring_charge("visa", 5, note="hi").payload)


def test_results_come_back_as_their_annotations_say() -> None:
    """Decoded from the bytes that were journaled."""
    cart = Cart([Item("a", 1.5)], "n")

    assert cart == full.decode(full.encode_result(cart))


def test_an_unannotated_step_takes_and_gives_plain_data() -> None:
    """Nothing is guessed."""

    @step
    def untyped(value, other=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the point of the test
        return [value, other]

    assert [1, {"a": None}] == untyped.invoke(untyped(1, {"a": None}).payload)


def test_local_classes_may_stand_in_annotations() -> None:
    """Of a step that is defined beside them."""

    @attrs.frozen
    class Local:
        when: dt.date

    @step
    def local(value: Local) -> Local:
        return value

    value = Local(dt.date(2026, 1, 1))

    assert value == local.decode(local.encode_result(local.invoke(local(value).payload)))


def test_an_async_step_is_known_as_one() -> None:
    """And its result is what it answers, not the coroutine."""
    assert (False, True) == (authoring_charge.is_async, authoring_ship.is_async)
    assert "x" == authoring_ship.decode(authoring_ship.encode_result("x"))


# ---- settings ----------------------------------------------------------------------------------------------------------------


def test_a_step_is_done_once_here_and_without_a_limit_unless_it_says_otherwise() -> None:
    """The defaults."""
    options = authoring_charge.defaults

    assert (ONCE, None, None, False, False, True, "abandon", (), "") == (
        options.retry,
        options.timeout,
        options.queue,
        options.at_most_once,
        options.transactional,
        options.compare_arguments,
        options.on_cancel,
        options.raises,
        options.id,
    )


def test_settings_are_kept() -> None:
    """Under the name that was given."""
    options = full.defaults

    assert ("authoring.settings", 3, 10, "gpu", False, "wait", (Declined,)) == (
        full.name,
        options.retry.max_attempts,
        options.timeout,
        options.queue,
        options.compare_arguments,
        options.on_cancel,
        options.raises,
    )


def test_a_call_may_be_done_otherwise() -> None:
    """What is left out stays as the step declares it, and the step itself is unchanged."""
    call = full(Cart([]))
    other = call.options(timeout=1, queue="cpu", id="mine", retry=ONCE, on_cancel="abandon")

    assert (1, "cpu", "mine", ONCE, "abandon", False) == (
        other.options_.timeout,
        other.options_.queue,
        other.options_.id,
        other.options_.retry,
        other.options_.on_cancel,
        other.options_.compare_arguments,
    )
    assert (10, "gpu", "") == (call.options_.timeout, call.options_.queue, call.options_.id)
    assert (call.payload, call.name) == (other.payload, other.name)


def test_options_may_be_given_one_after_the_other() -> None:
    """Each keeps what the other said."""
    call = authoring_charge("visa").options(timeout=1).options(id="x")

    assert (1, "x") == (call.options_.timeout, call.options_.id)


def test_an_effect_shows_itself() -> None:
    """Name and arguments, cut to a bounded length."""
    assert 'step authoring_charge("visa",5)' == str(authoring_charge("visa", 5))
    assert len(str(authoring_charge("v" * 9999))) < 200


def test_a_step_may_be_given_to_yield_from() -> None:
    """It yields itself and answers what it is sent."""
    effect: Effect[str] = authoring_charge("visa")
    generator = iter(effect)

    assert effect is next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.send("receipt")
    assert "receipt" == stop.value.value


# ---- definitions that cannot work --------------------------------------------------------------------------------------------


def test_a_generator_function_is_no_step() -> None:
    """It is a workflow, or should return a value."""
    with pytest.raises(DefinitionError, match="it is a generator function; return a value, or make it a @workflow"):

        @step
        def wrong() -> Any:
            yield 1


def test_an_async_generator_function_is_no_step() -> None:
    """Nor has it one result."""
    with pytest.raises(DefinitionError, match="it is a generator function"):

        @step
        async def wrong() -> Any:
            yield 1


@pytest.mark.parametrize("wrong", [print, functools.partial(print), int, Item, None, 3, "charge"])
def test_only_plain_functions_can_be_steps(wrong: Any) -> None:
    """The advice shows how."""
    with pytest.raises(DefinitionError, match="decorate a plain function: `@step` above `def`"):
        step()(wrong)


def test_a_step_that_was_not_called_cannot_be_yielded_from() -> None:
    """Python alone would say that it is not iterable."""
    uncalled: Any = authoring_charge

    with pytest.raises(EffectError, match=r"`yield from authoring_charge` without a call; write `yield from authoring_charge"):
        iter(uncalled)


def test_a_step_of_a_step_is_refused() -> None:
    """Once is enough."""
    with pytest.raises(DefinitionError, match="it was given StepFunction <step authoring_charge>"):
        step(authoring_charge)


def test_at_most_once_and_a_retry_policy_exclude_each_other() -> None:
    """One says never twice, the other says again."""
    with pytest.raises(DefinitionError, match="it is at_most_once and has a retry policy"):

        @step(at_most_once=True, retry=Retry(max_attempts=2))
        def wrong() -> None: ...


def test_a_call_cannot_retry_an_at_most_once_step_either() -> None:
    """The promise is the step's."""

    @step(at_most_once=True)
    def once() -> None: ...

    with pytest.raises(DefinitionError, match="it is at_most_once and has a retry policy"):
        once().options(retry=Retry(max_attempts=2))
    assert once().options(retry=ONCE, timeout=1).options_.at_most_once


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retry": 3}, "retry must be a Retry, got int 3"),
        ({"queue": 5}, "queue must be a name, got int 5"),
        ({"timeout": 0}, "timeout must be more than 0 seconds"),
        ({"timeout": -1}, "timeout must be more than 0 seconds"),
        ({"timeout": "10"}, "timeout must be more than 0 seconds"),
        ({"timeout": float("nan")}, "timeout must be more than 0 seconds"),
        ({"on_cancel": "stop"}, "on_cancel must be 'abandon' or 'wait', got str 'stop'"),
        ({"raises": [KeyboardInterrupt]}, "raises must be exception classes"),
        ({"raises": [Declined()]}, "raises must be exception classes"),
        ({"raises": Declined}, "raises must be exception classes"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_the_definition(settings: dict[str, Any], message: str) -> None:
    """Not at three in the morning, at its first use."""
    decorate: Any = step

    def wrong() -> None: ...

    with pytest.raises(DefinitionError, match=message):
        decorate(**settings)(wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retry": 3}, "retry must be a Retry"),
        ({"timeout": 0}, "timeout must be more than 0 seconds"),
        ({"on_cancel": "stop"}, "on_cancel must be"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_the_call(settings: dict[str, Any], message: str) -> None:
    """In the workflow's own line."""
    call: Any = authoring_charge("visa")

    with pytest.raises(DefinitionError, match=message):
        call.options(**settings)


def test_a_setting_that_does_not_exist_is_a_type_error() -> None:
    """As for any function."""
    decorate: Any = step

    def wrong() -> None: ...

    with pytest.raises(TypeError, match="retries"):
        decorate(retries=3)(wrong)


def test_a_transactional_step_takes_a_connection() -> None:
    """It is not an argument that the workflow passes."""

    @step(transactional=True)
    def insert(connection: Any, row: int) -> int:
        return row + int(connection)

    assert b"[1]" == insert(row=1).payload  # type: ignore[call-arg]
    assert 3 == insert.invoke(b"[1]", connection=2)


def test_what_a_transaction_cannot_keep_is_refused() -> None:
    """It is called in the engine's own thread: nothing could await it or cut it short."""
    with pytest.raises(DefinitionError, match="it is transactional and async; write `def`"):

        @step(transactional=True)
        async def waits(connection: Any) -> None: ...

    with pytest.raises(DefinitionError, match="it is transactional and has a timeout"):

        @step(transactional=True, timeout=5)
        def hurries(connection: Any) -> None: ...


def test_a_transactional_step_without_the_parameter_is_refused() -> None:
    """It could not be handed its connection."""
    with pytest.raises(DefinitionError, match="it is transactional and has no parameter 'connection'"):

        @step(transactional=True)
        def wrong(row: int) -> None: ...


# ---- names -------------------------------------------------------------------------------------------------------------------


def test_a_step_is_found_by_its_name() -> None:
    """By workers that were asked for it."""
    assert authoring_charge is STEPS["authoring_charge"]
    assert full is STEPS["authoring.settings"]


def test_two_steps_of_one_name_are_an_error_when_one_goes_to_another_queue() -> None:
    """Its workers could not tell them apart; both are named."""

    def other() -> None: ...

    other.__qualname__ = "other"
    with pytest.raises(DefinitionError, match=rf"the name is taken by {__name__}.authoring_charge, this one is {__name__}.other"):
        step(name="authoring_charge", queue="gpu")(other)
    assert authoring_charge is STEPS["authoring_charge"]


def test_two_steps_of_one_name_get_along_where_nobody_looks_for_them() -> None:
    """Each works in its own workflows; only by name, on another queue, neither can be done."""

    def other(number: int) -> int:
        return number

    other.__qualname__ = "other"
    try:
        assert 7 == step(name="authoring_charge")(other).fn(7)
        assert (f"{__name__}.authoring_charge", f"{__name__}.other") == RIVALS["authoring_charge"]
        assert authoring_charge is STEPS["authoring_charge"]
    finally:
        RIVALS.pop("authoring_charge", None)


def test_defining_the_same_function_again_replaces_it() -> None:
    """As a module that is loaded again."""

    def again() -> None: ...

    again.__qualname__ = "authoring_again"
    first, second = step(again), step(again)

    assert second is STEPS.pop("again")
    assert first is not second


def test_functions_defined_inside_functions_are_not_offered_by_name() -> None:
    """Another process could not import them."""

    @step
    def local_one() -> None: ...

    assert "local_one" not in STEPS
    assert "local_one" == local_one.name


# ---- failures ----------------------------------------------------------------------------------------------------------------


def test_a_failure_is_step_failed_unless_its_class_is_named() -> None:
    """By its qualified name; nothing is imported."""
    plain = authoring_charge.failure(Failure.of(Declined("no"), attempts=2).encode())
    named = full.failure(Failure.of(Declined("no")).encode())

    assert isinstance(plain, StepFailed)
    assert ("authoring_charge", f"{__name__}.Declined", "no", 2) == (plain.step, plain.error_type, plain.message, plain.attempts)
    assert isinstance(named, Declined)
    assert ("no",) == named.args


def test_a_failure_with_fields_of_a_later_version_is_read() -> None:
    """And one with fewer."""
    error = authoring_charge.failure(b'{"mood":"bad"}')

    assert isinstance(error, StepFailed)
    assert ("Exception", "", 1) == (error.error_type, error.message, error.attempts)
