"""Durable agents: a loop over ``llm_call`` and tools, made of public effects only.

An ``Agent`` is a value. ``yield from agent.run("…")`` lets it work inside any workflow; ``agent.as_workflow()`` makes a workflow of it.
"""

from replay_agents.agent import Agent
from replay_agents.errors import AgentError, GuardFailed
from replay_agents.facts import AgentResult, Conversation, Progress, ToolUse
from replay_agents.guards import Again, Change, Fail, Guard, guard_input, guard_output, guard_tool
from replay_agents.loop import TOPIC, Hooks
from replay_agents.memory import Memory
from replay_agents.stops import cost_reached, text_found, tokens_reached, tool_done, turns_reached
from replay_agents.toolbox import Decision

__all__ = [
    "TOPIC",
    "Again",
    "Agent",
    "AgentError",
    "AgentResult",
    "Change",
    "Conversation",
    "Decision",
    "Fail",
    "Guard",
    "GuardFailed",
    "Hooks",
    "Memory",
    "Progress",
    "ToolUse",
    "cost_reached",
    "guard_input",
    "guard_output",
    "guard_tool",
    "text_found",
    "tokens_reached",
    "tool_done",
    "turns_reached",
]
