"""Which files are checked, what is known of the files beside them, and what happens to those that cannot be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replay.errors import InvalidRequest
from replay.lint import check_module, check_paths, check_source

BAD = "import time\nfrom replay import workflow\n\n@workflow\ndef order():\n    yield time.sleep(1)\n"
EXPLOSIVE = BAD + "\nraise SystemExit('this module was imported')\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def places(folder: Path) -> list[tuple[str, int, str]]:
    """What is found below a folder: file, line, code."""
    return [(Path(f.path).relative_to(folder).as_posix(), f.line, f.code) for f in check_paths([folder])]


# ---- files


def test_folders_are_walked_in_order_and_foreign_ones_are_not_entered(tmp_path: Path) -> None:
    """Environments, installed packages and caches hold other people's code, under whatever name."""
    foreign = [".venv", "venv", "node_modules", "__pycache__", ".git", "a/b/.tox", "x.egg-info", "lib/site-packages"]
    files = {f"{name}/flow.py": BAD for name in [*foreign, "mine"]} | {"mine/pyvenv.cfg": ""}
    write(tmp_path, files | {"b.py": BAD, "a/flow.py": BAD, "a/b/flow.py": BAD, "notes.txt": BAD, "quiet.py": "x = 1\n"})

    assert [("a/b/flow.py", 6, "RPL101"), ("a/flow.py", 6, "RPL101"), ("b.py", 6, "RPL101")] == places(tmp_path)


def test_a_file_that_is_named_is_checked_wherever_it_lies_and_once(tmp_path: Path) -> None:
    """Who names a file wants it read; naming it twice, by file and by folder, is naming it once."""
    file = write(tmp_path, {".venv/flow.py": BAD}) / ".venv" / "flow.py"

    assert [str(file)] == [finding.path for finding in check_paths([file, file.parent, file])]


def test_a_file_that_is_missing_is_a_finding() -> None:
    """A check never passes because it could not look."""
    (finding,) = check_paths([Path("no/such/file.py")])

    assert ("RPL000", "no/such/file.py", 1) == (finding.code, finding.path, finding.line)
    assert "No such file" in finding.message


def test_a_file_that_is_no_text_is_a_finding(tmp_path: Path) -> None:
    """An encoding that does not fit is named."""
    (tmp_path / "flow.py").write_bytes(b"x = '\xff\xfe'\n")

    assert [("flow.py", 1, "RPL000")] == places(tmp_path)


def test_an_encoding_that_a_file_declares_is_obeyed(tmp_path: Path) -> None:
    """Python's own rules of decoding, byte order mark included."""
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\n" + BAD.replace("order", "\xfcber").encode("latin-1"))
    (tmp_path / "marked.py").write_bytes(b"\xef\xbb\xbf" + BAD.encode())

    assert [("latin.py", 7, "RPL101"), ("marked.py", 6, "RPL101")] == places(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("from replay import workflow\ndef order(:\n    pass\n", 2, "invalid syntax"),
        ("x = 1\n  y = 2\n", 2, "unexpected indent"),
        ("x = 'open\n", 1, "unterminated string"),
        ("x = '\0'\n", 1, "null bytes"),
        ("replay = " + "(" * 500 + ")" * 500, 1, ""),
        ("replay = " + "-" * 100_000 + "1", 1, ""),
    ],
    ids=["syntax", "indentation", "string", "null byte", "parentheses", "depth"],
)
def test_a_text_that_cannot_be_parsed_is_a_finding_at_its_place(text: str, line: int, word: str) -> None:
    """RPL000 says where Python stopped understanding."""
    (finding,) = check_source(text, "broken.py")

    assert ("RPL000", "unreadable", line, "broken.py") == (finding.code, finding.rule, finding.line, finding.path)
    assert word in finding.message


# ---- modules


def test_a_module_is_checked_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the module nor the packages around it run; a package stands for all its modules."""
    files = dict.fromkeys(("explosive/__init__.py", "explosive/sub/__init__.py", "explosive/sub/flow.py", "single.py"), EXPLOSIVE)
    monkeypatch.syspath_prepend(str(write(tmp_path, files)))

    assert 1 == len(check_module("explosive.sub.flow"))
    assert 2 == len(check_module("explosive.sub"))
    assert 3 == len(check_module("explosive"))
    assert 1 == len(check_module("single"))
    assert set() == {"explosive", "explosive.sub", "single"} & set(sys.modules)


def test_a_folder_without_init_is_a_package_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace package is where its parts lie, in every place of the path."""
    for part in ("one", "two"):
        monkeypatch.syspath_prepend(str(write(tmp_path / part, {f"spacious/{part}.py": BAD})))

    assert 2 == len(check_module("spacious"))
    assert 1 == len(check_module("spacious.one"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module", "there is no 'no_such_module' in sys.path"),
        ("json.nothing", "there is no 'json.nothing' in"),
        ("this.that", "'this' is no package"),
        ("sys", "built in or compiled"),
        ("not a name", "there is no 'not a name'"),
        ("", "there is no ''"),
    ],
)
def test_a_module_that_cannot_be_found_is_an_error_that_says_why(name: str, problem: str) -> None:
    """The caller named something that is not there: what, where, and what to do."""
    with pytest.raises(InvalidRequest) as caught:
        check_module(name)

    assert problem in str(caught.value)
    assert "PYTHONPATH" in str(caught.value)


def test_importing_the_linter_loads_nothing_heavy() -> None:
    """It may run in an editor at every save."""
    script = "import sys, replay.lint; print(*{'sqlalchemy', 'click', 'rich', 'asyncio', 'grpc'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "" == loaded.stdout.strip()


# ---- neighbours

STEPS = """
from replay import Workflow, step
@step
def charge(card): return open(card).read()
def deliver(sku) -> Workflow[None]:
    yield charge(sku)
def plain(sku): ...
def numbers():
    yield 1
"""
FLOW = """
from shop.api import durable, charge
from .steps import deliver, plain, numbers
from . import steps as all_steps
@durable
def order(sku):
    charge(sku)
    yield deliver(sku)
    plain(sku)
    numbers()
    all_steps.charge.fn(sku)
    if all_steps.charge(sku):
        yield from deliver(sku)
"""


def test_steps_are_known_across_the_files_of_a_project(tmp_path: Path) -> None:
    """Imports and re-exports are followed by reading: most workflows import their steps."""
    api = "from replay import workflow as durable\nfrom shop.steps import charge\n"
    write(tmp_path, {"shop/__init__.py": "", "shop/steps.py": STEPS, "shop/api.py": api, "shop/flow.py": FLOW})
    found = [(line, code) for _, line, code in places(tmp_path)]

    assert [(7, "RPL301"), (8, "RPL303"), (11, "RPL305"), (12, "RPL301")] == found
    assert found == [(finding.line, finding.code) for finding in check_paths([tmp_path / "shop" / "flow.py"])]


def test_files_that_import_each_other_in_a_circle_are_checked(tmp_path: Path) -> None:
    """A circle of names leads nowhere, and ends."""
    flow = "from replay import workflow\n@workflow\ndef order():\n    charge()\n    yield charge()\n"
    write(tmp_path, {"a.py": "from b import charge\n" + flow, "b.py": "from a import charge\n" + flow})

    assert [] == places(tmp_path)


def test_a_neighbour_that_cannot_be_read_is_no_obstacle(tmp_path: Path) -> None:
    """It is reported for itself; of what it defines nothing is known."""
    flow = "from broken import charge\nfrom replay import workflow\n@workflow\ndef order():\n    charge()\n    yield charge()\n"
    write(tmp_path, {"broken.py": "def charge(:\n", "flow.py": flow})

    assert [("broken.py", 1, "RPL000")] == places(tmp_path)


def test_a_text_by_itself_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``check_source`` is a function of its arguments."""
    monkeypatch.chdir(write(tmp_path, {"steps.py": STEPS}))
    flow = "from steps import charge\nfrom replay import workflow\n@workflow\ndef order():\n    charge(1)\n    yield charge(1)\n"

    assert [] == check_source(flow, "flow.py")
    assert [("flow.py", 5, "RPL301")] == places(write(tmp_path, {"flow.py": flow}))
