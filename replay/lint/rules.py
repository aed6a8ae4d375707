"""The rules of ``replay check``: what each finds, why it matters, and what to write instead.

Rule 1: a code is for ever. It stands in people's ``# replay: allow[...]`` comments; a rule that is dropped leaves a gap.
Rule 2: hundreds say the family. 1xx: the workflow asks the world without an effect. 2xx: it leans on what another process
does not have. 3xx: it breaks the agreement between a generator and its interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen
class Rule:
    """One thing that ``replay check`` looks for.

    Attributes:
        code: Stable code, such as ``RPL101``.
        name: Stable short name, such as ``clock``.
        reason: Why it is wrong, in one line.
        advice: What to write instead.
    """

    code: str
    name: str
    reason: str
    advice: str


UNREADABLE: Final = "RPL000"
CLOCK: Final = "RPL101"
RANDOMNESS: Final = "RPL102"
ENVIRONMENT: Final = "RPL103"
IO: Final = "RPL104"
OUTPUT: Final = "RPL105"
THREADS: Final = "RPL106"
ASYNC: Final = "RPL107"
SET_ORDER: Final = "RPL201"
HASH: Final = "RPL202"
MUTABLE_GLOBAL: Final = "RPL203"
NOT_YIELDED: Final = "RPL301"
NO_GENERATOR: Final = "RPL302"
NO_EFFECT: Final = "RPL303"
SWALLOWED_EXIT: Final = "RPL304"
RUN_DIRECTLY: Final = "RPL305"

_TABLE: Final = (
    Rule(
        UNREADABLE,
        "unreadable",
        "A file that cannot be read or parsed was not checked at all.",
        "make it valid Python, or leave it out of the check",
    ),
    Rule(
        CLOCK,
        "clock",
        "A replay happens later than the first run, so the machine's clock shows it another time.",
        "write `yield from now()` for the time and `yield from sleep(seconds)` to wait",
    ),
    Rule(
        RANDOMNESS,
        "randomness",
        "A replay draws other random values than the first run did.",
        "write `yield from random()` or `yield from uuid()`: seeded by the run, the same in every replay",
    ),
    Rule(
        ENVIRONMENT,
        "environment",
        "A replay may happen on another machine, with other variables, arguments and names.",
        "pass it in as an argument of the workflow, or read it in a @step, whose answer is journaled",
    ),
    Rule(
        IO,
        "io",
        "Outside of a step, I/O is done again by every replay and may answer differently.",
        "move it into a @step and write `yield from` the step's call",
    ),
    Rule(
        OUTPUT,
        "output",
        "Lines that plain code prints or logs come again with every replay.",
        "write `yield from log(message)`, whose lines appear once, or print in a @step",
    ),
    Rule(
        THREADS,
        "threads",
        "Threads, processes and locks go on in an order that no journal knows.",
        "use `gather`, `race` or `spawn` for work side by side, and a @step for work that needs threads",
    ),
    Rule(
        ASYNC,
        "async",
        "A workflow is a plain generator; an event loop decides an order that no journal knows.",
        "write `def` and `yield from`; what must await goes into an `async def` @step",
    ),
    Rule(
        SET_ORDER,
        "set-order",
        "The order of a set changes from process to process, and with it the order of commands.",
        "iterate over `sorted(...)` of it, or keep a list or a dict, which remember their order",
    ),
    Rule(
        HASH,
        "hash",
        "hash() and id() differ from process to process.",
        "compare or key by the value itself, or use a digest such as `hashlib.sha256` or `zlib.crc32`",
    ),
    Rule(
        MUTABLE_GLOBAL,
        "mutable-global",
        "What a module keeps in memory is shared by all runs and is gone, or different, in the process that replays.",
        "keep it in local variables or pass it as an argument; for people outside, `yield from set_state(key, value)`",
    ),
    Rule(
        NOT_YIELDED,
        "effect-not-yielded",
        "Building an effect runs nothing; only yielding it does, so this does not happen and its result is not known.",
        "write `yield from` before it, or hand it to `gather`, `race` or `spawn`",
    ),
    Rule(
        NO_GENERATOR,
        "not-a-generator",
        "A workflow is a generator of effects; without a yield there is nothing to make durable.",
        "yield an effect, or make it a plain function or a @step",
    ),
    Rule(
        NO_EFFECT,
        "yields-no-effect",
        "Only effects can be yielded: the interpreter refuses anything else at this line.",
        "yield an effect: a step's call, sleep(...), signal(...), gather(...); a generator is used with `yield from`",
    ),
    Rule(
        SWALLOWED_EXIT,
        "swallowed-exit",
        "When a run is evicted or cancelled, GeneratorExit or Cancelled comes out of the yield; whoever keeps it breaks both.",
        "catch `Exception`, or end the handler with `raise`; clean up in `finally`",
    ),
    Rule(
        RUN_DIRECTLY,
        "run-directly",
        "`.fn` is the plain function: it runs at once, unrecorded, and again in every replay.",
        "write `yield from` the step's call; `.fn` is for unit tests",
    ),
)

RULES: Final[Mapping[str, Rule]] = {rule.code: rule for rule in _TABLE}
"""Every rule by its code, in the order of the codes."""
