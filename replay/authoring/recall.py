"""A run's memory of its own reasoning: notes, raw thoughts, digests, and what reviewers said; made of public effects.

Rule 1: all of it is one frozen value, ``recall.state``. Put it into the state of a savepoint, hand it to ``recall`` when the workflow
begins again, and nothing is forgotten.
Rule 2: what is remembered in full is bounded: after ``every`` notes, or at ``max_bytes``, notes are distilled into a digest, by a
step, a call of a language model, or any generator of effects.
Rule 3: notes are for people too: each is an ``annotate``, and the ledger is a fold over them. A text above 16 KiB goes to the blob
side.
Rule 4: reviews come from outside, by update; one that makes no sense is refused and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

import attrs

from replay.authoring.effects import annotate, now, on_update, savepoint
from replay.errors import EffectError, describe
from replay.model.about import micros_of
from replay.model.effects import NO_DEFAULT, Branch, Effect
from replay.model.health import Advice, Health, Sample, Thresholds, health
from replay.model.ledger import APPROVED, CONTEXT, REVIEW, STATUSES, Focus, Review, read_review, restore_context

KEPT: Final = 10
"""Digests, reviews of one state, and samples beyond two windows, that are remembered; the ledger has all of them."""
SAMPLES: Final = 50
"""Calls that are remembered for their trends."""


@attrs.frozen(kw_only=True)
class Thought:
    """A note that is not distilled yet."""

    entry: str
    text: str


@attrs.frozen(kw_only=True)
class Digest:
    """What notes were distilled to.

    Attributes:
        entry: Its id in the ledger.
        text: What it says.
        covers: Ids of the first and the last note in it.
        at: When, microseconds UTC.
    """

    entry: str
    text: str
    covers: tuple[str, str]
    at: int


@attrs.frozen(kw_only=True)
class RecallState:
    """All that a recall remembers; JSON.

    Attributes:
        count: Number of entries made so far.
        thoughts: Notes since the last digest.
        digests: The last ones, oldest first.
        focus: Where the thinking stands.
        reviews: Those not yet taken, oldest first.
        samples: The last calls that were observed.
    """

    count: int = 0
    thoughts: tuple[Thought, ...] = ()
    digests: tuple[Digest, ...] = ()
    focus: Focus = attrs.field(factory=Focus)
    reviews: tuple[Review, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of notes that are not distilled."""
        return sum(len(thought.text.encode()) for thought in self.thoughts)


@attrs.frozen(kw_only=True)
class Distillation:
    """What is to be distilled: the argument of a ``distill`` function, and fit for a step.

    Attributes:
        goal: What the run is after.
        previous: The digest before, or empty.
        notes: What was noted since.
        why: ``notes``, ``bytes``, or in the words of whoever asked.
    """

    goal: str
    previous: str
    notes: tuple[str, ...]
    why: str


Distill = Callable[[Distillation], Branch[Any]]
Steps = Generator[Effect[Any], Any, None]


@attrs.define(eq=False)
class Recall:
    """A run's memory; ``yield from recall(…)`` makes one.

    Attributes:
        state: All that it remembers, for a savepoint.
        distiller: Makes a digest.
        every: After how many notes.
        max_bytes: After how many bytes of notes.
    """

    state: RecallState
    distiller: Distill | None
    every: int
    max_bytes: int

    # ---- writing --------------------------------------------------------------------------------------------------------

    def note(self, text: str, *, kind: str = "note", **fields: Any) -> Steps:
        """Note something, for the ledger and for the next digest; distils when it is time."""
        self._remember(text)
        yield from annotate(text, **{**fields, "kind": kind, "entry": self.state.thoughts[-1].entry})
        if self.distiller is not None:
            if len(self.state.thoughts) >= self.every:
                yield from self.distill("notes")
            elif self.state.size >= self.max_bytes:
                yield from self.distill("bytes")

    def ingest(self, text: str, **fields: Any) -> Steps:
        """Take in raw reasoning, such as what a model thought aloud: kept whole in the ledger, by blob when it is large."""
        yield from self.note(text, kind="raw", **fields)

    def distill(self, why: str = "asked") -> Generator[Effect[Any], Any, str]:
        """Distil what was noted since the last digest, and forget it here; the digest, or the last one when there is nothing new.

        Raises:
            EffectError: No ``distill`` function was given, or it made no text.
        """
        state = self.state
        previous = state.digests[-1].text if state.digests else ""
        if not state.thoughts:
            return previous
        if self.distiller is None:
            raise EffectError("distill without a function", "write recall(distill=summarise) with a step, or with what makes an effect")
        asked = Distillation(goal=state.focus.goal, previous=previous, notes=tuple(thought.text for thought in state.thoughts), why=why)
        reply: Any = yield from self.distiller(asked)
        text = reply if isinstance(reply, str) else getattr(reply, "text", None)
        if not isinstance(text, str):
            raise EffectError(f"distill made {describe(reply)}", "let it answer a text, or something that has .text")
        at = micros_of((yield from now()))
        state = self.state  # a review may have come meanwhile
        covers = (state.thoughts[0].entry, state.thoughts[-1].entry)
        digest = Digest(entry=f"r{state.count + 1}", text=text, covers=covers, at=at)
        done = len(asked.notes)
        self.state = attrs.evolve(
            state, count=state.count + 1, thoughts=state.thoughts[done:], digests=(*state.digests, digest)[-KEPT:]
        )
        yield from annotate(text, kind="digest", entry=digest.entry, covers=list(covers), why=why)
        return text

    def savepoint(
        self,
        name: str,
        *,
        state: Any = NO_DEFAULT,
        goal: str | None = None,
        hypotheses: list[str] | None = None,
        questions: list[str] | None = None,
        decisions: list[str] | None = None,
        next_step: str | None = None,
        **metadata: Any,
    ) -> Steps:
        """A savepoint of reasoning; what is left out stays as the last one said.

        Args:
            name: The place's name.
            state: The workflow's state, or a function that makes it of ``recall.state``.
            goal: What the run is after.
            hypotheses: What it believes.
            questions: What it does not know.
            decisions: What it has decided.
            next_step: What it will do next.
            **metadata: Anything else that is data.
        """
        said = {"goal": goal, "hypotheses": hypotheses, "questions": questions, "decisions": decisions, "next_step": next_step}
        focus = self.state.focus.after(said)
        self.state = attrs.evolve(self.state, focus=focus)
        yield from savepoint(
            name,
            state=state(self.state) if callable(state) else state,
            goal=focus.goal or None,
            hypotheses=list(focus.hypotheses) or None,
            questions=list(focus.questions) or None,
            decisions=list(focus.decisions) or None,
            next_step=focus.next_step or None,
            **metadata,
        )

    def _remember(self, text: str) -> None:
        state = self.state
        thought = Thought(entry=f"r{state.count + 1}", text=text)
        self.state = attrs.evolve(state, count=state.count + 1, thoughts=(*state.thoughts, thought))

    # ---- reading --------------------------------------------------------------------------------------------------------

    def context(self, limit: int = CONTEXT) -> str:
        """What a prompt should begin with, and what an agent that recovers should read."""
        state = self.state
        digest = state.digests[-1].text if state.digests else ""
        to_heed = [review for review in state.reviews if review.status != APPROVED]
        return restore_context(state.focus, digest, [thought.text for thought in state.thoughts], to_heed, limit)

    def take_reviews(self) -> tuple[Review, ...]:
        """Reviews that came since this was last asked; they are heeded now, and leave the context."""
        taken, self.state = self.state.reviews, attrs.evolve(self.state, reviews=())
        return taken

    def observe(self, name: str, size: int, *, attempts: int = 1, seconds: float = 0.0, dollars: float = 0.0) -> None:
        """Remember a call for its trends."""
        sample = Sample(name=name, size=size, attempts=attempts, seconds=seconds, dollars=dollars)
        self.state = attrs.evolve(self.state, samples=(*self.state.samples, sample)[-SAMPLES:])

    def health(self, *, budget: float | None = None, thresholds: Thresholds | None = None) -> Health:
        """How it goes, from the last calls that were observed."""
        return health(self.state.samples, budget=budget, undistilled=self.state.size, thresholds=thresholds)

    def follow(self, found: Health) -> Generator[Effect[Any], Any, tuple[Advice, ...]]:
        """Do what can be done here, that is distil; what is left to the workflow."""
        if any(advice.do in {"distill", "trim"} for advice in found.advice) and self.distiller is not None:
            yield from self.distill("health")
        return tuple(advice for advice in found.advice if advice.do != "distill")

    # ---- reviews come from outside --------------------------------------------------------------------------------------

    def hear(self, said: Any) -> Steps:
        """A review that was not refused."""
        at = micros_of((yield from now()))
        self.state = attrs.evolve(self.state, reviews=(*self.state.reviews, read_review(said, at))[-KEPT:])


def check_review(said: Any) -> None:
    """Refuse what is no review.

    Raises:
        ValueError: It names no entry, or its status is none.
    """
    if not isinstance(said, dict) or not said.get("entry"):
        raise ValueError("a review names the entry that it is about")
    if said.get("status") not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {describe(said.get('status'))}")


def recall(
    state: RecallState | None = None, *, distill: Distill | None = None, every: int = 20, max_bytes: int = 64_000
) -> Generator[Effect[Any], Any, Recall]:
    """Make a run's memory; from here on its entries can be reviewed (``handle.review``).

    Args:
        state: What an earlier one remembered, from the workflow's own state.
        distill: Makes a digest of notes: a step, or a function that makes an effect or a generator of effects; None for none.
        every: Distil after so many notes.
        max_bytes: Distil when notes are as large as this.

    Raises:
        EffectError: (at the yield) A limit that is none.
    """
    if every < 1 or max_bytes < 1:
        raise EffectError(f"recall with every={every!r}, max_bytes={max_bytes!r}", "let both be at least 1")
    made = Recall(state=state or RecallState(), distiller=distill, every=every, max_bytes=max_bytes)
    yield from on_update(REVIEW, made.hear, validator=check_review)
    return made
