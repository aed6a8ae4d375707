"""``@step`` and ``@workflow``: plain functions become builders of effects.

Rule 1: calling one builds a value and runs nothing; the plain function stays at hand as ``.fn``.
Rule 2: arguments are bound, checked against their annotations and encoded at the call, so that the error stands where the mistake
is, and a step never shares a mutable value with the workflow.
Rule 3: a name is an identity. Two workflows of one name and version are an error at once; two steps of one name are one as soon as
somebody must find the step by its name, on another queue. Functions defined inside functions are not offered by name, for another
process could not import them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar, get_args, get_origin, overload

from replay.errors import ChildFailed, DefinitionError, EffectError, StepFailed, StepInterrupted, TimedOut, describe
from replay.model import events
from replay.model.codec import ArgumentsCodec, PayloadCodec, hints_of, payload_codec
from replay.model.effects import NO_DEFAULT, Answer, Call, Effect, Step
from replay.model.failure import Failure, qualified
from replay.model.names import QueueName
from replay.model.options import OnCancel, RunOptions, StepOptions, require_retry
from replay.model.retry import ONCE, Retry

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound=Callable[..., Any])

Workflow = Generator[Effect[Any], Any, R]
"""What a workflow function returns: a generator of effects whose result is ``R``."""
CONNECTION: Final = "connection"
"""Name of the parameter by which a transactional step receives its connection."""
STATE: Final = "state"
"""Name of the parameter by which a workflow is begun again at a savepoint."""


class StepFunction(Generic[P, R]):
    """A step: calling it builds an effect.

    Attributes:
        fn: The plain function.
        name: Its identity in journals.
        is_async: Whether it is a coroutine function.
        defaults: How it is done unless a call says otherwise.
    """

    def __init__(self, fn: Callable[..., Any], name: str, options: StepOptions) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.is_async = inspect.iscoroutinefunction(fn)
        self.defaults = options
        self._localns = _locals_of(fn)
        self._encode = self.arguments.encode
        self.answers: dict[str, Answer] = {
            events.STEP_COMPLETED: (False, self._decode_first),
            events.STEP_FAILED: (True, self.failure),
        }

    def _decode_first(self, payload: bytes) -> Any:
        """Resolve the result's annotation, which may name what was defined later, and put its decoder in this one's place."""
        read = self.result.reader(f"result of step {self.name}")
        self.answers[events.STEP_COMPLETED] = (False, read)
        return read(payload)

    @functools.cached_property
    def arguments(self) -> ArgumentsCodec:
        """How its arguments are spelt."""
        skip = (CONNECTION,) if self.defaults.transactional else ()
        return ArgumentsCodec.of(self.fn, skip, self._localns)

    @functools.cached_property
    def result(self) -> PayloadCodec[Any]:
        """How its result is spelt."""
        return payload_codec(hints_of(self.fn, ("return",), self._localns).get("return", Any))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Step[R]:
        """The effect of calling it with these arguments.

        Raises:
            PayloadError: An argument cannot be encoded or does not fit its annotation.
            TypeError: The arguments do not fit the signature.
        """
        return Step(self, self._encode(args, kwargs), self.defaults)

    def decode(self, payload: bytes) -> Any:
        """The result from its bytes."""
        return self.answers[events.STEP_COMPLETED][1](payload)

    def invoke(self, payload: bytes, **extra: Any) -> Any:
        """Call the plain function with decoded arguments."""
        args, kwargs = self.arguments.decode(payload)
        if extra:  # by name, for what is handed in may stand anywhere among the parameters
            given = {**self.arguments.signature.bind(*args, **kwargs).arguments, **extra}
            whole = inspect.signature(self.fn)
            bound = inspect.BoundArguments(whole, {name: given[name] for name in whole.parameters if name in given})
            args, kwargs = bound.args, bound.kwargs
        return self.fn(*args, **kwargs)

    def encode_result(self, value: Any) -> bytes:
        """The result's bytes.

        Raises:
            PayloadError: It cannot be encoded or does not fit the annotation.
        """
        return self.result.encode(value, f"result of step {self.name}")

    def failure(self, payload: bytes) -> Exception:
        """The exception that the workflow sees: as itself when ``raises`` names its class, else ``StepFailed``."""
        failure = Failure.decode(payload)
        if failure.type == qualified(StepInterrupted):
            return StepInterrupted(self.name)
        known = failure.revive((*self.defaults.raises, TimedOut))
        if known is not None:
            return known
        failed = StepFailed(self.name, failure.type, failure.message, failure.attempts, failure.traceback)
        if failure.traceback:  # shown with the workflow's own, wherever that is printed
            failed.add_note(f"In step {self.name}:\n{failure.traceback}")
        return failed

    if not TYPE_CHECKING:  # or a type checker would take `yield from charge` for right

        def __iter__(self):  # noqa: ANN204 - never returns
            raise EffectError(f"`yield from {self.name}` without a call", f"write `yield from {self.name}(…)`")

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class WorkflowFunction(Generic[P, R]):
    """A workflow: calling it builds something to start, or, yielded in another workflow, a child run.

    Attributes:
        fn: The plain generator function.
        name: Its identity in journals and stores.
        version: Which of several registered versions it is; empty when there is one.
        patches: Patches that its code knows.
        defaults: How its runs are started unless a call says otherwise.
        signals: Declared types of messages, by name; a message of another type is refused where it is sent.
        queries: Functions over its live variables, by name.
    """

    def __init__(
        self,
        fn: Callable[..., Generator[Any, Any, Any]],
        *,
        name: str,
        version: str,
        patches: frozenset[str],
        defaults: RunOptions,
        signals: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.version = version
        self.patches = patches
        self.defaults = defaults
        self.signals: Mapping[str, PayloadCodec[Any]] = {key: payload_codec(kind) for key, kind in signals.items()}
        self.queries: dict[str, Callable[..., Any]] = {}
        self._localns = _locals_of(fn)
        self.answers: Mapping[str, Answer] = {
            events.CHILD_COMPLETED: (False, self.decode),
            events.CHILD_FAILED: (True, self.child_failure),
        }
        self.takes_state = STATE in inspect.signature(fn).parameters

    @functools.cached_property
    def arguments(self) -> ArgumentsCodec:
        """How its input is spelt."""
        return ArgumentsCodec.of(self.fn, (STATE,) if self.takes_state else (), self._localns)

    @functools.cached_property
    def result(self) -> PayloadCodec[Any]:
        """How its result is spelt."""
        returns: Any = hints_of(self.fn, ("return",), self._localns).get("return", Any)
        parts = get_args(returns)
        return payload_codec(parts[2] if get_origin(returns) is Generator and len(parts) == 3 else Any)

    @functools.cached_property
    def state(self) -> PayloadCodec[Any]:
        """How the state of its savepoints is spelt."""
        return payload_codec(hints_of(self.fn, (STATE,), self._localns).get(STATE, Any))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """A call, checked and encoded; nothing runs.

        Raises:
            PayloadError: An argument cannot be encoded or does not fit its annotation.
            TypeError: The arguments do not fit the signature.
        """
        return Call(self, self.arguments.encode(args, kwargs), self.defaults)

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call[Any]:
        """A call with these arguments, or the one call that they are."""
        if len(args) == 1 and isinstance(args[0], Call) and not kwargs:
            return args[0]
        return Call(self, self.arguments.encode(args, dict(kwargs)), self.defaults)

    def query(self, fn: W) -> W:
        """Register a pure function over the workflow's live variables: its parameters are bound to them by name.

        A parameter that the workflow has no variable for is taken from the caller's arguments.
        """
        self.queries[fn.__name__] = fn
        return fn

    def begin(self, payload: bytes, state: Any = NO_DEFAULT) -> Generator[Effect[Any], Any, Any]:
        """A fresh generator over the decoded input.

        Raises:
            PayloadError: The recorded input does not fit today's signature.
            DefinitionError: It returned no generator.
        """
        args, kwargs = self.arguments.decode(payload)
        if state is not NO_DEFAULT:
            kwargs = {**kwargs, STATE: state}
        generator = self.fn(*args, **kwargs)
        if not isinstance(generator, Generator):
            raise DefinitionError(
                f"workflow {self.name}", f"it returned {describe(generator)}, no generator", "yield effects in its body"
            )
        return generator

    def decode(self, payload: bytes) -> Any:
        """The result from its bytes."""
        return self.result.decode(payload, f"result of workflow {self.name}")

    def encode_result(self, value: Any) -> bytes:
        """The result's bytes."""
        return self.result.encode(value, f"result of workflow {self.name}")

    def encode_state(self, value: Any) -> bytes:
        """The bytes of a savepoint's state.

        Raises:
            DefinitionError: The workflow has no ``state`` parameter to be begun again with.
            PayloadError: The value does not fit the parameter's annotation.
        """
        if not self.takes_state:
            raise DefinitionError(
                f"workflow {self.name}",
                "a savepoint has state=, but the workflow cannot be begun again with it",
                "add a parameter `state: YourState | None = None`",
            )
        return self.state.encode(value, f"state of a savepoint in workflow {self.name}")

    def decode_state(self, payload: bytes) -> Any:
        """A savepoint's state from its bytes."""
        return self.state.decode(payload, f"state of a savepoint in workflow {self.name}")

    def child_failure(self, payload: bytes) -> Exception:
        """The exception that a parent sees."""
        failure = Failure.decode(payload)
        run, status = failure.args[:2] if failure.args and len(failure.args) > 1 else ("", "failed")
        return ChildFailed(run, self.name, failure.type, failure.message, status)

    if not TYPE_CHECKING:

        def __iter__(self):  # noqa: ANN204 - never returns
            raise EffectError(f"`yield from {self.name}` without a call", f"write `yield from {self.name}(…)`")

    def __repr__(self) -> str:
        return f"<workflow {self.name}{' ' + self.version if self.version else ''}>"


class StepDecorator(Protocol):
    """What ``@step(…)`` returns."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> StepFunction[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> StepFunction[P, R]: ...


class WorkflowDecorator(Protocol):
    """What ``@workflow(…)`` returns."""

    def __call__(self, fn: Callable[P, Generator[Effect[Any], Any, R]], /) -> WorkflowFunction[P, R]:
        """Make the function a workflow."""


STEPS: Final[dict[str, StepFunction[..., Any]]] = {}
"""Every decorated step that has been imported, by name."""
RIVALS: Final[dict[str, tuple[str, str]]] = {}
"""Names of steps that two functions bear; such a step cannot be done by name, that is, on another queue."""
WORKFLOWS: Final[dict[tuple[str, str], WorkflowFunction[..., Any]]] = {}
"""Every decorated workflow that has been imported, by name and version."""


@overload
def step(fn: Callable[P, Awaitable[R]], /) -> StepFunction[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> StepFunction[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    heartbeat: float | None = None,
    queue: str | None = None,
    key: str | None = None,
    at_most_once: bool = False,
    transactional: bool = False,
    compare_arguments: bool = True,
    on_cancel: OnCancel = "abandon",
    raises: Iterable[type[Exception]] = (),
) -> StepDecorator: ...
def step(fn: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a plain or async function a step: something done outside, whose result is journaled.

    Args:
        fn: The function; arguments and result are checked against its annotations.
        **settings: ``name`` (default: the function's), ``retry`` (default: once), ``timeout`` in seconds per attempt,
            ``heartbeat`` in seconds that an attempt may be silent, ``queue`` (whose workers do it), ``key`` (whose share of that
            queue it takes), ``at_most_once``, ``transactional``, ``compare_arguments``, ``on_cancel``, ``raises``; see
            ``StepOptions``.

    Raises:
        DefinitionError: The function cannot be a step, or another step has its name.
    """
    if fn is None:
        return functools.partial(_make_step, **settings)
    return _make_step(fn)


def _make_step(fn: Callable[..., Any], **settings: Any) -> StepFunction[..., Any]:
    _require_function(fn, "step")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(f"step {_label(fn)}", "it is a generator function", "return a value, or make it a @workflow")
    name = settings.pop("name", None) or fn.__name__
    raises = settings.pop("raises", ())
    raises = tuple(raises) if isinstance(raises, Iterable) else (raises, None)  # None makes the check below refuse it
    retry = settings.pop("retry", None) or ONCE
    options = StepOptions(retry=retry, raises=raises, **settings).checked(f"step {name}")
    if options.transactional and CONNECTION not in inspect.signature(fn).parameters:
        problem = f"it is transactional and has no parameter {CONNECTION!r}"
        raise DefinitionError(f"step {name}", problem, f"add `{CONNECTION}: Any`; the engine hands it in")
    if options.transactional and inspect.iscoroutinefunction(fn):
        problem, advice = "it is transactional and async", "write `def`: the engine calls it inside the transaction"
        raise DefinitionError(f"step {name}", problem, advice)
    made: StepFunction[..., Any] = StepFunction(fn, name, options)
    _register_step(name, made)
    return made


@overload
def workflow(fn: Callable[P, Generator[Effect[Any], Any, R]], /) -> WorkflowFunction[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str = "",
    patches: Iterable[str] = (),
    queue: str | None = None,
    key: str | None = None,
    retry: Retry | None = None,
    signals: Mapping[str, Any] | None = None,
) -> WorkflowDecorator: ...
def workflow(fn: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a generator function a workflow.

    Args:
        fn: The generator function; arguments and result are checked against its annotations.
        **settings: ``name`` (default: the function's), ``version``, ``patches`` that its code knows, ``queue``, ``key`` (whose
            share of that queue its runs take), ``retry`` of the whole run, ``signals``: declared types of messages by name.

    Raises:
        DefinitionError: The function is no generator function, or another workflow has its name and version.
    """
    if fn is None:
        return functools.partial(_make_workflow, **settings)
    return _make_workflow(fn)


def _make_workflow(fn: Callable[..., Any], **settings: Any) -> WorkflowFunction[..., Any]:
    _require_function(fn, "workflow")
    if not inspect.isgeneratorfunction(fn):
        problem = "it is an async function" if inspect.iscoroutinefunction(fn) else "it is no generator function"
        advice = "write `def` and `yield from` its effects; one without any can be a @step"
        raise DefinitionError(f"workflow {_label(fn)}", problem, advice)
    name, version, queue = settings.get("name") or fn.__name__, settings.get("version", ""), settings.get("queue")
    _require_workflow_settings(f"workflow {name}", settings)
    made: WorkflowFunction[..., Any] = WorkflowFunction(
        fn,
        name=name,
        version=version,
        patches=frozenset(settings.get("patches", ())),
        defaults=RunOptions(queue=QueueName(queue) if queue else None, key=settings.get("key"), retry=settings.get("retry")).checked(
            f"workflow {name}"
        ),
        signals=settings.get("signals") or {},
    )
    _register(WORKFLOWS, (name, version), made, f"workflow {name} {version}".rstrip())
    return made


def _require_workflow_settings(owner: str, settings: Mapping[str, Any]) -> None:
    unknown = settings.keys() - {"name", "version", "patches", "queue", "key", "retry", "signals"}
    if unknown:
        raise TypeError(f"{owner}: @workflow takes no {', '.join(sorted(unknown))}")
    require_retry(owner, settings.get("retry"))
    version, patches = settings.get("version", ""), settings.get("patches", ())
    if not isinstance(version, str):
        raise DefinitionError(owner, f"version must be a text, got {describe(version)}", 'write version="2"')
    if isinstance(patches, str) or not all(isinstance(patch, str) for patch in patches):
        raise DefinitionError(owner, f"patches must be several names, got {describe(patches)}", 'write patches=["fraud-check"]')


def _register_step(name: str, made: StepFunction[..., Any]) -> None:
    """Two steps may share a name as long as nobody has to find one by it: none of them goes to another queue."""
    other = STEPS.get(name)
    if other is not None and _label(other.fn) != _label(made.fn) and not (other.defaults.queue or made.defaults.queue):
        if "<locals>" not in made.fn.__qualname__:
            RIVALS[name] = (_label(other.fn), _label(made.fn))
        return
    _register(STEPS, name, made, f"step {name}")


def _register(registry: dict[Any, Any], key: Any, made: Any, label: str) -> None:
    if "<locals>" in made.fn.__qualname__:
        return
    other = registry.get(key)
    if other is not None and _label(other.fn) != _label(made.fn):
        problem = f"the name is taken by {_label(other.fn)}, this one is {_label(made.fn)}"
        raise DefinitionError(label, problem, "give one of them name=…")
    registry[key] = made


def _require_function(fn: Any, kind: str) -> None:
    if not inspect.isfunction(fn):
        advice = f"decorate a plain function: `@{kind}` above `def`, or `@{kind}(…)` with keyword settings"
        raise DefinitionError(f"@{kind}", f"it was given {describe(fn)}", advice)


def _label(fn: Any) -> str:
    return f"{fn.__module__}.{fn.__qualname__}"


def _locals_of(fn: Any) -> dict[str, Any] | None:
    """Names that the annotations of a function may use which is defined inside another one."""
    if "<locals>" not in fn.__qualname__:
        return None
    frame = sys._getframe(1)  # noqa: SLF001 - typing resolves no local names by itself
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return dict(frame.f_locals)
