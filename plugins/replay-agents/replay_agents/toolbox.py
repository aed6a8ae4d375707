"""What an agent can do: steps, workflows, generators of effects, plain functions (made steps), other agents.

A model's call is data from outside: the tool may not exist, the arguments may not fit, a person may refuse, the tool may fail. All
of that is told to the model, which may do better; only what the author must mend is raised.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import attrs

from replay import BudgetExceeded, DefinitionError, Effect, EffectError, PayloadError, ask, step
from replay.llm import ToolCall, bind, tool_name, tool_schema
from replay_agents.facts import AgentResult, ToolUse

SHOWN = 2_000
"""Characters of arguments that a person is shown."""


@attrs.frozen
class Decision:
    """What a person says of a tool's call.

    Attributes:
        allowed: Whether it may be done.
        note: Why, for the model.
    """

    allowed: bool
    note: str = ""


class Worker(Protocol):
    """Another agent, as a tool sees it."""

    name: str
    about: str

    def run(self, prompt: str) -> Generator[Effect[Any], Any, Any]:
        """Let it work."""


@attrs.frozen
class Tool:
    """One tool.

    Attributes:
        name: What models call it.
        schema: What they are told of it.
        described: The function whose signature reads their arguments.
        perform: Makes the effect, or the generator of effects, that does it.
    """

    name: str
    schema: Any
    described: Any
    perform: Callable[..., Any]


def tool_of(owner: str, given: Any) -> Tool:
    """A tool from what an author gave.

    Raises:
        DefinitionError: It is nothing that can be done.
    """
    if _is_agent(given):
        return _delegate(given)
    if not callable(given):
        problem = f"a tool is {given!r}, which nobody can call"
        raise DefinitionError(f"agent {owner}", problem, "give it steps, workflows, functions, or agents")
    perform = given
    if inspect.isfunction(given) and not inspect.isgeneratorfunction(given):
        perform = step(name=f"{owner}.{given.__name__}")(given)
    return Tool(tool_name(given), tool_schema(given), given, perform)


def name_of(given: Any) -> str:
    """What models call a tool."""
    return str(given.name) if _is_agent(given) else tool_name(given)


def _is_agent(given: Any) -> bool:
    return hasattr(given, "run") and hasattr(given, "about")


def _delegate(agent: Worker) -> Tool:
    def work(prompt: str) -> Generator[Effect[Any], Any, Any]:
        return (yield from agent.run(prompt))

    work.__name__, work.__doc__ = agent.name, agent.about
    return Tool(agent.name, tool_schema(work), work, work)


class Toolbox:
    """The tools of one agent.

    Args:
        owner: The agent's name.
        tools: What its author gave.
        approve: Tools that a person must allow, by name or as they were given.
        assignee: Who is asked.
        targets: Agents that it can hand over to, by the name of the tool that does.

    Raises:
        DefinitionError: Two tools of one name, or an approval of one that is not there.
    """

    def __init__(self, owner: str, tools: Sequence[Any], approve: Sequence[Any], assignee: str, targets: Sequence[str]) -> None:
        self.owner = owner
        self.assignee = assignee
        self.tools: dict[str, Tool] = {}
        for tool in (tool_of(owner, given) for given in tools):
            if self.tools.setdefault(tool.name, tool) is not tool or tool.name in targets:
                raise DefinitionError(f"agent {owner}", f"two tools are called {tool.name!r}", "give one of them name=…")
        self.approve = {given if isinstance(given, str) else name_of(given) for given in approve}
        if missing := self.approve - self.tools.keys():
            raise DefinitionError(f"agent {owner}", f"approve= names {sorted(missing)}, no tools", f"it has {list(self.tools)}")

    def find(self, call: ToolCall) -> tuple[Tool, dict[str, Any]] | ToolUse:
        """The tool of a call, and its arguments; or what to tell the model."""
        tool = self.tools.get(call.name)
        if tool is None:
            return self.mistake(call, f"There is no tool {call.name!r}. There are: {', '.join(self.tools) or 'none'}.")
        try:
            return tool, bind(tool.described, call)
        except PayloadError as unfit:
            return self.mistake(call, f"The arguments do not fit: {unfit}")

    def changed(self, tool: Tool, call: ToolCall, guard: str, value: Any) -> dict[str, Any] | ToolUse:
        """The arguments that a guard wants instead; JSON from a model that judges, which may be wrong about them.

        Raises:
            EffectError: The author's guard gave something else than arguments by name.
        """
        if isinstance(value, dict):
            return value
        if not isinstance(value, str):
            raise EffectError(f"guard {guard} changed the arguments of {tool.name} to {value!r}", "give all of them by name, as a dict")
        try:
            return bind(tool.described, attrs.evolve(call, arguments=value))
        except PayloadError as unfit:
            answer = f"Guard {guard} changed this call to one that does not fit: {unfit}"
            return ToolUse(agent=self.owner, call=call, answer=answer, done=False)

    def mistake(self, call: ToolCall, why: str) -> ToolUse:
        """What the model is told that called wrongly."""
        return ToolUse(agent=self.owner, call=call, answer=why, done=False, mistake=True)

    def do(self, call: ToolCall, tool: Tool, arguments: dict[str, Any]) -> Generator[Effect[Any], Any, ToolUse]:
        """Do it, when a person who must be asked allows it; a failure is an answer, too.

        Raises:
            BudgetExceeded: It does not fit into a budget.
            EffectError: The author wrote a tool that cannot be.
        """
        if tool.name in self.approve:
            decision = yield from self._ask(tool, arguments)
            if not decision.allowed:
                answer = f"A person refused this call{f': {decision.note}' if decision.note else '.'}"
                return ToolUse(agent=self.owner, call=call, answer=answer, done=False)
        try:
            value = yield from tool.perform(**arguments)
        except (BudgetExceeded, DefinitionError, EffectError):
            raise
        except Exception as error:  # noqa: BLE001 - border: whatever a tool raises, the model is told and may do better
            return ToolUse(agent=self.owner, call=call, answer=f"The tool failed: {error}", done=False)
        if not isinstance(value, AgentResult):
            return ToolUse(agent=self.owner, call=call, answer=value)
        said = value.text if value.output is None else value.output
        return ToolUse(agent=self.owner, call=call, answer=said, work=value)

    def _ask(self, tool: Tool, arguments: dict[str, Any]) -> Generator[Effect[Any], Any, Decision]:
        shown = json.dumps(arguments, ensure_ascii=False, default=str)[:SHOWN]
        decision: Decision = yield from ask(
            f"May agent {self.owner} call {tool.name} with {shown}?", form=Decision, assignee=self.assignee
        )
        return decision
