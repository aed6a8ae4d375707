"""Random workflows in random worlds: what holds for all of them.

A workflow is a tree of effects, a world is a list of choices: which command is answered next, and how. Whatever they are, the
interpreter stands at the same place when it is fed the same events again, in whatever portions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replay import (
    Cancelled,
    Workflow,
    gather,
    join,
    now,
    on_update,
    publish,
    race,
    random,
    savepoint,
    shield,
    signal,
    sleep,
    spawn,
    start_child,
    timeout,
    workflow,
)
from replay.model.effects import Call, Sleep, Step
from tests.interpreter.world import World, careful, close_all, double, drain, fresh, standing, unlisted

Tree = tuple[Any, ...]


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


# ---- trees -------------------------------------------------------------------------------------------------------------------


def leaves() -> st.SearchStrategy[Tree]:
    number = st.integers(0, 9)
    return st.one_of(
        st.tuples(st.sampled_from(["step", "careful", "sleep", "child", "say"]), number),
        st.tuples(st.sampled_from(["signal", "signal in time"]), st.sampled_from(["a", "b"])),
        st.tuples(st.sampled_from(["random", "now", "savepoint"])),
    )


def branching(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["in turn", "race"]), several),
        st.tuples(st.just("gather"), several, st.sampled_from([{}, {"limit": 1}, {"return_errors": True}, {"min_successful": 1}])),
        st.tuples(st.sampled_from(["timeout", "shield", "caught", "caught and stopped"]), inner),
        st.tuples(st.sampled_from(["tidied", "spawned", "spawned and joined"]), inner, inner),
        st.tuples(st.just("started"), st.integers(0, 9), st.sampled_from(["cancel", "abandon", "wait"]), inner),
    )


trees = st.recursive(leaves(), branching, max_leaves=8)


class Author:
    """Turns a tree into a workflow, and notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.living: Counter[int] = Counter()
        self.combinators = 0

    def grow(self, tree: Tree) -> Workflow[Any]:
        """The generator of a tree."""
        kind = tree[0].replace(" ", "_")
        try:
            value = yield from getattr(self, f"do_{kind}")(*tree[1:])
        except (Exception, Cancelled) as error:
            self.seen.append(f"{kind} raised {type(error).__name__}")
            raise
        self.seen.append(f"{kind} got {value!r}")
        return value

    def branch(self, owner: int, tree: Tree) -> Workflow[Any]:
        """A branch that is counted while it lives."""
        self.living[owner] += 1
        try:
            return (yield from self.grow(tree))
        finally:
            self.living[owner] -= 1

    def combined(self, make: Any, *branches: Tree, **settings: Any) -> Workflow[Any]:
        """No branch outlives its combinator."""
        self.combinators += 1
        owner = self.combinators
        try:
            return (yield from make(*[self.branch(owner, tree) for tree in branches], **settings))
        finally:
            self.seen.append(f"{self.living[owner]} alive")

    def do_step(self, n: int) -> Workflow[Any]:
        return (yield from double(n))

    def do_careful(self, n: int) -> Workflow[Any]:
        return (yield from careful(n))

    def do_sleep(self, n: int) -> Workflow[Any]:
        return (yield from sleep(n))

    def do_child(self, n: int) -> Workflow[Any]:
        return (yield from child(n))

    def do_say(self, n: int) -> Workflow[Any]:
        return (yield from publish("news", n))

    def do_signal(self, name: str) -> Workflow[Any]:
        return (yield from signal(name))

    def do_signal_in_time(self, name: str) -> Workflow[Any]:
        return (yield from signal(name, timeout=5, default="late"))

    def do_random(self) -> Workflow[Any]:
        return (yield from random())

    def do_now(self) -> Workflow[Any]:
        return (yield from now()).isoformat()

    def do_savepoint(self) -> Workflow[Any]:
        return (yield from savepoint("here"))

    def do_in_turn(self, trees: Sequence[Tree]) -> Workflow[Any]:
        got = []
        for tree in trees:
            got.append((yield from self.grow(tree)))  # noqa: PERF401 - a comprehension cannot yield
        return got

    def do_gather(self, trees: Sequence[Tree], settings: dict[str, Any]) -> Workflow[Any]:
        got = yield from self.combined(gather, *trees, **settings)
        return [str(each) if isinstance(each, BaseException) else each for each in got]

    def do_race(self, trees: Sequence[Tree]) -> Workflow[Any]:
        return (yield from self.combined(race, *trees))

    def do_timeout(self, tree: Tree) -> Workflow[Any]:
        return (yield from self.combined(lambda branch: timeout(branch, 7), tree))

    def do_shield(self, tree: Tree) -> Workflow[Any]:
        return (yield from self.combined(shield, tree))

    def do_caught(self, tree: Tree) -> Workflow[Any]:
        try:
            return (yield from self.grow(tree))
        except Exception as error:  # noqa: BLE001 - whatever the tree raises
            return type(error).__name__

    def do_caught_and_stopped(self, tree: Tree) -> Workflow[Any]:
        try:
            return (yield from self.grow(tree))
        except Cancelled as cancelled:
            return cancelled.reason

    def do_tidied(self, tree: Tree, clean_up: Tree) -> Workflow[Any]:
        try:
            return (yield from self.grow(tree))
        finally:
            yield from self.grow(clean_up)

    def do_spawned(self, tree: Tree, beside: Tree) -> Workflow[Any]:
        yield from spawn(self.grow(beside))
        return (yield from self.grow(tree))

    def do_spawned_and_joined(self, tree: Tree, beside: Tree) -> Workflow[Any]:
        handle = yield from spawn(self.grow(beside))
        here = yield from self.grow(tree)
        return here, (yield from join(handle))

    def do_started(self, n: int, policy: Any, tree: Tree) -> Workflow[Any]:
        handle = yield from start_child(child(n), on_parent_close=policy)
        here = yield from self.grow(tree)
        return here, handle.run_id


class Story:
    """A tree, driven through a world."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.author = Author()
        self.authors: list[Author] = []

        @workflow
        def grown() -> Workflow[Any]:
            author = Author()
            self.authors.append(author)
            yield from on_update("peek", lambda value: [value, len(author.seen)])
            return (yield from author.grow(tree))

        self.world = World(grown(), run="story")
        self.stands = [standing(self.world.machine)]
        self.said = [drain(self.world.machine)]
        self.fate: Counter[tuple[str, str]] = Counter()
        self.note("", ())

    def note(self, answered: str, before: Sequence[str]) -> None:
        """What became of each command."""
        machine = self.world.machine
        self.fate.update((command.id, "issued") for command in machine.issued)
        self.fate.update((command.id, "withdrawn") for command in machine.withdrawn)
        self.fate.update((command.id, "abandoned") for command in [*machine.issued] if command.abandoned)
        if answered:
            self.fate[answered, "answered"] += 1

    def move(self, choice: int) -> None:
        """The world does one thing."""
        world = self.world
        ids = world.ids
        kind, place = choice % 13, choice // 13
        answered = ids[place % len(ids)] if ids else ""
        if kind == 0:
            answered = ""
            world.signal("ab"[place % 2], place)
        elif kind == 1:
            answered = ""
            world.cancel()
        elif kind == 2:
            answered = ""
            world.update("peek", place)
        elif not ids:
            world.later(1)
            return
        else:
            self.answer(answered, kind)
        self.stands.append(standing(world.machine))
        self.said.append(drain(world.machine))
        self.note(answered, ids)

    def answer(self, command: str, kind: int) -> None:
        world = self.world
        pending = world.command(command)
        effect = pending.effect
        if isinstance(effect, Step) and kind == 3:
            world.attempt(command)
            self.fate[command, "answered"] -= 1
        elif isinstance(effect, Step | Call) and kind < 6:
            world.fail(command, message=str(kind))
        elif isinstance(effect, Sleep) or pending.due is not None:
            world.fire(command)
        elif hasattr(effect, "decode") and not isinstance(effect, Step | Call):
            world.signal(effect.name, kind)  # nothing else answers a wait without timeout
            self.fate[command, "answered"] -= 1
        else:
            world.answer(command, 1000 + kind)

    def play(self, choices: Sequence[int]) -> None:
        """As many moves as there are, or until the run has ended."""
        for choice in choices:
            if self.world.ending:
                return
            self.move(choice)


stories = st.builds(Story, trees)
choices = st.lists(st.integers(0, 13 * 8), max_size=25)


@given(tree=trees, choices=choices, cut=st.integers(0, 25))
def test_a_journal_leads_to_the_same_place_however_often_it_is_fed(tree: Tree, choices: list[int], cut: int) -> None:
    """Whole, or up to any event: the same commands, outputs and outcome, and the same in the workflow's eyes."""
    story = Story(tree)
    story.play(choices)
    journal = story.world.journal
    machine = fresh(story.world.spec, "story")
    for event, stand, said in zip(journal, story.stands, story.said, strict=True):
        machine.feed(event)
        assert stand == standing(machine)
        assert said == drain(machine)
    assert story.authors[0].seen == story.authors[1].seen

    part = journal[: 1 + cut % len(journal)]
    again = fresh(story.world.spec, "story")
    again.feed_all(part)
    assert story.stands[len(part) - 1] == standing(again)
    assert [each for said in story.said[: len(part)] for each in said] == drain(again)
    close_all()


@given(tree=trees, choices=choices, budget=st.integers(1, 4))
def test_rests_are_not_seen(tree: Tree, choices: list[int], budget: int) -> None:
    """By whatever budget a run is driven, its fibers run in the same order."""
    story = Story(tree)
    story.play(choices)
    machine = fresh(story.world.spec, "story")
    for event, stand in zip(story.world.journal, story.stands, strict=True):
        settled = machine.feed(event, budget)
        while not settled:
            settled = machine.advance(budget)
        assert stand == standing(machine)
    assert story.authors[0].seen == story.authors[1].seen
    close_all()


@given(tree=trees, choices=choices)
def test_no_branch_outlives_its_combinator(tree: Tree, choices: list[int]) -> None:
    """Whoever wins, fails or is cancelled: all have ended when it answers."""
    story = Story(tree)
    story.play(choices)

    assert {"0 alive"} >= {line for line in story.authors[0].seen if line.endswith(" alive")}
    close_all()


@given(tree=trees, choices=choices)
def test_every_command_has_one_fate(tree: Tree, choices: list[int]) -> None:
    """It is issued once, and then answered, withdrawn, abandoned, or still pending."""
    story = Story(tree)
    story.play(choices)
    issued = {command for command, what in story.fate if what == "issued"}

    assert {1} >= {count for (_, what), count in story.fate.items() if what in {"issued", "withdrawn"}}
    assert set(story.world.ids) <= issued
    for command in story.world.ids:
        pending = story.world.command(command)
        assert not story.fate[command, "answered"]
        assert bool(story.fate[command, "withdrawn"]) == pending.cancelled
    close_all()


@given(tree=trees, choices=st.lists(st.integers(13 * 0, 13 * 8), max_size=10), patience=st.integers(0, 3))
def test_a_run_whose_commands_are_all_answered_ends(tree: Tree, choices: list[int], patience: int) -> None:
    """Nothing waits for nothing: while a run is open, something is pending; and in the end nothing is."""
    story = Story(tree)
    story.play(choices)
    world = story.world
    for _ in range(500):
        if world.ending:
            break
        assert world.ids
        story.answer(world.ids[patience % len(world.ids)], 9)
    assert world.ending
    assert [] == world.ids
    assert {} == world.machine.listeners
    world.close()
    close_all()


# ---- a second opinion --------------------------------------------------------------------------------------------------------


calm = st.recursive(
    st.tuples(st.just("step"), st.integers(0, 9)),
    lambda inner: st.one_of(
        st.tuples(st.just("in turn"), st.lists(inner, max_size=3)),
        st.tuples(st.just("gather"), st.lists(inner, max_size=3), st.sampled_from([{}, {"limit": 1}, {"limit": 2}])),
        st.tuples(st.sampled_from(["shield", "caught", "timeout"]), inner),
        st.tuples(st.just("spawned and joined"), inner, inner),
    ),
    max_leaves=12,
)


def value_of(tree: Tree) -> Any:
    """What a tree of steps comes to, said without an interpreter."""
    kind = tree[0]
    if kind == "step":
        return 2 * tree[1]
    if kind in {"in turn", "gather"}:
        return [value_of(each) for each in tree[1]]
    if kind == "spawned and joined":
        return [value_of(tree[1]), value_of(tree[2])]
    return value_of(tree[1])


@given(tree=calm, order=st.lists(st.integers(0, 100), max_size=60))
def test_results_do_not_depend_on_the_order_of_answers(tree: Tree, order: list[int]) -> None:
    """Every step answers twice its number; whoever is asked first, the result is that of plain code."""
    story = Story(tree)
    world = story.world
    picks = iter(order)
    while not world.ending:
        steps = [command for command in world.ids if isinstance(world.command(command).effect, Step)]
        command = steps[next(picks, 0) % len(steps)]
        effect: Any = world.command(command).effect
        world.answer(command, 2 * int(effect.payload[1:-1]))

    assert value_of(tree) == world.result
    close_all()
