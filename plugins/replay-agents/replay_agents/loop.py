"""The loop: ask the model, do what it wants done, tell it what came of it, until it answers or is stopped.

Rule 1: nothing here but public effects. A crash at any place loses nothing: the same generator is driven again.
Rule 2: the tools that a reply asks for are done side by side, and the model hears of them in the order in which it asked.
Rule 3: a model's mistakes are told to it, and counted; an author's are raised.
Rule 4: a savepoint is taken where the conversation was made shorter, and nowhere else: there its state is small, and recovery begins
there. Between two of them each reply is journaled once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from replay import Effect, LLMResult, PayloadError, gather, info, llm_call, publish, savepoint
from replay.llm import ToolCall, response_of, tool_message, user
from replay_agents.errors import AgentError
from replay_agents.facts import AgentResult, Conversation, Kept, Progress, ToolUse
from replay_agents.guards import Again, Change, Fail, Guard, Place, refused
from replay_agents.stops import reason

if TYPE_CHECKING:
    from replay_agents.agent import Agent

TOPIC = "agent:"
"""What the topic of a run's agents begins with; the run's id follows."""
AGAIN = 3
"""How often in a row a reply is asked for anew because a guard wants it."""
MISTAKES = 10
"""Wrong calls in a row after which an agent gives up."""
Hook = Callable[..., Any]


@attrs.frozen(kw_only=True)
class Hooks:
    """What is told of an agent's work: pure functions, or generators of effects.

    Attributes:
        start: ``(agent name, prompt)``.
        turn: ``(agent name, reply)``.
        tool: ``(tool use)``.
        end: ``(result)``.
    """

    start: Hook | None = None
    turn: Hook | None = None
    tool: Hook | None = None
    end: Hook | None = None


class Loop:
    """One agent's work on one prompt.

    Args:
        agent: Whose turn it is; another one's after a hand-off.
        conversation: What was said before, and will be said.
        progress: How far it has come.
        saves: Whether it is a workflow's root and takes savepoints.
    """

    def __init__(self, agent: Agent[Any], conversation: Conversation, progress: Progress, *, saves: bool) -> None:
        self.first = agent
        self.agent = agent
        self.conversation = conversation
        self.progress = progress
        self.saves = saves

    def begin(self, prompt: str) -> Generator[Effect[Any], Any, AgentResult[Any]]:
        """Take a prompt in, and work on it.

        Raises:
            GuardFailed: A guard refused.
            AgentError: The model calls wrongly again and again.
            BudgetExceeded: A budget around it does not allow the next call.
        """
        prompt = yield from self._take_in(prompt)
        yield from self._call(self.agent.hooks.start, self.agent.name, prompt)
        yield from self._tell("start", prompt=prompt)
        self.conversation.add(user(prompt))
        return (yield from self.go_on())

    def go_on(self) -> Generator[Effect[Any], Any, AgentResult[Any]]:
        """Turn after turn, to the end; raises what ``begin`` raises."""
        result: AgentResult[Any] | None = None
        while result is None:
            why = reason(self.first.stops, self.progress) if self.progress.turns else ""
            result = self._result(None, why) if why else (yield from self._turn())
        yield from self._tell("end", stopped=result.stopped, text=result.text)
        yield from self._call(self.agent.hooks.end, result)
        return result

    def _turn(self) -> Generator[Effect[Any], Any, AgentResult[Any] | None]:
        agent, conversation = self.agent, self.conversation
        yield from self._compact()
        reply: LLMResult[Any] = yield from llm_call(
            conversation.messages,
            model=agent.model,
            system=agent.instructions or None,
            tools=agent.schemas,
            response_type=agent.response_type,
            stream=agent.stream,
            name=agent.name,
            **agent.settings,
        )
        self.progress.turns += 1
        self.progress.count(reply)
        self.progress.text = reply.text or self.progress.text
        conversation.add(reply.message)
        yield from self._call(agent.hooks.turn, agent.name, reply)
        yield from self._tell("turn", text=reply.text, tools=[call.name for call in reply.tool_calls])
        if reply.tool_calls:
            self.progress.anew = 0
            yield from self._use(reply.tool_calls)
            return None
        return (yield from self._answer(reply))

    # ---- tools --------------------------------------------------------------------------------------------------------------

    def _use(self, calls: Sequence[ToolCall]) -> Generator[Effect[Any], Any, None]:
        """Do what the model asked for, side by side, and tell it."""
        targets = self.agent.targets
        successor = next((targets[call.name] for call in calls if call.name in targets), None)
        uses: tuple[ToolUse, ...] = yield from gather(*[self._watched(call, successor) for call in calls], limit=self.agent.parallel)
        for use in uses:
            self.conversation.add(tool_message(use.call, use.answer))
            self.progress.note(use)
            yield from self._call(self.agent.hooks.tool, use)
        if (wrong := self.progress.wrong) >= MISTAKES:
            raise AgentError(self.agent.name, f"the model called wrongly {wrong} times in a row; the last time: {uses[-1].answer}")
        if successor is not None:
            yield from self._tell("handoff", to=successor.name)
            self.agent = successor

    def _watched(self, call: ToolCall, successor: Agent[Any] | None) -> Generator[Effect[Any], Any, ToolUse]:
        """One call; whoever watches hears of it as soon as it has ended, whatever the others do."""
        use = yield from self._one(call, successor)
        yield from self._tell("tool", name=call.name, call=call.id, done=use.done)
        return use

    def _one(self, call: ToolCall, successor: Agent[Any] | None) -> Generator[Effect[Any], Any, ToolUse]:
        box = self.agent.toolbox
        target = self.agent.targets.get(call.name)
        if target is not None and successor is not None:
            if target is not successor:
                return box.mistake(call, f"Only one agent can go on from here, and that is {successor.name}.")
            return ToolUse(agent=box.owner, call=call, answer=f"{target.name} goes on from here.")
        found = box.find(call)
        if isinstance(found, ToolUse):
            return found
        tool, arguments = found
        for guard in self._guards("tool"):
            verdict = yield from self._judge(guard, tool.name, arguments)
            if isinstance(verdict, Again):
                return box.mistake(call, verdict.feedback)
            if isinstance(verdict, Change):
                changed = box.changed(tool, call, guard.name, verdict.value)
                if isinstance(changed, ToolUse):
                    return changed
                arguments = changed
        return (yield from box.do(call, tool, arguments))

    # ---- what goes in and what comes out ------------------------------------------------------------------------------------

    def _take_in(self, prompt: str) -> Generator[Effect[Any], Any, str]:
        for guard in self._guards("input"):
            verdict = yield from self._judge(guard, prompt)
            if isinstance(verdict, Again):
                raise refused(self.agent.name, guard, verdict.feedback)
            if isinstance(verdict, Change):
                prompt = verdict.value
        return prompt

    def _answer(self, reply: LLMResult[Any]) -> Generator[Effect[Any], Any, AgentResult[Any] | None]:
        """The answer, as guards let it pass; None when it is asked for anew."""
        kind = None if self.agent.response_type is None else response_of(self.agent.response_type)
        text = reply.text
        output: Any = text if kind is None else reply.parsed
        for guard in self._guards("output"):
            verdict = yield from self._judge(guard, text)
            if isinstance(verdict, Change):
                output = verdict.value
                try:
                    if kind is not None:  # a model that judges gives it as text
                        output = kind.read(output) if isinstance(guard.check, str) else output
                    text = output if kind is None else kind.spell(output)
                except PayloadError as unfit:
                    verdict = Again(f"Guard {guard.name} changed the answer to one that does not fit: {unfit}")
            if isinstance(verdict, Again):
                self.progress.anew += 1
                if self.progress.anew > AGAIN:
                    raise refused(self.agent.name, guard, f"after {AGAIN} more tries: {verdict.feedback}")
                self.conversation.add(user(verdict.feedback))
                return None
        self.progress.text = text
        return self._result(output, "answered")

    def _result(self, output: Any, stopped: str) -> AgentResult[Any]:
        progress = self.progress
        return AgentResult(
            output=output,
            text=progress.text,
            agent=self.agent.name,
            stopped=stopped,
            turns=progress.turns,
            tokens=progress.tokens,
            cost=progress.cost,
            mistakes=progress.mistakes,
            tools=list(progress.done),
        )

    def _guards(self, place: Place) -> list[Guard]:
        return [guard for guard in self.agent.guards if guard.place == place]

    def _judge(self, guard: Guard, *said: Any) -> Generator[Effect[Any], Any, Change | Again | None]:
        verdict = yield from guard.judge(self.agent.model, self.progress.count, *said)
        if isinstance(verdict, Fail):
            raise refused(self.agent.name, guard, verdict.reason)
        return verdict

    # ---- memory, hooks, events ------------------------------------------------------------------------------------------------

    def _compact(self) -> Generator[Effect[Any], Any, None]:
        memory, conversation = self.agent.memory, self.conversation
        if memory is None or not memory.is_full(conversation):
            return
        before = conversation.tokens
        yield from memory.compact(conversation, self.agent.model, self.progress.count)
        yield from self._tell("memory", before=before, after=conversation.tokens)
        if self.saves:
            kept = Kept(self.agent.name, list(conversation.messages), attrs.evolve(self.progress, done=list(self.progress.done)))
            yield from savepoint("memory", state=kept)

    def _call(self, hook: Hook | None, *facts: Any) -> Generator[Effect[Any], Any, None]:
        made = None if hook is None else hook(*facts)
        if isinstance(made, Generator | Effect):
            yield from made

    def _tell(self, kind: str, **facts: Any) -> Generator[Effect[Any], Any, None]:
        """An event for whoever watches the run."""
        if self.first.events:
            about = yield from info()
            yield from publish(f"{TOPIC}{about.run_id}", {"kind": kind, "agent": self.agent.name, **facts})
