/** The interpreter at its limits: depth that does not grow, budgets, eviction, lines. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { gather, join, random, signal, sleep, spawn, step, toText, workflow, type Effect, type Spawned, type Workflow } from "replay-engine";
import { bytesOf } from "../src/codec/json.js";
import { lineOf } from "../src/interpreter/determinism.js";
import { Interpreter } from "../src/interpreter/interpreter.js";
import { startedText } from "../src/model/journal.js";
import type { Event } from "../src/model/records.js";

const double = step("double", (n: number) => 2 * n);

function event(seq: number, kind: string, command = "", name = "", payload = ""): Event {
  return { seq, kind, command, name, at: 1e15 + seq, payload: bytesOf(payload), check: 0, attempt: 0, duration: 0, line: "", worker: "" };
}

function started(name: string, ...args: unknown[]): Event {
  return event(1, "started", "", name, startedText({ workflow: name, input: toText(args) }));
}

test("a gather of 100,000 branches asks, is answered, and ends", () => {
  const many = workflow("many", function* (n: number) {
    const found = yield* gather(Array.from({ length: n }, (_, i) => double(i)));
    return found.length;
  });
  const machine = new Interpreter(many.spec, "run");
  machine.feed(started("many", 100_000));
  assert.equal(machine.pending.size, 100_000);
  for (let n = 0; n < 100_000; n++) machine.feed(event(n + 2, "step_completed", `0/${n}/0`, "double", String(2 * n)));

  assert.equal(machine.outcome?.payload, "100000");
});

test("a gather of 100,000 branches is cancelled without recursion", () => {
  const many = workflow("many", function* (n: number) {
    yield* gather(Array.from({ length: n }, () => sleep(1)));
  });
  const machine = new Interpreter(many.spec, "run");
  machine.feed(started("many", 100_000));
  machine.feed(event(2, "cancel_requested"));

  assert.equal(machine.outcome?.kind, "cancelled");
  assert.equal(machine.withdrawn.length, 100_000);
});

test("combinators 5,000 deep need no stack", () => {
  const deep = workflow("deep", function* (n: number): Workflow<unknown> {
    let branch: Effect<unknown> = double(1);
    for (let i = 0; i < n; i++) branch = gather([branch]);
    return (yield* branch) !== undefined;
  });
  const machine = new Interpreter(deep.spec, "run");
  machine.feed(started("deep", 5_000));
  const [id = ""] = machine.pending.keys();
  machine.feed(event(2, "step_completed", id, "double", "2"));

  assert.equal(machine.outcome?.kind, "completed");
});

test("a million answers in a row need no stack, and rest by budget", () => {
  const drawing = workflow("drawing", function* (n: number) {
    let heads = 0;
    for (let i = 0; i < n; i++) if (((yield* signal<number>("x", { timeout: 1, default: 0 })) ?? 0) > 0) heads++;
    return heads;
  });
  const machine = new Interpreter(drawing.spec, "run");
  machine.feed({ ...started("drawing", 3), payload: bytesOf(startedText({ workflow: "drawing", input: "[3]", mail: [["x", "1"], ["x", "1"], ["x", "0"]] })) });
  assert.equal(machine.outcome?.payload, "2");

  const busy = workflow("busy", function* (n: number) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += (yield* random()) < 1 ? 1 : 0;
    return sum;
  });
  const long = new Interpreter(busy.spec, "run");
  long.feed(started("busy", 1_000_000), 20_000);
  assert.equal(long.settled, false);
  let rests = 0;
  while (!long.advance(20_000)) rests++;

  assert.equal(long.outcome?.payload, "1000000");
  assert.ok(rests >= 45);
});

test("a chain of 2,000 joins needs no stack", () => {
  function* after(handle: Spawned<number>): Workflow<number> {
    return yield* join(handle);
  }
  const chain = workflow("chain", function* (n: number) {
    let last = yield* spawn(double(1));
    for (let i = 0; i < n; i++) last = yield* spawn(after(last));
    return yield* join(last);
  });
  const machine = new Interpreter(chain.spec, "run");
  machine.feed(started("chain", 2_000));
  machine.feed(event(2, "step_completed", "0/0/0", "double", "2"));

  assert.equal(machine.outcome?.payload, "2");
});

test("fibers that join each other in a ring are refused", () => {
  const ring = workflow("ring", function* (): Workflow<any> {
    const handles: Spawned<unknown>[] = [];
    function* joining(other: number): Workflow<unknown> {
      yield* double(other);
      return yield* join(handles[other] as Spawned<unknown>);
    }
    handles.push(yield* spawn(joining(1)), yield* spawn(gather([joining(0)])));
    try {
      return yield* join(handles[0] as Spawned<unknown>);
    } catch (error) {
      return (error as Error).message;
    }
  });
  const machine = new Interpreter(ring.spec, "run");
  machine.feed(started("ring"));
  machine.feed(event(2, "step_completed", "0/0/0", "double", "2"));
  machine.feed(event(3, "step_completed", "1/0/0/0/0", "double", "0"));

  assert.match(machine.outcome?.payload ?? "", /join each other in a ring/);
});

test("evicting runs `finally` blocks; what they yield is refused", () => {
  const seen: string[] = [];
  const guarded = workflow("guarded", function* () {
    try {
      yield* sleep(1);
    } finally {
      seen.push("finally");
      yield* double(1);
      seen.push("never");
    }
  });
  const machine = new Interpreter(guarded.spec, "run");
  machine.feed(started("guarded"));
  machine.close();

  assert.deepEqual(seen, ["finally"]);
  assert.deepEqual([...machine.pending.keys()], ["0"]);
});

test("the line of a wait is found where the author wrote it, as often as asked, and the run goes on", () => {
  function* helper(): Workflow<number> {
    return yield* double(4);
  }
  const lined = workflow("lined", function* () {
    const found = yield* gather([helper(), double(1)]);
    return found;
  });
  const machine = new Interpreter(lined.spec, "run");
  machine.feed(started("lined"));
  const lines = [...machine.pending.values()].map((command) => lineOf(command.fiber.branch === command.effect ? machine.root : command.fiber));
  assert.deepEqual(lines, [...machine.pending.values()].map((command) => lineOf(command.fiber.branch === command.effect ? machine.root : command.fiber)));
  assert.match(lines[0] ?? "", /interpreter\.test\.[jt]s:\d+$/);
  assert.notEqual(lines[0], lines[1]);
  machine.feed(event(2, "step_completed", "0/0/0", "double", "8"));
  machine.feed(event(3, "step_completed", "0/1/0", "double", "2"));

  assert.equal(machine.outcome?.payload, "[8,2]");
});

test("a generator is a branch once", () => {
  const twice = workflow("twice", function* (): Workflow<any> {
    function* one(): Workflow<number> {
      return yield* double(1);
    }
    const same = one();
    try {
      return yield* gather([same, same]);
    } catch (error) {
      return (error as Error).message;
    }
  });
  const machine = new Interpreter(twice.spec, "run");
  machine.feed(started("twice"));

  assert.match(machine.outcome?.payload ?? "", /begun before/);
});
