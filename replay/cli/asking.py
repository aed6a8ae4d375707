"""``asks`` and ``answer``: questions that runs have put to people.

Rule 1: an answer is read by the question's schema, so text needs no quotes where text is asked for, and a form takes ``field=value``.
Rule 2: what does not fit is refused with the reason, here or by the workflow, and the question stays open;
a terminal is asked again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from replay.cli import completing, options
from replay.cli.facts import ask_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.options import STDIN, pass_scene, read_text
from replay.cli.scene import Scene
from replay.cli.text import ago, compact, plain
from replay.errors import AnswerRefused, AskClosed, InvalidRequest, PayloadError
from replay.model.asks import Ask
from replay.model.codec import from_json
from replay.model.schema_check import resolved

WORDS: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
"""How people say true and false."""


@click.command()
@click.argument("id", required=False, shell_complete=completing.runs)
@click.option("--assignee", metavar="NAME", help="Only those for this person; '' for those for anyone.")
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many runs to look into.")
@options.shared
@pass_scene
def asks(scene: Scene, id: str | None, assignee: str | None, limit: int) -> None:
    """Open questions, of one run or of all."""
    if id is None:
        with scene.client() as client:
            page = client.asks(assignee=assignee, limit=limit)
            found, more, now = list(page.asks), bool(page.cursor), client.store.now()
    else:
        with scene.run(id) as handle:
            found = [ask for ask in handle.asks() if assignee in {None, ask.assignee}]
            more, now = False, handle.client.store.now()
    if scene.as_json:
        scene.document([ask_facts(ask) for ask in found])
        return
    if not found:
        scene.note("no open question")
        return
    _draw(scene, found, now)
    if more:
        scene.note(f"more runs have questions; look into more than {limit} with --limit")


def _draw(scene: Scene, found: Sequence[Ask], now: int) -> None:
    columns = [
        Cells("run", [plain(ask.run) for ask in found], most=40),
        Cells("ask", [plain(ask.id) for ask in found], styles="bold", most=24),
        Cells("question", [plain(ask.prompt) for ask in found], elastic=True),
        Cells("answer", [plain(shape(ask.schema, ask.schema)) for ask in found], most=40, styles="cyan"),
        Cells("for", [plain(ask.assignee) for ask in found], most=20),
        Cells("asked", [ago(ask.asked_at, now) for ask in found], styles="dim"),
        Cells("gives up", ["" if ask.due_at is None else ago(ask.due_at, now) for ask in found], styles="yellow"),
    ]
    scene.screen.draw(laid_out(columns, scene.screen.width, ("asked", "for"))[0])


def shape(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> str:
    """What an answer looks like, for people: ``yes | no``, ``integer``, ``{stars: integer, remark?: string}``."""
    schema = resolved(schema, root.get("$defs", {}))
    if "enum" in schema:
        return " | ".join(choice if isinstance(choice, str) else compact(choice) for choice in schema["enum"])
    if "const" in schema:
        return compact(schema["const"])
    if "anyOf" in schema:
        return " | ".join(shape(part, root, depth) for part in schema["anyOf"])
    if "properties" in schema and depth == 0:
        required = schema.get("required", ())
        fields = [f"{name}{'' if name in required else '?'}: {shape(part, root, 1)}" for name, part in schema["properties"].items()]
        return f"{{{', '.join(fields)}}}"
    return str(schema.get("format") or schema.get("type") or "any JSON")


# ---- answering ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.argument("ask")
@click.argument("value", nargs=-1, metavar="[VALUE | FIELD=VALUE]...")
@click.option("--by", default="", metavar="NAME", help="Who answers; the journal keeps it.")
@click.option("--timeout", type=options.duration, default="30s", show_default=True, help="How long to wait for a worker to take it.")
@options.shared
@pass_scene
def answer(scene: Scene, id: str, ask: str, value: Sequence[str], by: str, timeout: float) -> None:
    """Answer a question that a run has asked; `replay asks` lists them.

    VALUE is text where text is asked for, yes or no for a truth, else JSON; `-` reads standard input. A form takes FIELD=VALUE for
    each of its fields, or one JSON object. Without a value, a terminal is asked for it.
    """
    with scene.run(id) as handle:
        open_now = {question.id: question for question in handle.asks()}
        if ask not in open_now:
            raise AskClosed(id, ask, tuple(open_now))
        question = open_now[ask]
        if value:
            handle.answer(question, read_answer(question.schema, value), by=by, timeout=timeout)
        elif sys.stdin.isatty() and not scene.as_json:
            while True:
                try:
                    handle.answer(question, _prompted(question), by=by, timeout=timeout)
                    break
                except AnswerRefused as refused:
                    scene.note(f"not taken: {plain(refused.reason)}")
        else:
            raise InvalidRequest("answer", "no value was given", f"write one that is {shape(question.schema, question.schema)}")
        if scene.as_json:
            scene.document({"id": handle.id, "ask": question.id, "answered": True})
        else:
            scene.say(f"answered {plain(question.id)} of {plain(handle.id)}")


def _prompted(question: Ask) -> Any:
    """What somebody at a terminal answers; a form field by field."""
    schema = resolved(question.schema)
    if "properties" not in schema:
        return read_answer(
            question.schema, [click.prompt(f"{plain(question.prompt)} [{plain(shape(question.schema, question.schema))}]")]
        )
    click.echo(plain(question.prompt))
    given: dict[str, Any] = {}
    for name, part in schema["properties"].items():
        optional = name not in schema.get("required", ())
        text = click.prompt(
            f"  {plain(name)} [{plain(shape(part, question.schema))}]", default="" if optional else None, show_default=False
        )
        if text or not optional:
            given[name] = _read(part, question.schema, text)
    return given


def read_answer(schema: Mapping[str, Any], words: Sequence[str]) -> Any:
    """An answer from the words of a command line.

    Raises:
        InvalidRequest: They are several words that are no fields, or no JSON where JSON is asked for.
    """
    fields = resolved(schema).get("properties")
    if fields is not None and all("=" in word.partition("{")[0] for word in words):
        pairs = [word.partition("=")[::2] for word in words]
        unknown = [name for name, _ in pairs if name not in fields]
        if unknown:
            raise InvalidRequest("answer", f"the form has no field {unknown[0]!r}", f"its fields are {', '.join(fields)}")
        return {name: _read(fields[name], schema, text) for name, text in pairs}
    if len(words) > 1:
        raise InvalidRequest("answer", f"{len(words)} words are no answer", "put quotes around it")
    return _read(schema, schema, read_text(words[0]) if words[0] == STDIN else words[0])


def _read(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> Any:
    """A word as its schema asks for it."""
    schema = resolved(schema, root.get("$defs", {}))
    parts = [resolved(part, root.get("$defs", {})) for part in schema.get("anyOf", [schema])]
    choices = [choice for part in parts for choice in part.get("enum", [part["const"]] if "const" in part else [])]
    if text in choices:
        return text
    kinds = {part.get("type", "") for part in parts}
    if "boolean" in kinds and text.lower() in WORDS:
        return WORDS[text.lower()]
    if kinds == {"string"}:
        return text
    try:
        return from_json(text.encode("utf-8", "surrogatepass"))
    except PayloadError:
        if "string" in kinds or choices or not kinds - {""}:
            return text
        problem = f"{text!r} is no {shape(schema, root)}"
        raise InvalidRequest("answer", problem, "write JSON, such as 3 or [1, 2]") from None
