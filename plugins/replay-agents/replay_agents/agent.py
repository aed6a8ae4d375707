"""An agent, as a value: who it is, what it can do, when it stops, what watches it."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, Generic, cast

import attrs
from typing_extensions import TypeVar

from replay import DefinitionError, Effect, Workflow, WorkflowFunction, workflow
from replay.llm import response_of
from replay_agents.errors import AgentError
from replay_agents.facts import AgentResult, Conversation, Kept, Progress
from replay_agents.guards import Guard
from replay_agents.loop import Hooks, Loop
from replay_agents.memory import Memory
from replay_agents.stops import Stop, turns_reached
from replay_agents.toolbox import Toolbox

T = TypeVar("T", default=str)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")
HAND_OVER: Final = "hand_over_to_"
"""What the tool of a hand-off begins with; the other agent's name follows."""
TAKEN: Final = frozenset({"messages", "model", "name", "response_type", "stream", "system", "tools"})
"""What an agent says to ``llm_call`` itself."""


@attrs.frozen(kw_only=True, eq=False)
class Agent(Generic[T]):
    """Somebody who works with a model and tools until there is an answer.

    Attributes:
        name: Letters, digits, ``_`` and ``-``; it stands in journals, events, and the tools of others.
        model: Which model, or several to be asked in order when one fails.
        instructions: The system prompt.
        about: What it is good for, for agents that may call it or hand over to it.
        tools: Steps, workflows, generator functions, plain functions (they are made steps), other agents.
        response_type: What its answer must be; text without.
        stop: When to stop before there is an answer.
        max_turns: Replies after which it stops at the latest.
        guards: What looks at input, output and calls of tools.
        hooks: What is told of its work.
        memory: When its conversation is made shorter; None for never.
        handoffs: Agents that it may hand the conversation over to.
        approve: Tools that a person must allow each time.
        assignee: Who is asked; anyone may.
        parallel: How many tools of one reply are done at once.
        stream: Whether tokens are published as they come, see ``replay.llm.tokens``.
        events: Whether turns, tools and the rest are published to topic ``agent:RUN``.
        settings: Temperature and the rest, passed on.
    """

    name: str
    model: str | Sequence[str]
    instructions: str = ""
    about: str = ""
    tools: Sequence[Any] = ()
    response_type: type[T] | None = None
    stop: Sequence[Stop] = ()
    max_turns: int = 25
    guards: Sequence[Guard] = ()
    hooks: Hooks = attrs.field(factory=Hooks)
    memory: Memory | None = attrs.field(factory=Memory)
    handoffs: Sequence[Agent[Any]] = ()
    approve: Sequence[Any] = ()
    assignee: str = ""
    parallel: int = 8
    stream: bool = False
    events: bool = False
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    toolbox: Toolbox = attrs.field(init=False, repr=False)
    targets: dict[str, Agent[Any]] = attrs.field(init=False, repr=False)
    schemas: list[Any] = attrs.field(init=False, repr=False)
    stops: tuple[Stop, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._check()
        targets = {f"{HAND_OVER}{other.name}": other for other in self.handoffs}
        box = Toolbox(self.name, self.tools, self.approve, self.assignee, list(targets))
        schemas = [tool.schema for tool in box.tools.values()] + [_handing(name, other) for name, other in targets.items()]
        object.__setattr__(self, "toolbox", box)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "schemas", schemas)
        object.__setattr__(self, "stops", (*self.stop, turns_reached(self.max_turns)))

    def _check(self) -> None:
        """Tell at once what would be found out in the middle of a run.

        Raises:
            DefinitionError: It cannot be.
            PayloadError: Its response type is no data.
        """
        if not _NAME.fullmatch(self.name):
            raise DefinitionError(
                f"agent {self.name!r}", "its name has other characters, or none", "use letters, digits, _ and -, 48 at most"
            )
        if self.max_turns < 1 or self.parallel < 1:
            raise DefinitionError(f"agent {self.name}", "max_turns and parallel must be positive", "leave them out")
        models: Any = [self.model] if isinstance(self.model, str) else self.model
        for what, listed, fits, wanted in (
            ("model", models, _is_model, 'one, such as "gpt-4o-mini", or several'),
            ("tools", self.tools, bool, "a list of steps, workflows, functions or agents"),
            ("guards", self.guards, _is_guard, "a list of guard_input(…), guard_output(…) and guard_tool(…)"),
            ("stop", self.stop, callable, "a list of conditions, such as tokens_reached(50_000)"),
            ("handoffs", self.handoffs, _is_agent, "a list of agents"),
        ):
            if not isinstance(listed, list | tuple) or not all(map(fits, listed)) or (what == "model" and not listed):
                raise DefinitionError(f"agent {self.name}", f"{what}= is {listed!r}", f"give it {wanted}")
        if taken := sorted(TAKEN & self.settings.keys()):
            raise DefinitionError(f"agent {self.name}", f"settings= holds {taken[0]!r}", "an agent has fields of its own for that")
        if self.response_type is not None:
            response_of(self.response_type)

    def run(self, prompt: str, *, conversation: Conversation | None = None) -> Generator[Effect[Any], Any, AgentResult[T]]:
        """Work on a prompt, inside a workflow: ``result = yield from agent.run("…")``.

        Args:
            prompt: What is asked.
            conversation: What was said before; it is added to.

        Raises:
            GuardFailed: A guard refused.
            AgentError: The model calls wrongly again and again.
            BudgetExceeded: A budget around it does not allow the next call.
            ProviderFailed: No model answered.
            ReplyInvalid: The answer did not fit ``response_type``, twice.
        """
        return Loop(self, Conversation() if conversation is None else conversation, Progress(), saves=False).begin(prompt)

    def as_workflow(self, *, name: str = "", **options: Any) -> WorkflowFunction[[str], AgentResult[T]]:
        """A workflow of one parameter, the prompt, that answers with an ``AgentResult``.

        It takes a savepoint whenever its conversation was made shorter, so it recovers in the time of what came after.

        Args:
            name: The workflow's name; ``agent.NAME`` by default.
            **options: Of ``@workflow``.
        """

        def work(prompt: str, state: Kept | None = None) -> Workflow[AgentResult[Any]]:
            if state is None:
                return (yield from Loop(self, Conversation(), Progress(), saves=True).begin(prompt))
            conversation = Conversation()
            conversation.replace(state.messages)
            loop = Loop(self, conversation, state.progress, saves=True)
            loop.agent = team.get(state.agent, self)
            if loop.agent.name != state.agent:
                raise AgentError(self.name, f"it was {state.agent}'s turn, who is no longer in its team ({', '.join(team)})")
            return (yield from loop.go_on())

        team = self.team()
        answers = {agent.response_type or str for agent in team.values()}
        kind: Any = functools.reduce(operator.or_, sorted(answers, key=str))
        work.__annotations__["return"] = Workflow[AgentResult[kind]]
        work.__annotations__ |= {"prompt": str, "state": Kept | None}
        work.__doc__ = self.about or f"Agent {self.name}."
        return cast("WorkflowFunction[[str], AgentResult[T]]", workflow(name=name or f"agent.{self.name}", **options)(work))

    def team(self) -> dict[str, Agent[Any]]:
        """Itself and all that the conversation may be handed over to, by name.

        Raises:
            DefinitionError: Two of them share a name.
        """
        found: dict[str, Agent[Any]] = {}
        waiting: list[Agent[Any]] = [self]
        while waiting:
            agent = waiting.pop()
            if found.setdefault(agent.name, agent) is not agent:
                raise DefinitionError(f"agent {agent.name}", "two agents of one team share this name", "rename one")
            waiting += [other for other in agent.handoffs if found.get(other.name) is not other]
        return found


def _is_model(given: Any) -> bool:
    return isinstance(given, str) and bool(given.strip("/"))


def _is_guard(given: Any) -> bool:
    return isinstance(given, Guard)


def _is_agent(given: Any) -> bool:
    return isinstance(given, Agent)


def _handing(name: str, other: Agent[Any]) -> dict[str, Any]:
    about = f"Hand the conversation over to {other.name}. {other.about}".strip()
    parameters = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": []}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}
