"""Write conformance cases: ``python -m tests.conformance.record [--new] [NAME …]``.

Without names, every scenario that has no file yet is recorded. A file that exists is history: it is never written again, unless its
name is given with ``--new``, which is only right before any release has read it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.conformance.cases import CASES, path_of, text_of
from tests.conformance.scenarios import SCENARIOS
from tests.interpreter.world import close_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what is asked for; 1 when something was refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.record", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases to record; default: those without a file")
    parser.add_argument("--new", action="store_true", help="write files anew that exist")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; write it in scenarios.py")
    wanted = given.names or [name for name in SCENARIOS if not path_of(name).exists()]
    return max([write(name, anew=given.new) for name in wanted], default=0)


def write(name: str, *, anew: bool) -> int:
    """Record one case; 1 when its file exists and may not be written."""
    path = path_of(name)
    text = text_of(SCENARIOS[name].record())
    close_all()
    if path.exists() and not anew:
        if path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{name}: the file exists and says something else; --new writes it anew\n")
            return 1
        return 0
    CASES.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{name}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
