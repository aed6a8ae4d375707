"""now, random, uuid, info, patched: answered by what the interpreter knows."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid as uuids
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import RunInfo, Workflow, gather, info, now, patched, random, savepoint, spawn, uuid, workflow
from replay.errors import EffectError
from replay.interpreter.ambient import Chance
from replay.interpreter.issue import savepoint_payload
from replay.model.effects import Effect
from tests.interpreter.world import SECOND, START, World, double, fresh, unlisted

KNOWN = [
    ("run-1", 0, "", 0, 0.8371222554734403, "d64da4e6-031e-447f-868a-5ea5b77b63cb"),
    ("run-1", 0, "", 1, 0.7625966077114378, "c3398802-2942-4be9-af60-1e16c9fef546"),
    ("run-1", 0, "0/1/", 0, 0.726675631190218, "ba076a06-c31b-40c9-b7a1-25ef4b6c86aa"),
    ("run-1", 7, "", 0, 0.32018536181499024, "51f7aaf9-a73f-4c91-afb6-fd352e35942f"),
    ("é", 0, "", 0, 0.842875317591427, "d7c6ad43-a929-4602-96da-5f3153f4b352"),
]


# ---- chance ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "base", "path", "number", "expected", "identity"), KNOWN)
def test_chance_is_the_same_in_every_language(seed: str, base: int, path: str, number: int, expected: float, identity: str) -> None:
    """These values are written in stone."""
    one, other = Chance(seed), Chance(seed)
    for chance in (one, other):
        chance.rebase(base)
        for _ in range(number):
            chance.random(path)

    assert expected == one.random(path)
    assert uuids.UUID(identity) == other.uuid(path)


@given(seed=st.text(), base=st.integers(0, 2**40), path=st.sampled_from(["", "0/1/", "u3/", "9/0/1/2/"]))
def test_chance_is_a_counter_under_sha_256(seed: str, base: int, path: str) -> None:
    """As the docstring of ``ambient`` has it."""
    chance = Chance(seed)
    chance.rebase(base)
    for number in range(3):
        digest = hashlib.sha256("\n".join([seed, str(base), path, str(number)]).encode()).digest()
        assert (int.from_bytes(digest[:8], "big") >> 11) / 2**53 == chance.random(path)


@given(st.text(), st.integers(0, 50))
def test_random_lies_from_nought_up_to_one(seed: str, base: int) -> None:
    """One itself is never drawn."""
    chance = Chance(seed)
    chance.rebase(base)

    assert 0 <= chance.random("") < 1


def test_a_uuid_is_of_version_4() -> None:
    """With the variant of the RFC."""
    drawn = Chance("x").uuid("")

    assert (4, uuids.RFC_4122) == (drawn.version, drawn.variant)


@workflow
@unlisted
def drawing() -> Workflow[list[Any]]:
    return [(yield from random()), str((yield from uuid())), (yield from random())]


def test_draws_of_one_fiber_are_counted_together() -> None:
    """A number and a UUID are two draws."""
    chance = Chance("run")

    assert [chance.random(""), str(chance.uuid("")), chance.random("")] == World(drawing()).result


def test_chance_is_seeded_by_the_run() -> None:
    """Another run draws other numbers; a fork, which keeps the seed, draws the same."""
    assert World(drawing(), run="a").result != World(drawing(), run="b").result
    assert World(drawing(), run="a").result == World(drawing(), run="fork", seed="a").result


def test_without_a_seed_the_run_s_id_is_the_seed() -> None:
    """Whoever wrote the journal left it out."""
    assert World(drawing(), run="a").result == World(drawing(), run="a", seed="").result


def test_each_fiber_draws_its_own() -> None:
    """So that one branch's draws do not move another's."""

    def twice() -> Workflow[list[float]]:
        first = yield from random()
        yield from double(1)
        return [first, (yield from random())]

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(twice(), twice()))

    chance = Chance("run")
    expected = [[chance.random("0/0/"), chance.random("0/0/")], [chance.random("0/1/"), chance.random("0/1/")]]

    assert expected == World(both()).answer("0/0/0", 1).answer("0/1/0", 1).result
    assert expected == World(both()).answer("0/1/0", 1).answer("0/0/0", 1).result


# ---- time and self -----------------------------------------------------------------------------------------------------------


def test_now_is_the_moment_of_the_last_event() -> None:
    """To the microsecond, and aware."""

    @workflow
    def clock() -> Workflow[list[str]]:
        first = yield from now()
        again = yield from now()
        yield from double(1)
        later = yield from now()
        assert later.tzinfo is dt.UTC
        return [each.isoformat() for each in (first, again, later)]

    begin = "2026-01-01T00:00:00+00:00"
    assert [begin, begin, "2026-01-01T00:01:30.000001+00:00"] == World(clock()).later(90.000001).answer("0", 2).result


def test_info_tells_what_the_run_was_begun_with() -> None:
    """And how long its journal is."""
    seen: list[RunInfo] = []

    @workflow(version="3")
    def curious() -> Workflow[None]:
        seen.append((yield from info()))
        yield from double(1)
        seen.append((yield from info()))

    begun = {"namespace": "shop", "parent": "p", "attempt": 2, "chain": 1, "version": "3", "deadline": START + 60 * SECOND}
    World(curious(), run="r", **begun).answer("0", 2)

    assert (
        RunInfo(
            run_id="r",
            workflow="curious",
            version="3",
            namespace="shop",
            attempt=2,
            parent="p",
            journal_length=1,
            deadline=dt.datetime(2026, 1, 1, 0, 1, tzinfo=dt.UTC),
            chain=1,
        )
        == seen[0]
    )
    assert [1, 2] == [each.journal_length for each in seen]


def test_pure_effects_take_no_command_number_and_no_event() -> None:
    """They may be added and removed freely."""

    @workflow(patches=["p"])
    def pure() -> Workflow[None]:
        effects: list[Effect[Any]] = [now(), random(), uuid(), info(), patched("p")]
        for effect in effects:  # noqa: UP028 - a list takes no answers
            yield effect
        yield from double(1)

    assert ["0 step double(1)"] == World(pure()).pending


def test_pure_effects_may_be_branches() -> None:
    """Drawn by the branch's own fiber."""

    @workflow
    def parallel() -> Workflow[Any]:
        handle = yield from spawn(random())
        return list((yield from gather(random(), random()))), handle.id

    chance = Chance("run")
    assert [[chance.random("1/0/"), chance.random("1/1/")], "0/0"] == World(parallel()).result


# ---- patched -----------------------------------------------------------------------------------------------------------------


def declaring(*patches: str) -> Any:
    @workflow(name="patchy", patches=list(patches))
    def patchy(state: int | None = None) -> Workflow[list[bool]]:
        said = []
        for name in patches:
            said.append((yield from patched(name)))  # noqa: PERF401 - a comprehension cannot yield
        yield from savepoint("here", state=1)
        for name in patches:
            said.append((yield from patched(name)))  # noqa: PERF401 - a comprehension cannot yield
        return said

    return patchy


def test_a_run_begun_by_code_that_knows_the_patch_has_it() -> None:
    """Its set is recorded in the first event."""
    world = World(declaring("a", "b")(), patches=("a", "b"))

    assert [True] * 4 == world.answer("0").result


def test_a_run_begun_by_code_that_knew_no_patch_has_none() -> None:
    """It keeps its old path, although today's code knows the patch."""
    world = World(declaring("a")(), patches=())
    machine = fresh(declaring("a"))
    machine.feed(world.journal[0])

    assert frozenset() == machine.patches


def test_a_run_begun_by_somebody_without_the_code_has_what_its_worker_knows() -> None:
    """A client that only asks cannot know."""
    assert frozenset({"a"}) == World(declaring("a")()).machine.patches


def test_an_old_run_takes_the_new_path_at_its_next_savepoint_with_state() -> None:
    """Which records what the code knows that wrote it."""
    assert [False, True] == World(declaring("a")(), patches=()).answer("0").result


def test_a_savepoint_of_old_code_keeps_the_old_path() -> None:
    """Replay takes the patches from the event, not from today's code."""
    old = World(declaring()(), patches=())
    command = old.command("0")
    effect: Any = command.effect
    payload = savepoint_payload(old.machine, command.fiber, effect)

    world = World(declaring("a")(), patches=()).feed("savepoint", "0", "here", payload)

    assert [False, False] == world.result


def test_a_patch_that_is_not_declared_is_refused() -> None:
    """Else nobody would ever record it."""

    @workflow
    def forgetful() -> Workflow[bool]:
        return (yield from patched("a"))

    assert "patched('a') is not declared by workflow forgetful; write @workflow(patches=['a'])" == World(forgetful()).failure.message


def test_ambient_effects_say_their_name() -> None:
    """In reports."""
    shown: list[Effect[Any]] = [now(), random(), uuid(), info(), patched("p")]

    assert ["now", "random", "uuid", "info", "p"] == [effect.name for effect in shown]


def test_misspelt_effects_are_refused() -> None:
    """Patched wants a declared name even when it is empty."""

    @workflow
    def empty() -> Workflow[bool]:
        return (yield from patched(""))

    assert isinstance(World(empty()).error, EffectError)
