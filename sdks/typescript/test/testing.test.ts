/** The test kit, and through it the worker's engine: retries, timers, children, queues, updates, crashes; in no time. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Cancelled,
  ChildFailed,
  NonDeterminismError,
  RunFailed,
  StepFailed,
  StepInterrupted,
  TimedOut,
  UpdateRefused,
  continueAsNew,
  gather,
  info,
  log,
  onQuery,
  onUpdate,
  publish,
  race,
  resumable,
  savepoint,
  setState,
  shield,
  signal,
  sleep,
  startChild,
  step,
  stepInfo,
  timeout,
  workflow,
  type Workflow,
} from "replay-engine";
import { fromBytes, type Event } from "replay-engine";
import { World, replay } from "replay-engine/testing";

class Declined extends Error {}

const charge = step("charge", async (card: string, cents: number): Promise<{ receipt: string }> => ({ receipt: `${card}:${cents}` }), {
  retry: { maxAttempts: 3, initial: 10, jitter: 0 },
  raises: [Declined],
});
const undo = step("undo", (_receipt: string) => undefined);

const order = workflow("order", function* (card: string, cents: number) {
  const { receipt } = yield* charge(card, cents);
  yield* setState("receipt", receipt);
  const approved = yield* signal<boolean>("approved", { timeout: 86_400, default: false });
  if (approved) return receipt;
  yield* undo(receipt);
  return null;
});

test("a day passes in no time", async () => {
  const world = new World({ workflows: [order] });
  const began = world.now.getTime();
  const run = await world.start(order("visa", 100));

  assert.equal(await run.result(), null);
  assert.deepEqual(world.calls(undo), [["visa:100"]]);
  assert.equal(world.now.getTime() - began >= 86_400_000, true);
});

test("a run begins with what a server would write, and nothing else", async () => {
  const world = new World({ workflows: [order] });
  const run = await world.start(order("visa", 100), { id: "first", tags: { shop: "tea" } });
  const [started] = await run.journal();

  const expected = { workflow: "order", input: ["visa", 100], seed: "first", namespace: "default", patches: [], tags: { shop: "tea" } };
  assert.deepEqual(fromBytes((started as Event).payload), { ...expected, attempt: 1, mail: [], chain: 0, format: 1 });
});

test("a signal is heard, and state is shown", async () => {
  const world = new World({ workflows: [order] });
  const run = await world.start(order("visa", 100));
  assert.deepEqual(await run.state(), { receipt: "visa:100" });
  await run.signal("approved", true);

  assert.equal(await run.result(), "visa:100");
});

test("a stub stands in for a step, and its failures are tried again with back-off", async () => {
  const world = new World({ workflows: [order] });
  let attempts = 0;
  world.stub(charge, () => {
    if (++attempts < 3) throw new Error("busy");
    return { receipt: "stub" };
  });
  const run = await world.start(order("visa", 100));
  assert.equal(attempts, 1);
  await world.advance(10);
  assert.equal(attempts, 2);
  await world.advance({ seconds: 20 });
  await run.signal("approved", true);

  assert.equal(await run.result(), "stub");
  assert.deepEqual(
    (await run.journal()).map((event) => event.kind),
    ["started", "step_attempt_failed", "step_attempt_failed", "step_completed", "signal_received", "completed"],
  );
});

test("a failure ends the run with its name, and an error that is named comes back as itself", async () => {
  const world = new World({ workflows: [order, catching] });
  world.stub(charge, () => {
    throw new Declined("no money");
  });
  const run = await world.start(order("visa", 100));
  await assert.rejects(run.result(), (error: RunFailed) => error.errorType === "Declined" && error.reason === "no money");

  assert.equal(await (await world.start(catching())).result(), "declined: no money");
});

const catching = workflow("catching", function* () {
  try {
    yield* charge("visa", 1);
  } catch (error) {
    if (error instanceof Declined) return `declined: ${error.message}`;
    throw error;
  }
  return "charged";
});

test("the journal of a failing step holds its bounded trace", async () => {
  const world = new World({ workflows: [failing] });
  await assert.rejects((await world.start(failing())).result(), /step boom failed once: TypeError: x/);
});

const boom = step("boom", () => {
  throw new TypeError("x");
});
const failing = workflow("failing", function* () {
  yield* boom();
});

test("a step that takes too long is aborted and timed out", async () => {
  let aborted: unknown;
  const slow = step(
    "slow",
    () =>
      new Promise<never>((_resolve, reject) => {
        stepInfo().signal.addEventListener("abort", () => {
          aborted = stepInfo().signal.reason;
          reject(new Error("stopped"));
        });
      }),
    { timeout: 5 },
  );
  const waiting = workflow("waiting", function* () {
    try {
      yield* slow();
    } catch (error) {
      if (error instanceof TimedOut) return error.message;
      throw error;
    }
    return "in time";
  });
  const world = new World({ workflows: [waiting] });
  void world.delay(3_600); // so that time passes although a step is under way
  const run = await world.start(waiting());

  assert.equal(await run.result(), "step slow did not end within 5 s");
  assert.ok(aborted instanceof TimedOut);
});

test("a step that is silent for too long is timed out, and one that tells of itself is not", async () => {
  const slow = step("slow", () => undefined, { heartbeat: 10, timeout: 100 });
  const waiting = workflow("waiting for signs", function* () {
    return yield* slow();
  });
  const world = new World({ workflows: [waiting] });
  const said: number[] = [];
  world.stub(slow, async () => {
    for (const pause of [8, 8, 8, 11]) {
      await world.delay(pause);
      said.push(pause);
      stepInfo().heartbeat(said.length);
    }
  });

  await assert.rejects((await world.start(waiting())).result(), /the silence of step slow did not end within 10 s/);
  assert.deepEqual(said, [8, 8, 8]);
  assert.throws(() => step("silent", () => undefined, { heartbeat: 0 }), /heartbeat must be more than 0 seconds/);
});

test("cancelling aborts steps and cleans up", async () => {
  const signals: AbortSignal[] = [];
  const forever = step("forever", () => {
    signals.push(stepInfo().signal);
    return new Promise<never>(() => undefined);
  });
  const guarded = workflow("guarded", function* () {
    try {
      yield* gather([forever(), forever()]);
    } finally {
      yield* shield(undo("all"));
    }
  });
  const world = new World({ workflows: [guarded] });
  void world.delay(3_600);
  const run = await world.start(guarded());
  await run.cancel("enough");

  await assert.rejects(run.result(), (error: RunFailed) => error.status === "cancelled" && error.reason === "enough");
  assert.deepEqual(signals.map((each) => each.aborted), [true, true]);
  assert.deepEqual(world.calls(undo), [["all"]]);
});

test("at most once: what a crash interrupted is not begun again", async () => {
  let begun = 0;
  const risky = step("risky", () => new Promise<never>(() => void begun++), { atMostOnce: true });
  const careful = workflow("careful", function* () {
    try {
      yield* risky();
    } catch (error) {
      if (error instanceof StepInterrupted) return "interrupted";
      throw error;
    }
    return "done";
  });
  const world = new World({ workflows: [careful] });
  void world.delay(3_600);
  const run = await world.start(careful());
  await world.crash();

  assert.equal(await run.result(), "interrupted");
  assert.equal(begun, 1);
});

test("attempts and their idempotency key survive a crash", async () => {
  const seen: [number, string][] = [];
  const flaky = step(
    "flaky",
    () => {
      const { attempt, idempotencyKey } = stepInfo();
      seen.push([attempt, idempotencyKey]);
      if (attempt < 3) throw new Error("again");
      return attempt;
    },
    { retry: { maxAttempts: 5, initial: 100, jitter: 0 } },
  );
  const trying = workflow("trying", function* () {
    return yield* flaky();
  });
  const world = new World({ workflows: [trying] });
  const run = await world.start(trying(), { id: "r" });
  await world.crash();

  assert.equal(await run.result(), 3);
  assert.deepEqual(seen, [[1, "r#0"], [2, "r#0"], [3, "r#0"]]);
});

const child = workflow("child", function* (n: number) {
  yield* sleep(60);
  if (n < 0) throw new RangeError("negative");
  return n * 2;
});
const parent = workflow("parent", function* (): Workflow<any> {
  const two = yield* child(1);
  const [four, failed] = yield* gather([child(two), child(-1)], { returnErrors: true });
  const handle = yield* startChild(child(7), { id: "left", onParentClose: "abandon" });
  return [two, four, failed instanceof ChildFailed ? failed.errorType : failed, handle.runId];
});

test("children run, fail, and are left to themselves", async () => {
  const world = new World({ workflows: [parent, child] });
  const run = await world.start(parent(), { id: "p" });

  assert.deepEqual(await run.result(), [2, 4, "RangeError", "left"]);
  assert.equal(await world.handle("left").result(), 14);
  assert.equal(await world.handle("p.0").status(), "completed");
});

test("a child whose id is taken fails in its place", async () => {
  const taking = workflow("taking", function* () {
    try {
      yield* child(1).options({ id: "mine" });
    } catch (error) {
      return error instanceof ChildFailed ? error.errorType : "?";
    }
    return "started";
  });
  const world = new World({ workflows: [taking, child] });
  await world.start(child(9), { id: "mine" });

  assert.equal(await (await world.start(taking())).result(), "replay.errors.RunExists");
});

test("a step on another queue is a run of kind step", async () => {
  const render = step("render", (name: string) => `<${name}>`, { queue: "gpu", retry: { maxAttempts: 2, initial: 0 } });
  const page = workflow("page", function* () {
    return yield* gather([render("a"), render("b")]);
  });
  const world = new World({ workflows: [page], steps: [render], queues: ["default", "gpu"] });
  let failures = 1;
  world.stub(render, (name) => {
    if (name === "b" && failures-- > 0) throw new Error("try again");
    return name.toUpperCase();
  });
  const run = await world.start(page(), { id: "page" });

  assert.deepEqual(await run.result(), ["A", "B"]);
  assert.equal(await world.handle("page.0/0/0").status(), "completed");
});

test("what a call asks of a step elsewhere is sent along", async () => {
  const render = step("render", (name: string) => name, { queue: "gpu" });
  const page = workflow("page", function* () {
    return yield* render("a").options({ retry: { maxAttempts: 3, initial: 0 }, timeout: 9 });
  });
  const world = new World({ workflows: [page], steps: [render], queues: ["default", "gpu"] });
  let attempts = 0;
  world.stub(render, (name) => {
    if (++attempts < 3) throw new Error("again");
    return name;
  });
  const run = await world.start(page(), { id: "page" });

  assert.equal(await run.result(), "a");
  const [started] = await world.handle("page.0").journal();
  const { step: asked } = fromBytes((started as Event).payload) as Record<string, unknown>;
  assert.deepEqual(asked, { retry: { factor: 2, initial: 0, jitter: 0.1, max_attempts: 3, max_delay: 60 }, timeout: 9 });
});

test("a run that kills one worker after the other is set aside, until somebody puts it back", async () => {
  let deadly = true;
  const poison = step("poison", () => (deadly ? new Promise<never>(() => undefined) : "harmless"));
  const drinking = workflow("drinking", function* () {
    return yield* poison();
  });
  const said: unknown[] = [];
  const logger = { log: (_level: string, message: string, facts: object) => void (message === "run is stuck" && said.push(facts)) };
  const world = new World({ workflows: [drinking], logger });
  void world.delay(86_400);
  const run = await world.start(drinking());
  for (let deaths = 0; deaths < 11; deaths++) await world.crash();
  assert.equal(await run.status(), "stuck");
  assert.match(JSON.stringify(said[0]), /set aside: 11 workers in a row died .* since event #1 \(started drinking\); in the last 8 of them/);
  assert.match(JSON.stringify(said[0]), /under way on worker-11: step poison \(command 0, \S+testing.test.[jt]s:\d+\)\. Mend what ends them/);
  await world.advance({ hours: 1 });
  assert.equal(world.calls(poison).length, 11);
  deadly = false;
  await run.resume();

  assert.equal(await run.result(), "harmless");
});

test("of runs in doubt one is driven at a time, and only the one that was driven is to blame", async () => {
  const hang = step("hang", () => new Promise<never>(() => undefined));
  const hanging = workflow("hanging alone", function* () {
    return yield* hang();
  });
  const world = new World({ workflows: [hanging] });
  void world.delay(86_400);
  const runs = [await world.start(hanging()), await world.start(hanging())];
  for (let deaths = 0; deaths < 3; deaths++) await world.crash();
  const together = world.calls(hang).length;
  for (let deaths = 3; deaths < 11; deaths++) await world.crash();

  assert.equal(together, 7); // three times both, then one alone
  assert.deepEqual(["running", "stuck"], (await Promise.all(runs.map((run) => run.status()))).sort());
});

test("a run in doubt that moves is in doubt no more", async () => {
  let mended = 0;
  const sip = step("sip", (glass: number) => (glass < mended ? glass : new Promise<never>(() => undefined)));
  const sipping = workflow("sipping", function* () {
    return [yield* sip(0), yield* sip(1)];
  });
  const world = new World({ workflows: [sipping] });
  void world.delay(86_400);
  const run = await world.start(sipping());
  while (mended < 2) {
    for (let deaths = 0; deaths < 9; deaths++) await world.crash();
    mended++;
    await world.crash();
  }

  assert.deepEqual(await run.result(), [0, 1]);
});

test("a paused run begins nothing new", async () => {
  const world = new World({ workflows: [order] });
  const run = await world.start(order("visa", 100));
  await run.pause();
  await run.signal("approved", false);
  await world.advance({ days: 7 });
  assert.equal(await run.status(), "paused");
  assert.equal(world.calls(undo).length, 0);
  await run.resume();

  assert.equal(await run.result(), null);
});

test("queries are answered, refused, or fail; the journal holds no trace of them", async () => {
  const counter = workflow("counter", function* (): Workflow<number> {
    let total = 0;
    yield* onQuery("total", (factor = 1) => total * factor);
    yield* onQuery("large", () => "x".repeat(16 * 1024 * 1024 + 2));
    yield* onQuery("broken", () => {
      throw new RangeError(`broken at ${total}`);
    });
    yield* onQuery("late", async () => {
      throw new Error("nobody would hear this, and Node would end the worker");
    });
    for (;;) {
      const number = yield* signal<number>("add");
      if (number === 0) return total;
      total += number;
    }
  });
  const world = new World({ workflows: [counter] });
  const run = await world.start(counter());
  assert.equal(await run.query("total"), 0);
  await run.signal("add", 4);

  assert.deepEqual([await run.query("total"), await run.query("total", 10)], [4, 40]);
  await assert.rejects(run.query("large"), /query large failed: .*PayloadTooLarge: a reply: 16,777,\d+ bytes encoded, 16,777,216 are allowed/);
  await assert.rejects(run.query("sum"), /no query 'sum'; known: total, large, broken, late/);
  await assert.rejects(run.query("broken"), /query broken failed: RangeError: broken at 4/);
  await assert.rejects(run.query("late"), /reply of query 'late'.*Promise/);
  await run.signal("add", 0);
  assert.equal(await run.result(), 4);
  const journal = await run.journal();
  assert.deepEqual(journal.map(({ kind }) => kind), ["started", "signal_received", "signal_received", "completed"]);
  assert.equal(replay(counter, journal).query("total", "[3]"), '{"ok":12}');
});

test("a validator that promises an answer refuses the update, and does not end the worker", async () => {
  const asking = workflow("asking", function* () {
    const validator = async () => {
      throw new Error("nobody would hear this");
    };
    yield* onUpdate("add", (n: number) => n, { validator });
    yield* signal("enough");
  });
  const run = await new World({ workflows: [asking] }).start(asking());
  await assert.rejects(run.update("add", 1), /validator of update 'add'.*Promise/);
});

test("updates are answered, refused, or fail; their steps are journaled", async () => {
  const basket = workflow("basket", function* () {
    const items: string[] = [];
    function* add(item: string): Workflow<number> {
      const { receipt } = yield* charge(item, 1);
      if (item === "bad") throw new RangeError("bad item");
      return items.push(receipt);
    }
    const validator = (item: unknown) => {
      if (typeof item !== "string") throw new TypeError("an item is a text");
    };
    yield* onUpdate("add", add, { validator });
    yield* signal("done");
    return items;
  });
  const world = new World({ workflows: [basket] });
  const run = await world.start(basket());
  assert.equal(await run.update("add", "pen"), 1);
  await assert.rejects(run.update("add", 7), UpdateRefused);
  await assert.rejects(run.update("add", "bad"), RunFailed);
  await assert.rejects(run.update("take", 7), /no update 'take'; known: add/);
  await run.signal("done");

  assert.deepEqual(await run.result(), ["pen:1"]);
});

test("a signal that does not fit is refused before it is journaled", async () => {
  const asNumber = (value: unknown) => {
    if (typeof value !== "number") throw new TypeError("a number is wanted");
    return value;
  };
  const hearing = workflow("hearing", function* () {
    return yield* signal("n", { schema: asNumber });
  });
  const world = new World({ workflows: [hearing] });
  const run = await world.start(hearing());
  await run.signal("n", "one");
  await run.signal("n", 1);

  assert.equal(await run.result(), 1);
  assert.equal((await run.journal()).length, 3);
});

test("a workflow that starts again at a savepoint otherwise than it went on is told so", async () => {
  const forgetful = resumable("forgetful", function* (state: number | undefined, turns: number) {
    for (let done = state ?? 0; done < turns; ) {
      yield* savepoint(`turn ${++done}`, { state: done });
      yield* sleep(3_600); // behind the savepoint: who starts again does not sleep
    }
    return turns;
  });
  const world = new World({ workflows: [forgetful] });
  const run = await world.start(forgetful(2));

  await assert.rejects(run.result(), /recorded: {2}savepoint turn 2 .*now asks: {2}sleep 3600 s/s);
});

test("a recorded journal is driven from each of its savepoints, too", async () => {
  const turning = (rests: boolean) => resumable("turning", function* (state: number | undefined, turns: number) {
    if (rests && state !== undefined) yield* sleep(60);
    for (let done = state ?? 0; done < turns; ) {
      yield* sleep(3_600);
      yield* savepoint(`turn ${++done}`, { state: done });
    }
    return turns;
  });
  const steady = turning(false);
  const run = await new World({ workflows: [steady] }).start(steady(2));
  assert.equal(await run.result(), 2);
  const journal = await run.journal();

  assert.equal(replay(steady, journal).outcome?.kind, "completed");
  assert.throws(() => replay(turning(true), journal), /started again at savepoint 'turn 1'/);
});

test("a resumable workflow goes on from its newest savepoint after a crash", async () => {
  let begun = 0;
  const loop = resumable("loop", function* (state: number[] | undefined, turns: number) {
    begun++;
    const done = state ?? [];
    while (done.length < turns) {
      const { receipt } = yield* charge(`turn ${done.length}`, 1);
      done.push(receipt.length);
      yield* sleep(3_600);
      yield* savepoint("turn", { state: done, goal: "all" });
    }
    return done;
  });
  const world = new World({ workflows: [loop] });
  const run = await world.start(loop(3));
  await world.advance({ hours: 1 });
  await world.crash();

  assert.deepEqual(await run.result(), [8, 8, 8]);
  assert.equal(world.calls(charge).length, 3);
  assert.ok(begun >= 2);
});

test("continue as new: one id, fresh journals, signals carried over", async () => {
  const counting = workflow("counting", function* (n: number): Workflow<[number, string]> {
    if (n === 0) yield* setState("stage", "begun");
    yield* sleep(1);
    if (n < 3) yield* continueAsNew(n + 1);
    const me = yield* info();
    return [me.chain, yield* signal<string>("word")];
  });
  const world = new World({ workflows: [counting] });
  const run = await world.start(counting(0), { id: "c" });
  await run.signal("word", "kept");

  assert.deepEqual(await run.result(), [3, "kept"]);
  assert.equal(await world.handle("c~1").status(), "continued");
  assert.deepEqual(await run.state(), { stage: "begun" });
});

test("a run that fails is begun again as its policy says", async () => {
  const trying = workflow(
    "trying",
    function* () {
      const { attempt } = yield* info();
      yield* sleep(1);
      if (attempt < 3) throw new Error("not yet");
      return attempt;
    },
    { retry: { maxAttempts: 3, initial: 5 } },
  );
  const world = new World({ workflows: [trying] });

  assert.equal(await (await world.start(trying())).result(), 3);
});

test("a deadline cancels, and a delay holds back", async () => {
  const napping = workflow("napping", function* () {
    try {
      yield* sleep({ days: 1 });
    } catch (error) {
      if (error instanceof Cancelled) return error.reason;
      throw error;
    }
    return "slept";
  });
  const world = new World({ workflows: [napping] });
  const run = await world.start(napping(), { deadline: 60, delay: 30 });
  assert.equal(await run.status(), "pending");

  assert.equal(await run.result(), "the deadline has passed");
});

test("race and timeout have their losers cleaned up", async () => {
  function* cleaning(what: string): Workflow<never> {
    try {
      for (;;) yield* sleep({ days: 1 });
    } finally {
      yield* undo(what);
    }
  }
  const racing = workflow("racing", function* (): Workflow<any> {
    const [index] = yield* race([cleaning("slow"), sleep(1)]);
    try {
      yield* timeout(cleaning("late"), 2);
    } catch (error) {
      if (!(error instanceof TimedOut)) throw error;
    }
    return index;
  });
  const world = new World({ workflows: [racing] });

  assert.equal(await (await world.start(racing())).result(), 1);
  assert.deepEqual(world.calls(undo), [["slow"], ["late"]]);
});

test("log lines and topics appear once, crashes notwithstanding", async () => {
  const lines: string[] = [];
  const saying = workflow("saying", function* () {
    yield* log("begun");
    yield* publish("news", 1);
    yield* sleep(3_600);
    yield* log("done", { n: 1 });
    yield* publish("news", 2);
  });
  const logger = { log: (level: string, message: string) => void (level !== "debug" && lines.push(message)) };
  const world = new World({ workflows: [saying], logger });
  const run = await world.start(saying());
  await world.crash();
  await run.result();

  assert.deepEqual(lines, ["begun", "done"]);
  assert.deepEqual(world.topic("news"), [1, 2]);
});

test("a journal that today's code does not fit is reported with both sides and both lines", async () => {
  const before = workflow("shop", function* () {
    yield* charge("visa", 1);
    yield* undo("a");
  });
  const after = workflow("shop", function* () {
    yield* charge("visa", 1);
    yield* charge("visa", 2);
  });
  const world = new World({ workflows: [before] });
  const run = await world.start(before());
  await run.result();

  const events = await run.journal();
  assert.equal(replay(before, events).outcome?.kind, "completed");
  assert.throws(
    () => replay(after, events, run.id),
    (error: NonDeterminismError) => {
      assert.equal(error.seq, 3);
      assert.equal(error.recorded, "step_completed undo as command 1");
      assert.equal(error.asked, 'step charge("visa",2) as command 1');
      assert.match(error.recordedLine, /testing\.test\.[jt]s:\d+$/);
      assert.match(error.askedLine, /testing\.test\.[jt]s:\d+$/);
      assert.notEqual(error.recordedLine, error.askedLine);
      assert.deepEqual(error.before, ["#1 started shop", "#2 step_completed 0 charge"]);
      assert.match(error.message, /what to do: restore the old order of effects/);
      return true;
    },
  );
});

test("a run that waits for what nobody sends says so instead of waiting for ever", async () => {
  const hearing = workflow("hearing", function* () {
    yield* signal("never");
  });
  const world = new World({ workflows: [hearing] });
  await assert.rejects((await world.start(hearing())).result(), /waits for what nobody sends: signal never/);
});

test("values that no journal can hold are refused at the call", () => {
  assert.throws(() => charge("visa", Number.NaN), /arguments of step charge at \$\[1\]: expected a finite number, got NaN/);
  assert.throws(() => undo(new Map() as never), /spell it as an object or an array/);
  assert.throws(() => signal("x", { timeout: -1 }), /give it 0 seconds or more/);
  assert.throws(() => step("", () => 1), /its name is/);
});

test("what a workflow yields wrongly is said with what to write instead", async () => {
  const wrong = workflow("wrong", function* (what: number): any {
    const yields = [() => charge("a", 1), () => Promise.resolve(1), () => [sleep(1)], () => undefined, () => charge];
    try {
      yield (yields[what] as () => any)();
    } catch (error) {
      return (error as Error).message;
    }
  });
  const world = new World({ workflows: [wrong] });
  const said: string[] = [];
  for (let what = 0; what < 5; what++) said.push(await (await world.start(wrong(what))).result());

  const advice = ["write the star", "make the async function a step", "write `yield* gather", "a bare `yield`", "call it"];
  said.forEach((text, place) => assert.ok(text.includes(advice[place] as string), text));
});

test("StepFailed is what an error becomes that no step names", async () => {
  const world = new World({ workflows: [telling] });
  world.stub(undo, () => {
    throw new Declined("plain");
  });
  assert.deepEqual(await (await world.start(telling())).result(), ["undo", "Declined", "plain", 1]);
});

const telling = workflow("telling", function* (): Workflow<any> {
  try {
    yield* undo("x");
  } catch (error) {
    if (error instanceof StepFailed) return [error.step, error.errorType, error.reason, error.attempts];
    throw error;
  }
});

test("what a step told of its progress is read by its next attempt, in the next worker as well", async () => {
  let lives = 0;
  const paging = step("paging", async () => {
    const { progress, ...info } = stepInfo();
    if (++lives > 1) return progress;
    stepInfo().heartbeat({ page: 7, of: info.step });
    await world.delay(3_600);
    return "too late";
  });
  const reading = workflow("reading", function* () {
    return yield* paging();
  });
  const world = new World({ workflows: [reading] });
  const run = await world.start(reading());
  await world.crash();

  assert.deepEqual(await run.result(), { page: 7, of: "paging" });
  assert.deepEqual(await run.state(), {});
});

test("a heartbeat that nobody wants is told so, and progress that is too large is refused", async () => {
  const told: string[] = [];
  const beating = step("beating", async () => {
    const info = stepInfo();
    try {
      info.heartbeat("x".repeat(70_000));
    } catch (error) {
      told.push((error as Error).name);
    }
    await world.delay(10);
    try {
      info.heartbeat(1);
    } catch (error) {
      told.push((error as Error).name);
    }
  });
  const late = workflow("late", function* () {
    yield* timeout(beating(), 5);
  });
  const world = new World({ workflows: [late] });
  await assert.rejects((await world.start(late())).result(), RunFailed);
  await world.advance(20);

  assert.deepEqual(told, ["PayloadTooLarge", "Cancelled"]);
});
