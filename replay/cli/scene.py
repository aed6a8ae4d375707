"""What every verb shares: settings, a client, the user's modules, and where to print.

Rule 1: everything is made when it is first asked for: a verb that only reads loads no engine, one that draws nothing loads no rich.
Rule 2: importing the user's modules is running the user's code: what it raises is told as the user's error, with its place.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.authoring.definitions import WorkflowFunction
from replay.cli.screen import Screen
from replay.cli.settings import Settings, settings_here
from replay.errors import InvalidRequest, ReplayError, UnknownName

if TYPE_CHECKING:
    from replay.client import Client, Engine, Handle
    from replay.model.effects import WorkflowSpec
    from replay.store.contract import Run


class Scene:
    """One call of the program.

    Attributes:
        given: What options said of the settings, by key.
        as_json: Whether the output is for programs.
        debug: Whether errors come with their tracebacks.
    """

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.as_json = False
        self.debug = False

    @functools.cached_property
    def settings(self) -> Settings:
        """Options, environment and pyproject.toml together.

        Raises:
            InvalidRequest: One of them does not fit.
        """
        return settings_here(self.given)

    @functools.cached_property
    def screen(self) -> Screen:
        """Where tables and charts are drawn."""
        return Screen()

    # ---- output ---------------------------------------------------------------------------------------------------------

    def document(self, value: Any) -> None:
        """One JSON document on standard output."""
        _write(json.dumps(value, ensure_ascii=_needs_ascii(), indent=2, default=repr))

    def line(self, value: Any) -> None:
        """One line of JSON lines on standard output."""
        _write(json.dumps(value, ensure_ascii=_needs_ascii(), default=repr))

    def say(self, text: str) -> None:
        """A line on standard output."""
        _write(text)

    def note(self, text: str) -> None:
        """A line about what happens, on standard error."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def listen(self, *, talkative: bool = False) -> None:
        """Send what the library and workflows log to standard error: warnings, with ``talkative`` also what workflows say."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S"))
        library = logging.getLogger("replay")
        library.handlers = [handler]
        library.propagate = False
        library.setLevel(logging.DEBUG if self.debug else logging.WARNING)
        logging.getLogger("replay.workflow").setLevel(logging.INFO if talkative else logging.WARNING)

    # ---- the user's code ------------------------------------------------------------------------------------------------

    def make_importable(self) -> None:
        """Let the user's modules be found from the current folder and the project's."""
        for place in (str(self.settings.root), str(Path.cwd())):
            if place not in sys.path:
                sys.path.insert(0, place)

    def load(self) -> None:
        """Import the modules that hold workflows, and what plugins offer.

        Raises:
            InvalidRequest: One cannot be imported.
        """
        self.make_importable()
        for name in self.settings.modules:
            import_module(name)
        from replay.hooks import plugins

        plugins().hook.replay_workflows()

    def try_load(self) -> None:
        """The same for verbs that can do without: what cannot be imported is told and left out."""
        try:
            self.load()
        except InvalidRequest as error:
            self.note(f"replay: going on without the workflows' code: {error}")

    def workflow(self, reference: str) -> WorkflowFunction[..., Any]:
        """The workflow that a reference means: ``module:name``, ``path/to/file.py:name``, ``name`` or ``name@version``.

        Raises:
            InvalidRequest: The module cannot be imported, or what is named there is no workflow.
            UnknownName: There is no such workflow.
        """
        module, colon, attribute = reference.rpartition(":")
        if colon:
            self.make_importable()
            found = getattr(import_module(dotted(module)), attribute, None)
            if found is None:
                raise UnknownName("workflow", reference, tuple(_workflows_in(dotted(module))))
            if not isinstance(found, WorkflowFunction):
                raise InvalidRequest("workflow", f"{reference} is {found!r}", "put @workflow above the function")
            return found
        self.load()
        name, _, version = reference.partition("@")
        return _registered(name, version, has_modules=bool(self.settings.modules))

    def code_of(self, client: Client, run: Run) -> WorkflowSpec | None:
        """The workflow of a run, when its code is at hand."""
        try:
            return client.spec_for(run.workflow, run.version)
        except UnknownName:
            return None

    # ---- the store ------------------------------------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether there is a store already; of a store that is no file, its server knows."""
        from replay.store.sqlite_address import Address

        try:
            return Address.parse(self.settings.store).path.exists()
        except InvalidRequest:
            return True

    @contextlib.contextmanager
    def client(self, *, making: bool = False) -> Iterator[Client]:
        """A client that only asks.

        Args:
            making: Whether a store that is not there yet is made; else it is looked into as if it were empty, for whoever only
                looks must not litter folders with databases.

        Raises:
            StoreError: The store cannot be opened.
        """
        from replay.client import Client

        url = self.settings.store if making or self.is_there else "memory://"
        with Client(url, namespace=self.settings.namespace) as client:
            yield client

    @contextlib.contextmanager
    def run(self, identity: str) -> Iterator[Handle[Any]]:
        """A handle on a run that exists.

        Raises:
            UnknownRun: There is none of that id.
        """
        with self.client() as client:
            handle = client.get(identity)
            handle.about()
            yield handle

    def engine(self, **settings: Any) -> Engine:
        """A client that also works."""
        from replay.cli.queueing import queues_of
        from replay.client import Engine

        mine = self.settings
        given = {"queues": mine.queues, "concurrency": mine.concurrency, "threads": mine.threads, **settings}
        given["queues"] = queues_of(given["queues"])
        return Engine(mine.store, namespace=mine.namespace, **given)


def import_module(name: str) -> Any:
    """Import a module of the user's.

    Raises:
        InvalidRequest: It is not found, or importing it raises.
    """
    try:
        return importlib.import_module(name)
    except ReplayError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            advice = "call from the project's folder, or install it"
            raise InvalidRequest(f"module {name!r}", f"there is no module {error.name!r}", advice) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> InvalidRequest:
    if isinstance(error, SyntaxError):
        where = f" at {error.filename}:{error.lineno}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        where = f" at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""
    problem = f"importing it raised {type(error).__name__}: {getattr(error, 'msg', None) or error}{where}"
    return InvalidRequest(f"module {name!r}", problem, "make it importable; --debug shows the traceback")


def dotted(module: str) -> str:
    """A module's name; a path to a file below the current folder is taken too.

    Raises:
        InvalidRequest: The file lies elsewhere.
    """
    if not module.endswith(".py"):
        return module
    path = Path(module)
    if path.is_absolute():
        try:
            path = path.relative_to(Path.cwd())
        except ValueError:
            raise InvalidRequest("module", f"{module} lies outside the current folder", "write package.module:name") from None
    return ".".join(path.with_suffix("").parts)


def _workflows_in(module: str) -> list[str]:
    return sorted(name for name, value in vars(sys.modules[module]).items() if isinstance(value, WorkflowFunction))


def _registered(name: str, version: str, *, has_modules: bool) -> WorkflowFunction[..., Any]:
    from replay.authoring.definitions import WORKFLOWS
    from replay.client.travel import spec_for

    known = tuple(sorted(f"{name}@{version}" if version else name for name, version in WORKFLOWS))
    if not known and not has_modules:
        advice = "name its module: -m shop, module:workflow, or `modules` in pyproject.toml [tool.replay]"
        raise InvalidRequest(f"workflow {name!r}", "no module with workflows has been named", advice)
    if version and (name, version) not in WORKFLOWS:
        raise UnknownName("workflow", f"{name}@{version}", known)
    if not any(name == other for other, _ in WORKFLOWS):
        raise UnknownName("workflow", name, known)
    found = spec_for(name, version)
    assert isinstance(found, WorkflowFunction)
    return found


def _needs_ascii() -> bool:
    """Whether standard output cannot spell every character."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") != "utf8"


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
