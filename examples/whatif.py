"""What would another prompt have done? Production journals as regression tests: `python examples/whatif.py`.

Recorded runs are run again in memory. Their steps are answered from the record, but for the one that is to be tried out: it is really
done. Nothing else happens: nobody is mailed a second time, and the recorded runs stay as they are.
"""

from __future__ import annotations

import replay
from replay import Workflow, sleep, step, workflow

PROMPT = {"words": ["win"]}
"""What the classifier goes by; think of the prompt of a language model."""


@step
def classify(text: str) -> dict[str, object]:
    found = any(word in text for word in PROMPT["words"])
    return {"label": "spam" if found else "ham", "cost": 0.001 * len(PROMPT["words"])}


@step
def forward(text: str) -> str:
    print(f"  (forwarding {text!r}, for real)")
    return "forwarded"


@workflow
def inbox(text: str) -> Workflow[str]:
    found = yield from classify(text)
    yield from sleep(0.2)
    if found["label"] == "spam":
        return "binned"
    return (yield from forward(text))


def main() -> None:
    with replay.Engine("memory://") as engine:
        print("in production:")
        texts = ["you win", "cheap pills", "dear Ada"]
        runs = [engine.start(inbox(text), id=text.split()[-1]) for text in texts]
        for run in runs:
            run.result()

        print("\nthe same again:")
        print(replay.whatif(runs))

        print("\nwith another prompt:")
        PROMPT["words"] = ["win", "cheap"]
        report = replay.whatif(runs, live={"classify"}, progress=lambda row: print(f"  {row.run} done"))
        print(report)
        for row in report.changed:
            print(f"{row.run} changes: {row.then.value} → {row.now.value}")


if __name__ == "__main__":
    main()
