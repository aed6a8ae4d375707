"""Every error has its exit code and its sentence."""

from __future__ import annotations

import json

import pytest

from replay import errors
from replay.cli.exits import Exit, code_of, facts_of, tell
from replay.errors import ReplayError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunFailed("r", "failed", "E", "m"), Exit.NEGATIVE),
        (errors.RunExists("r", "a", "b"), Exit.NEGATIVE),
        (errors.RunClosed("r", "completed"), Exit.NEGATIVE),
        (errors.UpdateRefused("r", "u", "no"), Exit.NEGATIVE),
        (errors.NonDeterminismError("r", 3, "a", "b"), Exit.NEGATIVE),
        (errors.InvalidRequest("x", "y"), Exit.USAGE),
        (errors.PayloadError("x", "int", "str"), Exit.USAGE),
        (errors.PayloadTooLarge("x", 2, 1), Exit.USAGE),
        (errors.DefinitionError("x", "y", "z"), Exit.USAGE),
        (errors.UnknownRun("r"), Exit.NOT_FOUND),
        (errors.UnknownName("query", "q"), Exit.NOT_FOUND),
        (errors.UnknownScheme("x", ()), Exit.STORE),
        (errors.StoreUnavailable("s", "locked"), Exit.STORE),
        (errors.SchemaMismatch("s", 2, 1), Exit.STORE),
        (errors.JournalDamaged("r", 3, "gap"), Exit.STORE),
        (errors.WaitTimedOut("r", 1, "waiting"), Exit.TIMED_OUT),
        (FileNotFoundError(2, "No such file", "x"), Exit.USAGE),
        (KeyError("bug"), Exit.BROKEN),
    ],
)
def test_an_error_means_an_exit_code(error: Exception, code: Exit) -> None:
    """By its family, so that scripts can tell who must act."""
    assert code is code_of(error)


def test_every_error_of_replay_means_something_else_than_a_bug() -> None:
    """An error class that is added later has the code of its family."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReplayError)]

    assert len(kinds) > 20
    assert [] == [kind for kind in kinds if code_of(kind.__new__(kind)) is Exit.BROKEN]


def test_a_sentence_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What an error quotes may come from anywhere."""
    tell(errors.UnknownRun("\x1b[2J"), as_json=False, debug=False)

    assert "\x1b" not in capsys.readouterr().err


def test_facts_of_an_error_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json: class, sentence, attributes."""
    code = tell(errors.UnknownName("query", "q", ("a", "b")), as_json=True, debug=False)
    said = json.loads(capsys.readouterr().err)

    assert (Exit.NOT_FOUND, 3) == (code, said["exit"])
    assert {"type": "UnknownName", "what": "query", "name": "q", "known": ["a", "b"]} == {
        key: value for key, value in said["error"].items() if key != "message"
    }
    assert {"type": "ValueError", "message": "x"} == facts_of(ValueError("x"))
