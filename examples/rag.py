"""Questions answered from documents: `python examples/rag.py`.

The documents are read, cut and embedded side by side, some at a time; each piece is a step, so after a crash only the missing ones are
done. A question is embedded, the nearest pieces are found, and a model answers with the numbers of the pieces that it used; an answer
that cites a piece that it was not given is sent back. All of it runs offline: the embedding counts words, the model answers from a
script.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

import replay
from replay import Workflow, gather, llm_call, step, workflow
from replay.llm import Ask, Models, Scripted

DOCUMENTS = {
    "leases.md": "A lease gives one worker the right to write. It ends by itself.\n\nA fencing token grows with each lease.",
    "savepoints.md": "A savepoint with state makes recovery short.\n\nA savepoint without state is a place to fork from.",
    "signals.md": "A signal that comes early is kept.\n\nSignals of one name are taken first in, first out.",
}
Vector = dict[str, float]


@attrs.frozen
class Piece:
    """A paragraph, and where it points."""

    source: str
    text: str
    vector: Vector


@attrs.frozen
class Answer:
    """An answer, and the numbers of the pieces that it rests on."""

    text: str
    sources: list[int]


@step
def load(name: str) -> list[str]:
    return [paragraph for paragraph in Path(name).read_text(encoding="utf-8").split("\n\n") if paragraph]


@step
def embed(text: str) -> Vector:
    """Words, weighed; a real pipeline asks a model here."""
    words = Counter(re.findall(r"[a-z]{4,}", text.lower()))
    length = math.sqrt(sum(count * count for count in words.values())) or 1.0
    return {word: count / length for word, count in sorted(words.items())}


def index(name: str) -> Workflow[list[Piece]]:
    """One document, in pieces."""
    paragraphs = yield from load(name)
    vectors = yield from gather(*[embed(paragraph) for paragraph in paragraphs], limit=4)
    return [Piece(name, paragraph, vector) for paragraph, vector in zip(paragraphs, vectors, strict=True)]


def nearness(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of length one."""
    return sum(weight * other.get(word, 0.0) for word, weight in one.items())


@workflow
def answer(question: str, names: list[str]) -> Workflow[str]:
    indexed = yield from gather(*[index(name) for name in names], limit=2)
    pieces = [piece for document in indexed for piece in document]
    asked = yield from embed(question)
    nearest = sorted(pieces, key=lambda piece: (-nearness(asked, piece.vector), piece.source, piece.text))[:2]
    shown = "\n".join(f"[{number}] {piece.text}" for number, piece in enumerate(nearest, 1))
    said: list[dict[str, Any]] = [{"role": "user", "content": f"{shown}\n\nQuestion: {question}"}]
    while True:
        reply = yield from llm_call(
            said, model="gpt-4o-mini", system="Answer from the pieces, and name them.", response_type=Answer, temperature=0
        )
        wrong = [number for number in reply.parsed.sources if not 1 <= number <= len(nearest)]
        if not wrong:
            sources = sorted({nearest[number - 1].source for number in reply.parsed.sources})
            return f"{reply.parsed.text} ({', '.join(sources)})"
        said += [reply.message, {"role": "user", "content": f"There is no piece {wrong}; name those that you were given."}]


def think(ask: Ask) -> Any:
    """The model: cites a piece that does not exist, and does better when told."""
    shown = re.findall(r"^\[(\d)\] (.+)$", str(ask.messages[1]["content"]), re.MULTILINE)
    told = len(ask.messages) > 2
    return json.dumps({"text": shown[0][1], "sources": [1 if told else 7]})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, text in DOCUMENTS.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        names = [str(Path(folder) / name) for name in sorted(DOCUMENTS)]
        with replay.Engine("memory://", models=Models({"openai": Scripted(think)})) as engine:
            for question in ("What grows with each lease?", "Is a signal kept that comes early?"):
                run = engine.start(answer(question, names))
                result = run.result().replace(f"{folder}/", "")
                steps = sum(event.kind == "step_completed" for event in run.journal())
                print(f"{question}\n  {result}\n  {steps} steps and replies in the journal")
