"""Runs that lose one worker after the other: how that is noticed, told, and ended.

Rule 1: the store counts. ``recoveries`` grows when a lease ended without being given back, and begins anew with every commit that
takes the run on; so only workers that died in a row without having moved the run are counted, and a healthy run may lose any number.
Rule 2: before a run that lost a worker goes on, what it is about to do is written into its index entry. Whoever finds that entry
after the next death needs not drive the run to tell what killed them: its code may be what did.
Rule 3: beyond the limit a run is set aside: stuck, with the reason, with no moment at which it may be claimed. ``resume`` puts it
back and its count begins anew; ``cancel`` and ``terminate`` reach it too. It keeps its place: whoever waits for it, such as the
parent of a remote step, goes on waiting, for what is only set aside may still be answered.
"""

from __future__ import annotations

from typing import Final

from replay.engine.live import Live
from replay.model.effects import Step
from replay.model.events import Event
from replay.store.contract import Claimed

SHOWN: Final = 5
"""Steps that are named at most."""
PUTS_BACK: Final = frozenset({"resume", "cancel", "terminate"})
"""Messages after which a run that was set aside is driven again: with ``cancel`` the pending steps are withdrawn, not begun."""


def is_beyond(claimed: Claimed, limit: int) -> bool:
    """Whether a run has lost more workers in a row than allowed, and nobody wants it driven again."""
    return claimed.run.recoveries > limit and not any(message.kind in PUTS_BACK for message in claimed.mail)


def under_way(live: Live) -> str:
    """What a run is about to do here, for whoever finds this worker dead."""
    steps = [
        command for command in live.interp.pending.values() if isinstance(command.effect, Step) and not live.is_remote(command.effect)
    ]
    named = [f"step {command.effect.name} (command {command.id}{_at(live.lines.get(command.id, ''))})" for command in steps[:SHOWN]]
    more = [f"{len(steps) - SHOWN:,} more"] if len(steps) > SHOWN else []
    return f"under way on {live.worker}: {', '.join([*named, *more]) or 'no step, only its own code'}"


def reason(claimed: Claimed) -> str:
    """Why a run is set aside; for one that was set aside before, what was said then."""
    run, last = claimed.run, claimed.journal[-1]
    if run.status == "stuck" and run.note:
        return run.note
    doing = run.note or "the last did not come as far as to say what was under way: the workflow's own code may be what ends them"
    return (
        f"set aside: {run.recoveries} workers in a row died while they held it, since event {_named(last)}; {doing}. "
        f"Mend what ends them, then `replay resume {run.key.id}` puts it back"
    )


def _at(line: str) -> str:
    return f", {line}" if line else ""


def _named(event: Event) -> str:
    return f"#{event.seq} ({event.kind} {event.name})" if event.name else f"#{event.seq} ({event.kind})"
