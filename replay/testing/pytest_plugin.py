"""What pytest loads where replay is installed: fixtures, two options, a marker.

Rule 1: who does not use it does not notice it: beyond ``import replay`` nothing loads before a fixture or an option asks for it.
Rule 2: fixtures are built on each other, so overriding one changes those above: clock, store, world.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from replay.client.whatif import WhatIf
    from replay.hooks import Store
    from replay.testing.clock import VirtualClock
    from replay.testing.journals import Recorded
    from replay.testing.llm import LLMServer
    from replay.testing.world import World

MARKER = "replay(**options): options of the World that the fixture replay_world makes, such as seed=, workers=, queues="

# A subclass of the suite shall show both sides of a failed comparison, as tests of one's own do.
pytest.register_assert_rewrite("replay.testing.store_contract", "replay.testing.store_suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options."""
    group = parser.getgroup("replay", "durable workflows")
    group.addoption("--replay-seed", type=int, default=None, metavar="N", help="seed of replay_world and replay_seed (default: 0)")
    group.addoption(
        "--replay-journals",
        action="append",
        default=[],
        metavar="FOLDER",
        help="replay every recorded journal of this folder through today's code, each as a test; may be given again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and the folders of journals places to collect from."""
    config.addinivalue_line("markers", MARKER)
    for folder in config.getoption("--replay-journals"):
        path = config.invocation_params.dir / folder
        if not path.is_dir():
            raise pytest.UsageError(f"--replay-journals: {folder} is no folder")
        if str(path) not in config.args:  # a process of pytest-xdist is given its controller's
            config.args.append(str(path))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A recorded journal is a file of one test."""
    folders = parent.config.getoption("--replay-journals")
    if not folders or file_path.suffix != ".jsonl":
        return None
    homes = [(parent.config.invocation_params.dir / folder).resolve() for folder in folders]
    if not any(home in file_path.resolve().parents for home in homes):
        return None
    return JournalFile.from_parent(parent, path=file_path)


class JournalFile(pytest.File):
    """A recorded journal."""

    def collect(self) -> Iterable[pytest.Item]:
        """One test: driving it through today's code."""
        yield JournalItem.from_parent(self, name="fits")


class JournalMisfit(Exception):
    """A recorded journal does not fit today's code."""


class JournalItem(pytest.Item):
    """Drives a recorded journal through today's code, without acting."""

    def runtest(self) -> None:
        """Drive it.

        Raises:
            JournalMisfit: The code does not fit, is not imported, or the file is damaged.
        """
        from replay.testing.journals import replay_file

        found: Recorded = replay_file(self.path)
        if found.error is not None:
            raise JournalMisfit(f"{self.path}: {type(found.error).__name__}: {found.error}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report as the error says it; a stack of the test kit's own tells nothing."""
        if isinstance(excinfo.value, JournalMisfit):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is, and what it is called."""
        return self.path, None, f"journal {self.path.name}"


@pytest.fixture
def replay_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: of ``--replay-seed``, of the marker, or 0."""
    given: int | None = request.config.getoption("--replay-seed")
    return given if given is not None else int(_options(request).get("seed", 0))


@pytest.fixture
def replay_clock() -> VirtualClock:
    """A clock that stands still until it is told to go."""
    from replay.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def replay_store(replay_clock: VirtualClock) -> Iterator[Store]:
    """A fresh store that goes by ``replay_clock``: in memory; override it to test over another one."""
    from replay.hooks import open_store

    store = open_store("memory://", clock=replay_clock)
    yield store
    store.close()


@pytest.fixture
def replay_world(request: pytest.FixtureRequest, replay_seed: int, replay_store: Store, replay_clock: VirtualClock) -> Iterator[World]:
    """A world over ``replay_store``, made with the options of ``@pytest.mark.replay(…)``."""
    from replay.testing.world import World

    options = _options(request) | {"seed": replay_seed}
    with World(store=replay_store, clock=replay_clock, **options) as world:
        yield world


@pytest.fixture
def replay_llm_server() -> Iterator[Callable[..., LLMServer]]:
    """Opens servers that speak OpenAI's chat completions as a script tells: ``replay_llm_server(["Hello."])``."""
    from replay.testing.llm import LLMServer

    with contextlib.ExitStack() as opened:
        yield lambda script: opened.enter_context(LLMServer(script))


@pytest.fixture
def whatif() -> Callable[..., WhatIf]:
    """``replay.whatif``: recorded runs again with other answers; ``whatif("journals", live=["classify"]).assert_same()``."""
    from replay.client.whatif import whatif as run_again

    return run_again


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The marker's options, those nearest to the test last."""
    found: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("replay"))):
        found |= marker.kwargs
    return found
