"""What each effect does when it is yielded: one row per effect, each a straight line.

A row answers at once with a value, or says ``WAIT`` after it has put the fiber where its answer will find it. What it raises is
raised at the yield.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

from replay.authoring.effects import Callback
from replay.errors import EffectError, describe
from replay.interpreter.budgets import BudgetScope, issue_child, issue_metered
from replay.interpreter.fibers import (
    WAIT,
    Fiber,
    GatherScope,
    RaceScope,
    Scope,
    ShieldScope,
    TimeoutScope,
    close_generator,
    require_branch,
)
from replay.model import events
from replay.model.about import RunInfo, moment
from replay.model.budgets import NOTHING
from replay.model.codec import from_json, to_json
from replay.model.effects import (
    NO_DEFAULT,
    Ambient,
    Budget,
    Call,
    CancelFiber,
    ChildHandle,
    ContinueAsNew,
    Effect,
    Gather,
    Join,
    Metered,
    OnUpdate,
    Output,
    Patched,
    Race,
    Savepoint,
    Shield,
    Signal,
    Sleep,
    Spawn,
    Spawned,
    StartChild,
    Step,
    Timeout,
)
from replay.model.journal import Resume

if TYPE_CHECKING:
    from replay.interpreter.interpreter import Interpreter

Row = Callable[["Interpreter", Fiber, Any], Any]


def _sleep(run: Interpreter, fiber: Fiber, effect: Sleep) -> object:
    due = effect.until if effect.span is None else run.clock + effect.span
    return run.issue(fiber, effect, due)


def _signal(run: Interpreter, fiber: Fiber, effect: Signal[Any]) -> Any:
    letters = run.mail.get(effect.name)
    if letters:
        fiber.next_command()
        payload = letters.popleft()
        if not letters:
            del run.mail[effect.name]
        value, error = effect.read(payload)
        if error is not None:
            raise error
        return value
    due = None if effect.span is None else run.clock + effect.span
    run.issue(fiber, effect, due)
    run.listeners.setdefault(effect.name, deque()).append(fiber.waits)  # type: ignore[arg-type]  # a command, just issued
    return WAIT


def _savepoint(run: Interpreter, fiber: Fiber, effect: Savepoint) -> object:
    if effect.state is not NO_DEFAULT:
        busy = fiber is not run.root or run.pending or run.beside
        if busy:
            got = f"savepoint {effect.name!r} with state while something else is in flight"
            advice = "take it in the root fiber, with nothing pending and no spawned fiber alive; or leave state= out"
            raise EffectError(got, advice)
        run.spec.encode_state(effect.state)
    return run.issue(fiber, effect)


def savepoint_payload(run: Interpreter, fiber: Fiber, effect: Savepoint) -> bytes:
    """What the event of a pending savepoint holds: its notes, and with state all that recovery needs."""
    if effect.state is NO_DEFAULT:
        return b'{"notes":' + effect.notes + b"}"
    return Resume(
        state=run.spec.encode_state(effect.state),
        next=fiber.commands,
        outs=fiber.outs,
        updates=run.updated,
        patches=tuple(sorted(run.spec.patches)),
        mail=run.unread(),
        notes=from_json(effect.notes),
        spent=NOTHING if run.account is None else run.account.spent,
    ).encode()


def _scope(make: Callable[[Interpreter, Fiber, str, Any], Scope]) -> Row:
    def row(run: Interpreter, fiber: Fiber, effect: Any) -> Any:
        branches = [effect.branch] if hasattr(effect, "branch") else effect.branches
        for branch in branches:
            require_branch(branch, effect.name)
        path = fiber.next_command()
        if not branches:
            if isinstance(effect, Race):
                raise EffectError("race was given no branch", "give it at least one")
            return ()
        fiber.waits = make(run, fiber, path, effect)
        return WAIT

    return row


def _spawn(run: Interpreter, fiber: Fiber, effect: Spawn[Any]) -> Spawned[Any]:
    require_branch(effect.branch, "spawn")
    path = f"{fiber.next_command()}/0/"
    spawned = Fiber(path, effect.branch)
    spawned.account = fiber.account
    run.weave(spawned)
    run.run_beside(spawned)
    return Spawned(path[:-1], spawned)


def _start_child(run: Interpreter, fiber: Fiber, effect: StartChild[Any]) -> ChildHandle[Any]:
    """A fiber of one command, begun at once, so that the child is asked for even when its parent ends in the same breath."""
    path = f"{fiber.next_command()}/0/"
    spawned = Fiber(path, effect.call)
    spawned.account = fiber.account
    next(spawned.begin())
    issue_child(run, spawned, effect.call)
    command = spawned.path + "0"
    run.run_beside(spawned)
    return ChildHandle(path[:-1], spawned, child_id(run, command, effect.call))


def position(run: Interpreter, command: str, mark: str) -> str:
    """A name for what a command brings about, the same in every replay and in no other journal of this run: ``run.3/0/1``."""
    chain = run.started.chain
    return f"{run.run}~{chain}{mark}{command}" if chain else f"{run.run}{mark}{command}"


def child_id(run: Interpreter, command: str, call: Effect[Any]) -> str:
    """A child's id: the one it was given, or its parent's and its command's; position is identity."""
    given = call.options_.id if isinstance(call, Call | Step) else ""
    return given or position(run, command, ".")


def _join(_run: Interpreter, fiber: Fiber, effect: Join[Any]) -> Any:
    target = _fiber_of(effect.handle, "join")
    if target is fiber:
        raise EffectError("a fiber joins itself", "it would wait for ever")
    if target.done:
        if target.error is not None:
            raise target.error
        return target.value
    if _waits_for(target, fiber):
        got = "fibers join each other in a ring"
        raise EffectError(got, "none of them could ever end; let one of them go on without the others")
    target.joiners.append(fiber)
    fiber.waits = target
    return WAIT


def _waits_for(target: Fiber, fiber: Fiber) -> bool:
    """Whether a fiber cannot end before another one has: it joins it, gathers it, or waits so for one that does."""
    met: set[Fiber] = set()
    waiting = [target]
    while waiting:
        here = waiting.pop()
        if here is fiber:
            return True
        if here in met:
            continue
        met.add(here)
        if isinstance(here.waits, Fiber):
            waiting.append(here.waits)
        elif isinstance(here.waits, GatherScope | ShieldScope):  # they end with the last of their branches; a race frees the others
            waiting += [branch for branch in here.waits.fibers if not branch.done]
    return False


def _cancel(run: Interpreter, _fiber: Fiber, effect: CancelFiber) -> None:
    run.cancel_fiber(_fiber_of(effect.handle, "cancel"), effect.reason)


def _fiber_of(handle: Any, what: str) -> Fiber:
    if not isinstance(handle, Spawned) or not isinstance(handle.fiber, Fiber):
        raise EffectError(f"{what} was given {describe(handle)}", "give it what `yield from spawn(…)` answered")
    return handle.fiber


def _ambient(run: Interpreter, fiber: Fiber, effect: Ambient[Any]) -> Any:
    return _AMBIENT[effect.name](run, fiber)


def _info(run: Interpreter, _fiber: Fiber) -> RunInfo:
    started = run.started
    return RunInfo(
        run_id=run.run,
        workflow=started.workflow,
        version=started.version,
        namespace=started.namespace,
        attempt=started.attempt,
        parent=started.parent,
        journal_length=run.seq,
        deadline=None if started.deadline is None else moment(started.deadline),
        chain=started.chain,
    )


_AMBIENT: Final[Mapping[str, Callable[[Interpreter, Fiber], Any]]] = {
    "now": lambda run, _fiber: moment(run.clock),
    "random": lambda run, fiber: run.chance.random(fiber.path),
    "uuid": lambda run, fiber: run.chance.uuid(fiber.path),
    "info": _info,
    "shelf": lambda run, _fiber: run.shelf,
}


def _patched(run: Interpreter, _fiber: Fiber, effect: Patched) -> bool:
    if effect.name not in run.spec.patches:
        got = f"patched({effect.name!r}) is not declared by workflow {run.spec.name}"
        raise EffectError(got, f"write @workflow(patches=[{effect.name!r}])")
    return effect.name in run.patches


def _on_update(run: Interpreter, _fiber: Fiber, effect: OnUpdate) -> None:
    run.updates[effect.name] = effect


def _output(run: Interpreter, fiber: Fiber, effect: Output) -> None:
    run.outputs.append((f"{fiber.path}o{fiber.outs}", effect))
    fiber.outs += 1


def _continue(run: Interpreter, fiber: Fiber, effect: ContinueAsNew) -> object:
    from replay.interpreter.interpreter import Outcome

    if fiber is not run.root:
        raise EffectError("continue_as_new in a branch", "yield it in the workflow's own body, after its branches ended")
    if fiber.cancel is not None and not fiber.delivered:
        return WAIT
    call = run.spec.call(effect.args, effect.kwargs)
    payload = b'{"input":' + call.payload + b',"workflow":' + to_json(call.name) + b"}"
    fiber.done = True
    if fiber.gen is not None:
        close_generator(fiber.gen)
    run.close_run(Outcome(events.CONTINUED, payload, call))
    return WAIT


def _no_effect(_run: Interpreter, _fiber: Fiber, got: Any) -> Any:
    if isinstance(got, Coroutine):
        got.close()  # or Python would warn that it was never awaited, which the error says better
    otherwise = "yield what a @step, a @workflow or a function of replay returns"
    advice = next((advice for kind, advice in _ADVICE if isinstance(got, kind)), otherwise)
    raise EffectError(f"a workflow yielded {describe(got)}, which is no effect", advice)


_ADVICE: Final[tuple[tuple[Any, str], ...]] = (
    (Coroutine, "make the coroutine function a @step and yield its call"),
    (Generator, "write `yield from helper(…)` for a generator of effects"),
    (list | tuple, "write `yield from gather(a, b, …)` for several effects"),
    (type(None), "a bare `yield` waits for nothing; leave it out, or yield `sleep(0)`"),
    (Spawned, "write `yield from join(handle)`"),
    (Callable, "call it: a @step or @workflow is called to make an effect"),
    (Callback, "write `yield from` in front of what callback() answered"),
)

ROWS: Final[dict[type[Any], Row]] = {
    Sleep: _sleep,
    Signal: _signal,
    Savepoint: _savepoint,
    Gather: _scope(GatherScope),
    Race: _scope(RaceScope),
    Timeout: _scope(TimeoutScope),
    Budget: _scope(BudgetScope),
    Shield: _scope(lambda run, fiber, path, effect: ShieldScope(run, fiber, path, effect.branch)),
    Spawn: _spawn,
    StartChild: _start_child,
    Join: _join,
    CancelFiber: _cancel,
    Ambient: _ambient,
    Patched: _patched,
    OnUpdate: _on_update,
    ContinueAsNew: _continue,
    Output: _output,
    Call: issue_child,
    Metered: issue_metered,
}
"""What each effect does, by its class; the interpreter adds its own ``issue`` for steps."""


def handler_for(kind: type[Any]) -> Row:
    """The row of an effect's class or of the nearest class above it."""
    row = ROWS.get(kind)
    if row is None:
        row = next((ROWS[base] for base in kind.__mro__ if base in ROWS), _no_effect)
        if row is not _no_effect:
            ROWS[kind] = row
    return row
