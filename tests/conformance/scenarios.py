"""What happens in each conformance case: a workflow, its input, and what the world tells it.

A scenario makes a journal; ``record.py`` plays it and writes down what an interpreter shows after each event. A scenario is never
changed once its case is written: for more, write another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self

import attrs

from replay.model import events
from replay.model.codec import to_json
from replay.model.effects import Call
from replay.model.events import Event
from replay.model.failure import Failure
from tests.conformance import workflows as w
from tests.conformance.cases import VERSION, Json, Player, event_entry, spelt
from tests.interpreter.world import SECOND, START, World

TERMINATED: Final = to_json({"type": "Terminated", "message": "by hand", "attempts": 1, "traceback": ""})


class Script(World):
    """A world whose events need not all fit."""

    def __init__(self, call: Call[Any], *, run: str, **started: Any) -> None:
        super().__init__(call, run=run, **{"patches": tuple(sorted(call.spec.patches)), **started})

    def stray(self, kind: str, command: str = "", name: str = "", payload: bytes = b"", check: int = 0, *, skip: int = 0) -> Self:
        """An event that does not fit: it is written and not fed."""
        self.journal.append(Event(len(self.journal) + 1 + skip, kind, command, name, self.clock, payload, check))
        return self

    def take(self, kind: str, command: str, payload: bytes) -> Self:
        """An answer with these very bytes."""
        effect = self.command(command).effect
        return self.feed(kind, command, effect.name, payload, effect.check())

    def close(self) -> Self:
        """The closing event; of a failure, what is the same on every machine."""
        outcome = self.machine.outcome
        assert outcome is not None
        if outcome.kind != events.FAILED:
            return super().close()
        told = Failure.decode(outcome.payload)
        return self.feed(outcome.kind, name=self.call.name, payload=Failure(type=told.type, message=told.message).encode())

    def gave_up(self, command: str, message: str, *, error: str = "Declined", attempts: int = 1) -> Self:
        """A step failed for good."""
        return self.take(events.STEP_FAILED, command, Failure(type=error, message=message, attempts=attempts).encode())


@attrs.frozen
class Scenario:
    """One case, before it is played.

    Attributes:
        name: The case's and the file's name.
        about: What it shows, in one sentence.
        call: The workflow and its input.
        moves: What the world tells.
        run: The run's id.
        started: What else the run is begun with.
        first: The first event's payload instead of the usual one.
    """

    name: str
    about: str
    call: Call[Any]
    moves: Callable[[Script], Any]
    run: str = "run-1"
    started: Json = attrs.field(factory=dict)
    first: bytes = b""

    def record(self) -> Json:
        """The case: what is fed, and what an interpreter shows."""
        script = Script(self.call, run=self.run, **self.started)
        self.moves(script)
        journal = script.journal
        if self.first:
            journal[0] = journal[0]._replace(payload=self.first)
        player = Player(self.call.name, self.run)
        for event in journal:
            player.feed(event)
        return {
            "case": VERSION,
            "name": self.name,
            "about": self.about,
            "workflow": self.call.name,
            **spelt("input", self.call.payload),
            "run": self.run,
            "script": [event_entry(event) for event in journal],
            **player.seen,
        }


def _echo(name: str, about: str, value: Any, *, given: Any = "?") -> Scenario:
    return Scenario(
        f"value-{name}",
        about,
        w.echoing(given),
        lambda s: s.answer("0", value).answer("1", value).close(),
    )


def _echo_bytes(name: str, about: str, payload: bytes) -> Scenario:
    def moves(s: Script) -> Any:
        s.take(events.STEP_COMPLETED, "0", payload)
        return s.take(events.STEP_COMPLETED, "1", payload).close()

    return Scenario(f"value-{name}", about, w.echoing("?"), moves)


def _cancel(name: str, about: str, where: str, moves: Callable[[Script], Any] | None = None) -> Scenario:
    def to_the_end(s: Script) -> Any:
        return s.cancel("enough").answer("1", "after").close()

    return Scenario(f"cancel-{name}", about, w.cancellable(where), moves or to_the_end)


def _misfit(name: str, about: str, call: Call[Any], moves: Callable[[Script], Any], **more: Any) -> Scenario:
    return Scenario(f"misfit-{name}", about, call, moves, **more)


def _chatty(s: Script) -> Any:
    """Two savepoints; before, between and after them whatever can happen."""
    s.signal("word", "one").later(5).answer("1/1/0", 2).signal("word", "early").answer("1/0/0", 8).update("add", "x", message="m1")
    s.answer("2/0/0", 14).answer("3")
    s.later(2).answer("5/0/0", 1).answer("5/1/0", 2).signal("other", 0).answer("6/0/0", 3).later(1).answer("7")
    s.update("add", "y", message="m2").fire("8").answer("9/0/0", 1).answer("9/1/0", 2).answer("10/0/0", 3)
    s.signal("word", "stop").answer("11")
    return s.answer("13/0/0", 1).answer("13/1/0", 2).answer("14/0/0", 3).close()


DEEP: Final[Any] = {
    "z": [[], {}, [{}], {"": None}],
    "a": {"z": 1, "A": 2, "_": 3, "10": 4, "9": 5, "é": 6, "\uffff": 7, "\U0001f600": 8, "\u007f": 9},
    "list": [True, False, None, 0, -1, "", "0"],
}
TEXT: Final = (
    'plain é ß 漢字 😀 e\u0301 \u202eright to left \u2028 line \u2029 paragraph \u0000 nul \u001f unit \u007f del \u0085 next "quoted" '
    "\\ back / slash \t tab \n line \r return \b back \f feed </script> \ufeff mark \uffff last"
)

SEQUENCE: Final = [
    Scenario("nothing", "A workflow without effects ends with its first event.", w.nothing(), lambda s: s.close()),
    Scenario(
        "sequence",
        "Two steps in turn, then the closing event.",
        w.sequence(3),
        lambda s: s.later(1).answer("0", 6).later(0.000001).answer("1", 12).close(),
    ),
    Scenario("sequence-open", "A run that waits: its step is pending, nothing has ended.", w.sequence(3), lambda s: s.answer("0", 6)),
    Scenario(
        "sequence-attempts",
        "Failed attempts and a noted beginning leave the command in place; the attempt that follows succeeds.",
        w.sequence(3),
        lambda s: s.attempt("0").later(1).attempt("0").feed(events.STEP_INTENT, "0", "double").answer("0", 6).answer("1", 12).close(),
    ),
    Scenario(
        "sequence-fails",
        "A step's failure that nobody catches is the run's.",
        w.sequence(3),
        lambda s: s.gave_up("0", "no money", attempts=3).close(),
    ),
    Scenario(
        "sequence-clock-back",
        "An event with an earlier hour leaves the clock where it is.",
        w.clock(),
        lambda s: s.later(10).answer("0", 1).later(-20).answer("1", 2).later(30).answer("2", 3).close(),
    ),
    Scenario(
        "failures-caught",
        "A failed step, one that took too long, and one whose end is unknown.",
        w.catching(),
        lambda s: (
            s.gave_up("0", "no — é 😀", attempts=2)
            .fail("1", "replay.errors.TimedOut", "step double did not end within 2.5 s", args=["step double", 2.5])
            .fail("2", "replay.errors.StepInterrupted", "", args=["double"])
            .close()
        ),
    ),
    Scenario(
        "arguments-not-compared",
        "A step that opted out has no checksum; one in its answer is not looked at.",
        w.lazily(3),
        lambda s: s.feed(events.STEP_COMPLETED, "0", "lax", b"5", check=12345).close(),
    ),
    Scenario(
        "answer-without-checksum",
        "An answer that recorded no checksum fits any arguments.",
        w.sequence(3),
        lambda s: s.feed(events.STEP_COMPLETED, "0", "double", b"6"),
    ),
    Scenario(
        "clean-up",
        "What follows in a finally block is asked for before the run ends.",
        w.tidy(),
        lambda s: s.answer("0", 2).answer("1").close(),
    ),
    Scenario(
        "clean-up-after-failure",
        "The failure is raised when the clean-up has ended.",
        w.tidy(),
        lambda s: s.gave_up("0", "no").answer("1").close(),
    ),
]

VALUES: Final = [
    _echo("null", "Null is an answer.", None, given=None),
    _echo("false", "False is an answer, and not null.", False, given=False),
    _echo("zero", "Nought is an answer, and not false.", 0, given=0),
    _echo("empty-text", "An empty text is an answer.", "", given=""),
    _echo("empty-list", "An empty list is an answer.", [], given=[]),
    _echo("empty-object", "An empty object is an answer.", {}, given={}),
    _echo("nested", "Keys are sorted by code point, at every depth: U+FFFF comes before U+1F600.", DEEP),
    _echo("text", "Only what JSON demands is escaped.", TEXT, given=TEXT[:5]),
    _echo(
        "numbers",
        "Whole floats are spelt as whole numbers, -0 keeps its sign, exponents have two digits, tiny and huge ones survive.",
        [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            1e-7,
            1.5e-7,
            0.0001,
            0.00001,
            1e15,
            123456789012345.6,
            1e16,
            1e21,
            1e22,
            1e308,
            -1e308,
            5e-324,
            2.5e-5,
            1.7976931348623157e308,
            2.0**53,
            2.0**53 - 1,
            2.0**60,
            9007199254740994.0,
            1e100,
        ],
    ),
    _echo(
        "big-integers",
        "Whole numbers beyond 2**53 are exact; a reader that cannot keep them must keep their text.",
        [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64, 10**40],
    ),
    _echo("decimals", "Decimals, times and bytes are texts.", ["0.10", "1E+2", "2026-01-01T00:00:00Z", "AAEC/w=="]),
    _echo_bytes(
        "not-canonical",
        "Bytes that another writer spelt with spaces, escapes and 1.0 are read as what they mean, and spelt canonically from there on.",
        b' { "b" : 1.0 , "a" : "\\u00e9\\/" , "c" : -0 , "d" : 1E2 } ',
    ),
]

TIME: Final = [
    Scenario("timer", "A timer is due at the clock of its issue plus its span.", w.napping(90), lambda s: s.later(1).fire("0").close()),
    Scenario("timer-fraction", "Spans are rounded to microseconds, half to even.", w.napping(0.0000025), lambda s: s.fire("0").close()),
    Scenario("timer-late", "It may fire late; the clock shows it.", w.napping(1), lambda s: s.later(3600).fire("0").close()),
    Scenario("timer-zero", "A timer of no time is a timer.", w.napping(0), lambda s: s.fire("0").close()),
    Scenario("timer-until", "A timer until a moment is due then.", w.until(START + 5 * SECOND + 1), lambda s: s.fire("0").close()),
    Scenario("timer-until-past", "A moment that has passed is due too.", w.until(-1), lambda s: s.fire("0").close()),
    Scenario(
        "clock",
        "now is the moment of the last event, to the microsecond.",
        w.clock(),
        lambda s: s.later(0.000001).answer("0", 0).later(1.5).answer("1", 0).answer("2", 0).close(),
    ),
]

SIGNALS: Final = [
    Scenario(
        "signal",
        "A message answers the wait for its name.",
        w.listening(1),
        lambda s: s.signal("word", {"by": "é"}).answer("1", None).close(),
    ),
    Scenario(
        "signal-early",
        "Messages that come early are kept, first in, first out, and take the numbers that late ones take.",
        w.reading_late(),
        lambda s: s.signal("word", 1).signal("other", 0).signal("word", 2).fire("0").signal("word", 3).answer("4", 0).close(),
    ),
    Scenario(
        "signal-order",
        "Early and late, in the order in which they came; other names are left.",
        w.listening(4),
        lambda s: (
            s.signal("other", 0)
            .signal("word", 1)
            .signal("word", None)
            .signal("word", False)
            .signal("other", 9)
            .signal("word", "")
            .answer("4", 0)
            .close()
        ),
    ),
    Scenario(
        "signal-waiters",
        "Who has waited longest for a name takes the oldest message of it.",
        w.several(),
        lambda s: s.signal("word", "a").signal("word", "b").signal("other", "o").signal("word", "c").close(),
    ),
    Scenario(
        "signal-leaves-queue",
        "A wait that is withdrawn leaves the queue.",
        w.leaving_the_queue(),
        lambda s: s.fire("2").signal("word", "for the second").close(),
    ),
    Scenario(
        "signal-in-time",
        "A message before its timer, though the time is over already: the journal's order decides.",
        w.patient(False),
        lambda s: s.later(60).signal("go", 1).signal("go", 2).close(),
    ),
    Scenario(
        "signal-default",
        "The timer first: the default is the answer; a late message is kept for the next wait.",
        w.patient(True),
        lambda s: s.fire("0").signal("go", "late").close(),
    ),
    Scenario("signal-timed-out", "The timer first, and no default: TimedOut.", w.patient(False), lambda s: s.fire("0").close()),
    Scenario(
        "signal-mail",
        "Messages that the journal before left unread are there from the start.",
        w.listening(2),
        lambda s: s.answer("2", 0).close(),
        started={"mail": (("word", b"1"), ("other", b"[2]"), ("word", b"null"))},
    ),
]

BRANCHES: Final = [
    Scenario("gather", "Two branches, answered in order.", w.pair(1, 2), lambda s: s.answer("0/0/0", 2).answer("0/1/0", 4).close()),
    Scenario(
        "gather-reversed",
        "Answered the other way round: results stand in the order of the branches.",
        w.pair(1, 2),
        lambda s: s.answer("0/1/0", 4).answer("0/0/0", 2).close(),
    ),
    Scenario(
        "gather-nested",
        "Paths of fibers: gathers in gathers, helpers in branches, a step after all.",
        w.nested(),
        lambda s: (
            s.answer("0/1/0/1/0/1/0", 8)
            .answer("0/0/0", 2)
            .answer("0/0/1", 4)
            .answer("0/1/0/0/0", 4)
            .answer("0/1/0/1/0/0/0", 6)
            .answer("0/1/0/1/0/1/1", 16)
            .answer("1", 10)
            .close()
        ),
    ),
    Scenario("gather-empty", "No branches: answered at once, and the number is taken.", w.empty(), lambda s: s.answer("1", 2).close()),
    Scenario(
        "gather-order",
        "Fibers run first ready first; a combinator starts its branches in order, each until it first waits.",
        w.starting_order(),
        lambda s: [s.answer(each, 2) for each in (*s.ids[::2], *s.ids[1::2])] and s.close(),
    ),
    Scenario(
        "gather-limit",
        "Never more than the limit at a time; the next begins when one ends.",
        w.limited(4, 2),
        lambda s: s.answer("0/1/0", 1).answer("0/2/0", 2).answer("0/0/0", 0).answer("0/3/0", 3).close(),
    ),
    Scenario(
        "gather-fails",
        "The first failure cancels the others in order and is raised when their clean-up has ended.",
        w.tidy_gather(),
        lambda s: s.gave_up("0/1/0", "boom").answer("0/2/1").answer("0/0/1").close(),
    ),
    Scenario(
        "gather-limit-fails",
        "Branches behind the limit are never begun.",
        w.limited(4, 2),
        lambda s: s.gave_up("0/1/0", "boom").close(),
    ),
    Scenario(
        "gather-errors-returned",
        "return_errors puts failures in their places and cancels nobody.",
        w.lenient(),
        lambda s: s.gave_up("0/1/0", "second").answer("0/2/0", 6).gave_up("0/0/0", "first").close(),
    ),
    Scenario(
        "gather-enough",
        "min_successful ends with that many successes; what did not succeed is null.",
        w.enough(4, 2),
        lambda s: s.answer("0/2/0", 4).gave_up("0/0/0", "no").answer("0/1/0", 2).close(),
    ),
    Scenario(
        "gather-hopeless",
        "When the minimum cannot be met any more, the first failure is raised.",
        w.enough(3, 2),
        lambda s: s.gave_up("0/1/0", "first").gave_up("0/0/0", "second").close(),
    ),
    Scenario("race", "The branch that ends first wins: its index and its value.", w.fastest(3), lambda s: s.answer("0/1/0", 0).close()),
    Scenario(
        "race-failing",
        "A failing branch leaves the race to the others.",
        w.fastest(3),
        lambda s: s.gave_up("0/0/0", "no").answer("0/2/0", 4).close(),
    ),
    Scenario(
        "race-all-fail",
        "If all fail, the first failure in the journal is raised.",
        w.fastest(2),
        lambda s: s.gave_up("0/1/0", "first").gave_up("0/0/0", "second").close(),
    ),
    Scenario(
        "race-clean-up",
        "Losers clean up, a careful step is waited for, then the race answers.",
        w.tidy_race(),
        lambda s: s.answer("0/1/0", 4).answer("0/2/0", 3).answer("0/0/1").close(),
    ),
    Scenario(
        "timeout-in-time",
        "The branch ends in time; its timer is withdrawn.",
        w.hurried(),
        lambda s: s.answer("0/0/0", 2).answer("0/0/1").close(),
    ),
    Scenario(
        "timeout-over",
        "The timer fires first: the branch is cancelled, cleans up, and TimedOut is raised.",
        w.hurried(),
        lambda s: s.fire("0/1/0").later(9).answer("0/0/1").close(),
    ),
    Scenario("timeout-nested", "The shorter of two timeouts decides.", w.timeout_in_timeout(), lambda s: s.fire("0/0/0/1/0").close()),
    Scenario(
        "timeout-nested-outer",
        "The outer one may fire first in the journal.",
        w.timeout_in_timeout(),
        lambda s: s.fire("0/1/0").close(),
    ),
]

BESIDE: Final = [
    Scenario(
        "spawn",
        "A spawned fiber runs beside its maker, and is joined.",
        w.beside(),
        lambda s: s.answer("0/0/0", 2).answer("1", 20).answer("0/0/1", 4).close(),
    ),
    Scenario(
        "spawn-ended",
        "Joining a fiber that has ended answers at once.",
        w.beside(),
        lambda s: s.answer("0/0/0", 2).answer("0/0/1", 4).answer("1", 20).close(),
    ),
    Scenario(
        "spawn-failed", "Its failure is raised at the join.", w.beside(), lambda s: s.gave_up("0/0/0", "boom").answer("1", 20).close()
    ),
    Scenario("spawn-joined-by-many", "Several wait for one fiber.", w.joined_by_many(), lambda s: s.answer("0/0/0", 2).close()),
    Scenario(
        "spawn-cancelled",
        "A cancelled fiber cleans up while its canceller goes on; joining it raises Cancelled.",
        w.stopping(),
        lambda s: s.fire("1").answer("0/0/1").close(),
    ),
    Scenario("spawn-never-begun", "Cancelled before its first line, it never runs.", w.never_begun(), lambda s: s.fire("1").close()),
    Scenario(
        "spawn-at-the-end",
        "What lives at the end is cancelled and cleans up; what is spawned then never runs.",
        w.leaving(),
        lambda s: s.fire("2").answer("0/0/1").answer("1/0/1").close(),
    ),
    Scenario(
        "spawn-answer-first",
        "An answer that stands in the queue is received before a cancellation.",
        w.answer_first(),
        lambda s: s.answer("0/0/0", 2).fire("3").close(),
    ),
]

CHILDREN: Final = [
    Scenario(
        "child",
        "Children in turn and side by side; ids by place, or as given.",
        w.parent(1),
        lambda s: s.answer("0", 2).answer("1/1/0", 5).answer("1/0/0", 4).close(),
    ),
    Scenario(
        "child-fails",
        "A child's failure: its id, workflow, error and how it ended.",
        w.parent(1),
        lambda s: s.fail("0", "shop.Declined", "no money").close(),
    ),
    Scenario(
        "child-cancelled",
        "A child that was cancelled.",
        w.parent(1),
        lambda s: s.fail("0", "Cancelled", "enough", args=["run-1.0", "cancelled"]).close(),
    ),
    Scenario(
        "child-in-a-later-journal",
        "In the third journal of a run its number stands in the ids.",
        w.parent(1),
        lambda s: s.answer("0", 2),
        started={"chain": 2},
    ),
    Scenario(
        "child-joined",
        "A started child goes on beside its parent; its handle is joined.",
        w.joining_a_child(),
        lambda s: s.answer("0/0/0", 2).answer("1", 20).close(),
    ),
    Scenario("child-policy-cancel", "When the parent ends, the child is withdrawn.", w.family("cancel"), lambda s: s.fire("1").close()),
    Scenario(
        "child-policy-abandon",
        "When the parent ends, the child is neither withdrawn nor waited for.",
        w.family("abandon"),
        lambda s: s.fire("1").close(),
    ),
    Scenario(
        "child-policy-wait",
        "The parent waits for the child at its end; how that ended does not matter.",
        w.family("wait"),
        lambda s: s.fire("1").fail("0/0/0").close(),
    ),
    Scenario(
        "child-policy-wait-cancelled",
        "A cancelled parent waits for it too.",
        w.family("wait"),
        lambda s: s.cancel().answer("0/0/0", 2).close(),
    ),
    Scenario("child-brief-cancel", "Asked for and withdrawn in one breath.", w.brief("cancel"), lambda s: s.close()),
    Scenario("child-brief-abandon", "Asked for and abandoned in one breath.", w.brief("abandon"), lambda s: s.close()),
    Scenario("child-brief-wait", "Asked for and waited for.", w.brief("wait"), lambda s: s.answer("0/0/0", 2).close()),
]

CANCELLATION: Final = [
    _cancel("step", "While it waits for a step.", "step"),
    _cancel("timer", "While it sleeps.", "timer"),
    _cancel(
        "signal",
        "While it waits for a message; a later one is kept.",
        "signal",
        lambda s: s.cancel("enough").signal("go", 1).answer("1", 0).close(),
    ),
    _cancel("signal-in-time", "While it waits for a message with a timeout.", "signal in time"),
    _cancel("savepoint", "While a savepoint is not yet durable.", "savepoint"),
    _cancel("child", "While it waits for a child.", "child"),
    _cancel("join", "While it joins a spawned fiber, which is left alone until the end.", "join"),
    _cancel(
        "join-then-ends",
        "Who was cancelled at a join is not woken when the joined fiber ends.",
        "join",
        lambda s: s.cancel("enough").answer("0/0/0", 2).answer("1", "after").close(),
    ),
    _cancel("gather", "In a gather of everything: withdrawn in order.", "gather"),
    _cancel("limit", "In a limited gather: what was not begun never is.", "limit"),
    _cancel("race", "In a race.", "race"),
    _cancel("timeout", "In a timeout.", "timeout"),
    _cancel("deep", "In branches of branches.", "deep"),
    _cancel(
        "clean-up",
        "Branches clean up in order before their owner is cancelled.",
        "clean-up",
        lambda s: s.cancel("enough").answer("0/1/0/0/1").answer("0/0/1").answer("1", "after").close(),
    ),
    _cancel(
        "clean-up-fails",
        "A failing clean-up does not hide the cancellation.",
        "clean-up",
        lambda s: s.cancel("enough").gave_up("0/0/1", "no").answer("0/1/0/0/1").answer("1", "after").close(),
    ),
    _cancel(
        "during-clean-up",
        "While a failed gather waits for clean-up: the clean-up goes on, then Cancelled.",
        "clean-up",
        lambda s: s.gave_up("0/1/0/1/0", "no").cancel("enough").answer("0/1/0/0/1").answer("0/0/1").answer("1", "after").close(),
    ),
    _cancel(
        "shield",
        "Held back until the shielded branch has ended, then thrown at the next wait.",
        "shield",
        lambda s: s.cancel("enough").answer("0/0/0", 2).answer("0/0/1", 4).close(),
    ),
    _cancel(
        "shielded-branch",
        "A shield in a branch holds its combinator; its neighbours are withdrawn.",
        "shielded branch",
        lambda s: s.cancel("enough").answer("0/0/0/0/0", 2).answer("1", "after").close(),
    ),
    _cancel(
        "guarded-gather",
        "A shield around a combinator guards all of its branches.",
        "guarded gather",
        lambda s: s.cancel("enough").answer("0/0/0/1/0", 2).gave_up("0/0/0/0/0", "no").close(),
    ),
    _cancel(
        "careful",
        "A step whose end is awaited: it stays pending, then Cancelled, whatever it answered.",
        "careful",
        lambda s: s.cancel("enough").attempt("0").answer("0", 1).answer("1", "after").close(),
    ),
    _cancel(
        "careful-fails", "Also when it failed.", "careful", lambda s: s.cancel("enough").gave_up("0", "no").answer("1", "after").close()
    ),
    _cancel(
        "careful-branch",
        "In a gather, beside one that is withdrawn at once.",
        "careful branch",
        lambda s: s.cancel("enough").answer("0/0/0", 1).answer("1", "after").close(),
    ),
    _cancel(
        "twice",
        "Cancelled once, it is not cancelled again.",
        "step",
        lambda s: s.cancel("first").cancel("second").answer("1", "after").close(),
    ),
    _cancel(
        "without-reason",
        "An event without payload has a plain reason.",
        "step",
        lambda s: s.feed(events.CANCEL_REQUESTED).answer("1", "after").close(),
    ),
    Scenario(
        "cancel-caught",
        "Catching failures does not catch it; who catches it goes on.",
        w.stubborn(),
        lambda s: s.gave_up("0", "no").cancel("enough").cancel("more").answer("2/1/0", 18).answer("2/0/0", 16).close(),
    ),
    Scenario("cancel-uncaught", "What is not caught ends the run as cancelled.", w.sequence(1), lambda s: s.cancel("enough é").close()),
    Scenario(
        "cancel-with-clean-up",
        "The clean-up is asked for, then the run ends as cancelled.",
        w.tidy(),
        lambda s: s.cancel("enough").answer("1").close(),
    ),
    Scenario(
        "cancel-at-the-end",
        "While spawned fibers clean up the root has ended: nothing happens.",
        w.leaving(),
        lambda s: s.fire("2").cancel("late").answer("0/0/1").answer("1/0/1").close(),
    ),
]

UPDATES: Final = [
    Scenario(
        "update",
        "A plain handler replies at once and changes what the run knows.",
        w.counter(),
        lambda s: (
            s.update("add", 3, message="m1").update("ask", None, message="m2").update("add", 4, message="m3").signal("stop").close()
        ),
    ),
    Scenario(
        "update-generator",
        "Handlers that yield are fibers of their own, side by side; each replies when it is done.",
        w.workshop(),
        lambda s: (
            s.update("work", 1, message="m1")
            .update("work", 10, message="m2")
            .answer("u1/0", 20)
            .answer("u0/0", 2)
            .answer("u1/1", 40)
            .answer("u0/1", 4)
            .signal("stop")
            .close()
        ),
    ),
    Scenario(
        "update-fails",
        "A failing handler replies with its failure; the run goes on.",
        w.workshop(),
        lambda s: s.update("work", 1, message="m1").gave_up("u0/0", "no").signal("stop").close(),
    ),
    Scenario(
        "update-cancelled",
        "An update that is under way when the run ends is cancelled, and its caller told.",
        w.workshop(),
        lambda s: s.update("work", 1, message="m1").signal("stop").close(),
    ),
]

SAYING: Final = [
    Scenario(
        "outputs",
        "Each kind of output, numbered per fiber; ids of messages.",
        w.talkative(),
        lambda s: s.answer("0/1/0", 2).answer("0/0/0", 2).close(),
    ),
    Scenario(
        "outputs-in-a-later-journal",
        "Its number stands in the ids of messages.",
        w.talkative(),
        lambda s: s.answer("0/1/0", 2),
        run="run é",
        started={"chain": 1},
    ),
    Scenario("chance", "random and uuid, per fiber.", w.chances(), lambda s: s.answer("1", 2).close()),
    Scenario(
        "chance-seed",
        "The seed may differ from the run's id, as in a fork.",
        w.chances(),
        lambda s: s.answer("1", 2).close(),
        run="fork-of-run",
        started={"seed": "sämen 😀"},
    ),
    Scenario(
        "chance-savepoint",
        "Counted anew under the number of a savepoint with state.",
        w.chances_over_savepoints(),
        lambda s: s.answer("0").later(1).answer("1").close(),
    ),
    Scenario(
        "info",
        "What a run knows of itself.",
        w.curious(),
        lambda s: s.answer("0", 0).answer("1", 2).close(),
        started={
            "namespace": "shop",
            "parent": "p-1",
            "parent_command": "3/0",
            "attempt": 2,
            "version": "7",
            "deadline": START + 60 * SECOND,
            "chain": 3,
            "tags": {"a": "b"},
        },
    ),
]

PATCHES: Final = [
    Scenario(
        "patched",
        "Begun by code that declares the patch: the new path.",
        w.patchy(),
        lambda s: s.answer("0", "a").answer("1").answer("2", "b").answer("3").close(),
    ),
    Scenario(
        "patched-old-run",
        "Begun by code that knew no patch: the old path, until a savepoint with state records what today's code knows.",
        w.patchy(),
        lambda s: s.answer("0", 0).answer("1").answer("2", "b").answer("3").close(),
        started={"patches": ()},
    ),
    Scenario(
        "patched-old-savepoint",
        "A savepoint that old code wrote keeps the old path.",
        w.patchy(),
        lambda s: (
            s.answer("0", 0)
            .feed(
                events.SAVEPOINT,
                "1",
                "turn",
                to_json({"state": [0], "next": 2, "outs": 0, "updates": 0, "patches": [], "mail": [], "notes": {}}),
            )
            .answer("2", 2)
        ),
        started={"patches": ()},
    ),
    Scenario(
        "patched-unknown",
        "Begun by somebody without the code: what the worker's code declares.",
        w.patchy(),
        lambda s: s.answer("0", "a"),
        started={"patches": None},
    ),
    Scenario("patched-undeclared", "A patch that is not declared is refused.", w.undeclared(), lambda s: s.close()),
]

SAVEPOINTS: Final = [
    Scenario(
        "savepoint",
        "Notes, at the root and in branches.",
        w.thinking(),
        lambda s: s.answer("0").answer("1/1/0").answer("1/0/0").close(),
    ),
    Scenario(
        "savepoint-state",
        "With state: what the event holds, and a run that begins there goes on alike.",
        w.looping(3),
        lambda s: s.answer("0", 10).answer("1").answer("2", 20).answer("3").answer("4", 30).answer("5").close(),
    ),
    Scenario(
        "savepoint-state-everything", "Mail, updates, outputs, chance, time and branches around two savepoints.", w.chatty(), _chatty
    ),
    Scenario(
        "savepoint-state-falsy", "Nought is a state.", w.falsy_state(), lambda s: s.answer("0", 2).answer("1").answer("2", 4).close()
    ),
    Scenario("savepoint-state-in-branch", "With state it belongs to the root.", w.careless("branch"), lambda s: s.close()),
    Scenario("savepoint-state-beside", "With state nothing else may be in flight.", w.careless("beside"), lambda s: s.close()),
]

ENDS: Final = [
    Scenario(
        "continue-as-new",
        "The journal ends with the next input; unread messages are there to be handed on.",
        w.once_more(1),
        lambda s: s.signal("other", 1).signal("word", "a").close(),
    ),
    Scenario(
        "continue-as-new-last",
        "The last of the chain.",
        w.once_more(3),
        lambda s: s.signal("word", "z").close(),
        started={"chain": 2, "seed": "run-1~2"},
    ),
    Scenario(
        "continue-as-new-other",
        "It may go on as another workflow; spawned fibers clean up first.",
        w.going_over(),
        lambda s: s.answer("0", 2).fire("2").answer("1/0/1").close(),
    ),
    Scenario("continue-as-new-in-branch", "It belongs into the workflow's own body.", w.continuing_in_a_branch(), lambda s: s.close()),
    Scenario(
        "terminated",
        "Ended from outside: it fits wherever the run stood.",
        w.sequence(3),
        lambda s: s.answer("0", 6).feed(events.FAILED, name="terminated", payload=TERMINATED),
    ),
    Scenario(
        "order-approved",
        "All together: charged, approved, shipped and mailed.",
        w.order("visa", 1200),
        lambda s: s.later(1).answer("0", "r-1").later(3600).signal("approved", True).answer("2/1/0", "m").answer("2/0/0", "s").close(),
    ),
    Scenario(
        "order-refunded",
        "All together: nobody approved in a day.",
        w.order("visa", 1200),
        lambda s: s.answer("0", "r-1").fire("1").answer("2").close(),
    ),
]

MISFITS: Final = [
    _misfit(
        "arguments",
        "Other arguments than were recorded.",
        w.sequence(3),
        lambda s: s.stray(events.STEP_COMPLETED, "0", "double", b"6", check=1),
    ),
    _misfit("name", "Another step than was recorded.", w.sequence(3), lambda s: s.stray(events.STEP_COMPLETED, "0", "charge", b"6")),
    _misfit("kind", "An answer of another kind.", w.sequence(3), lambda s: s.answer("0", 6).stray(events.TIMER_FIRED, "1", "sleep")),
    _misfit(
        "attempt",
        "A failed attempt of another step.",
        w.sequence(3),
        lambda s: s.stray(events.STEP_ATTEMPT_FAILED, "0", "charge", b"{}"),
    ),
    _misfit(
        "intent",
        "A beginning of a step with other arguments.",
        w.sequence(3),
        lambda s: s.stray(events.STEP_INTENT, "0", "double", check=1),
    ),
    _misfit(
        "nobody-waits",
        "An answer that nobody waits for; the first few that are waited for are shown.",
        w.limited(7, 7),
        lambda s: s.stray(events.STEP_COMPLETED, "0/9/0", "double", b"1"),
    ),
    _misfit(
        "child", "A child with other arguments.", w.parent(1), lambda s: s.stray(events.CHILD_COMPLETED, "0", "child", b"2", check=5)
    ),
    _misfit(
        "savepoint-name",
        "Another savepoint than was recorded.",
        w.thinking(),
        lambda s: s.stray(events.SAVEPOINT, "0", "other", b'{"notes":{}}'),
    ),
    _misfit(
        "savepoint-notes",
        "A savepoint with other notes.",
        w.thinking(),
        lambda s: s.stray(events.SAVEPOINT, "0", "plan", b'{"notes":{}}', check=5),
    ),
    _misfit("timer-of-signal", "A timer for a wait that has none.", w.listening(1), lambda s: s.stray(events.TIMER_FIRED, "0", "word")),
    _misfit(
        "withdrawn",
        "An answer for a command that was withdrawn.",
        w.fastest(2),
        lambda s: s.answer("0/1/0", 2).stray(events.STEP_COMPLETED, "0/0/0", "double", b"0"),
    ),
    _misfit(
        "update",
        "An update that nothing handles.",
        w.counter(),
        lambda s: s.stray(events.UPDATE_RECEIVED, "", "sub", b'{"id":"m","value":1}'),
    ),
    _misfit(
        "ended-early",
        "The workflow has ended and its journal goes on.",
        w.sequence(3),
        lambda s: s.answer("0", 6).answer("1", 12).stray(events.STEP_COMPLETED, "2", "double", b"1"),
    ),
    _misfit(
        "message-after-end",
        "A message after the end.",
        w.sequence(3),
        lambda s: s.answer("0", 6).answer("1", 12).stray(events.SIGNAL_RECEIVED, "", "late", b"1"),
    ),
    _misfit(
        "ends-too-early",
        "The journal has ended and the workflow still asks.",
        w.sequence(3),
        lambda s: s.answer("0", 6).stray(events.COMPLETED, "", "sequence", b"6"),
    ),
    _misfit(
        "result",
        "Another result than was recorded.",
        w.sequence(3),
        lambda s: s.answer("0", 6).answer("1", 12).stray(events.COMPLETED, "", "sequence", b"19"),
    ),
    _misfit(
        "end",
        "Another kind of end than was recorded.",
        w.sequence(3),
        lambda s: s.answer("0", 6).answer("1", 12).stray(events.FAILED, "", "sequence", b"{}"),
    ),
    _misfit(
        "continued",
        "Another next input than was recorded.",
        w.once_more(1),
        lambda s: s.signal("word", 1).stray(events.CONTINUED, "", "once_more", b'{"input":[7],"workflow":"once_more"}'),
    ),
    _misfit(
        "after-closing",
        "A second closing event.",
        w.sequence(3),
        lambda s: s.answer("0", 6).answer("1", 12).close().stray(events.COMPLETED, "", "sequence", b"18"),
    ),
    _misfit(
        "after-termination",
        "An answer after the run was terminated.",
        w.sequence(3),
        lambda s: s.feed(events.FAILED, name="terminated", payload=TERMINATED).stray(events.STEP_COMPLETED, "0", "double", b"6"),
    ),
    _misfit(
        "gap", "A gap in the journal is damage.", w.sequence(3), lambda s: s.stray(events.STEP_COMPLETED, "0", "double", b"6", skip=1)
    ),
    _misfit(
        "unknown-kind", "An event of an unknown kind is damage.", w.sequence(3), lambda s: s.stray("teleported", "0", "double", b"6")
    ),
    _misfit(
        "second-beginning",
        "A second beginning is damage.",
        w.sequence(3),
        lambda s: s.stray(events.STARTED, "", "sequence", b'{"input":[3],"workflow":"sequence"}'),
    ),
    _misfit(
        "newer-format",
        "A journal of a later format is damage.",
        w.sequence(3),
        lambda s: s,
        first=b'{"format":2,"input":[3],"workflow":"sequence"}',
    ),
    Scenario(
        "started-of-a-later-version",
        "Fields that are not known are passed over, those that are missing have their defaults.",
        w.sequence(3),
        lambda s: s.answer("0", 6),
        first=b'{"input":[3],"mood":"good","workflow":"sequence"}',
    ),
]

SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        *SEQUENCE, *VALUES, *TIME, *SIGNALS, *BRANCHES, *BESIDE, *CHILDREN, *CANCELLATION, *UPDATES, *SAYING, *PATCHES, *SAVEPOINTS,
        *ENDS, *MISFITS,
    )
}  # fmt: skip
"""Every scenario, by its name."""
