/**
 * The workflows of the conformance cases, as `tests/conformance/workflows.py` says them in Python: the same words, the same order.
 *
 * Steps are only their names and arguments; nobody calls them.
 */

import {
  Cancelled,
  ChildFailed,
  EffectError,
  StepFailed,
  StepInterrupted,
  TimedOut,
  annotate,
  cancel,
  continueAsNew,
  gather,
  general,
  info,
  join,
  log,
  now,
  onUpdate,
  patched,
  publish,
  race,
  random,
  resumable,
  savepoint,
  sendSignal,
  setState,
  setTags,
  shield,
  signal,
  sleep,
  spawn,
  startChild,
  step,
  timeout,
  uuid,
  workflow,
  type Branch,
  type Effect,
  type Workflow,
  type WorkflowFunction,
} from "replay-engine";

// ---- steps -----------------------------------------------------------------------------------------------------------------

const double = step("double", (n: number): number => 2 * n);
const echo = step("echo", (value: any): any => value);
const undo = step("undo", (_what: string): void => undefined);
const charge = step("charge", (card: string, _cents: number): string => card);
const careful = step("careful", (n: number): number => n, { onCancel: "wait" });
const lax = step("lax", (n: number): number => n, { compareArguments: false });

// ---- helpers ---------------------------------------------------------------------------------------------------------------

function* doubled(n: number): Workflow<number> {
  const once = yield* double(n);
  return yield* double(once);
}

/** Whatever happens to the branch, `undo` follows it. */
function* cleaning(branch: Effect<any>, what: string): Workflow<any> {
  try {
    return yield* branch;
  } finally {
    yield* undo(what);
  }
}

function* hearing(name: string): Workflow<any> {
  return yield* signal(name);
}

// ---- in turn ---------------------------------------------------------------------------------------------------------------

const nothing = workflow("nothing", function* () {
  return "done";
});

const sequence = workflow("sequence", function* (n: number) {
  const once = yield* double(n);
  const twice = yield* double(once);
  return once + twice;
});

const echoing = workflow("echoing", function* (value: any): Workflow<any> {
  const first = yield* echo(value);
  const second = yield* echo({ given: value, got: first });
  return [first, second];
});

const catching = workflow("catching", function* (): Workflow<any[]> {
  const seen: any[] = [];
  for (let n = 0; n < 3; n++) {
    try {
      seen.push(yield* double(n));
    } catch (error) {
      if (error instanceof StepFailed) seen.push(["failed", error.step, error.errorType, error.reason, error.attempts]);
      else if (error instanceof TimedOut) seen.push(["timed out", error.what, error.seconds]);
      else if (error instanceof StepInterrupted) seen.push(["interrupted", error.step]);
      else throw error;
    }
  }
  return seen;
});

const lazily = workflow("lazily", function* (n: number) {
  return yield* lax(n);
});

const tidy = workflow("tidy", function* (): Workflow<number> {
  return yield* cleaning(double(1), "it");
});

// ---- time ------------------------------------------------------------------------------------------------------------------

const napping = workflow("napping", function* (seconds: number) {
  const before = yield* now();
  yield* sleep(seconds);
  const after = yield* now();
  return [before.micros, after.micros];
});

const until = workflow("until", function* (moment: number) {
  yield* sleep({ until: Object.assign(new Date(0), { micros: moment }) });
  return "awake";
});

const clock = workflow("clock", function* () {
  const seen = [(yield* now()).micros];
  for (let n = 0; n < 3; n++) {
    yield* double(n);
    seen.push((yield* now()).micros);
  }
  return seen;
});

// ---- signals ---------------------------------------------------------------------------------------------------------------

const listening = workflow("listening", function* (count: number) {
  const heard: any[] = [];
  for (let n = 0; n < count; n++) heard.push(yield* signal("word"));
  yield* echo(heard);
  return heard;
});

const readingLate = workflow("reading_late", function* () {
  yield* sleep(1);
  const heard: any[] = [];
  for (let n = 0; n < 3; n++) heard.push(yield* signal("word"));
  yield* echo(heard);
  return heard;
});

const patient = workflow("patient", function* (withDefault: boolean): Workflow<any[]> {
  const first = withDefault ? yield* signal("go", { timeout: 5, default: "nobody came" }) : yield* signal("go", { timeout: 5 });
  return [first, yield* signal("go")];
});

const several = workflow("several", function* () {
  return yield* gather([hearing("word"), hearing("word"), hearing("other"), hearing("word")]);
});

const leavingTheQueue = workflow("leaving_the_queue", function* (): Workflow<any> {
  const first = yield* spawn(hearing("word"));
  const second = yield* spawn(hearing("word"));
  yield* sleep(1);
  yield* cancel(first);
  return yield* join(second);
});

// ---- side by side ----------------------------------------------------------------------------------------------------------

const pair = workflow("pair", function* (a: number, b: number) {
  return yield* gather([double(a), double(b)]);
});

const nested = workflow("nested", function* (): Workflow<any> {
  const [left, [middle, right]] = yield* gather([doubled(1), gather([double(2), gather([double(3), doubled(4)])])]);
  const last = yield* double(5);
  return [left, middle, right, last];
});

const upTo = (n: number) => Array.from({ length: n }, (_, i) => double(i));

const limited = workflow("limited", function* (n: number, limit: number) {
  return yield* gather(upTo(n), { limit });
});

const lenient = workflow("lenient", function* (): Workflow<any[]> {
  const got = yield* gather([double(1), double(2), double(3)], { returnErrors: true });
  return got.map((each) => (each instanceof StepFailed ? each.reason : each));
});

const enough = workflow("enough", function* (n: number, least: number) {
  return yield* gather(upTo(n), { minSuccessful: least });
});

const tidyGather = workflow("tidy_gather", function* () {
  try {
    yield* gather([cleaning(double(1), "a"), double(2), cleaning(double(3), "c")]);
  } catch (error) {
    if (error instanceof StepFailed) return error.reason;
    throw error;
  }
  return "no failure";
});

const empty = workflow("empty", function* (): Workflow<any[]> {
  const got = yield* gather([]);
  return [got, yield* double(1)];
});

const startingOrder = workflow("starting_order", function* (): Workflow<void> {
  function* branch(name: string): Workflow<void> {
    yield* publish("order", `${name} begins`);
    yield* gather([inner(`${name}1`), inner(`${name}2`)]);
    yield* publish("order", `${name} ends`);
  }
  function* inner(name: string): Workflow<void> {
    yield* publish("order", name);
    yield* double(1);
    yield* publish("order", `${name} ends`);
  }
  yield* spawn(branch("s"));
  yield* publish("order", "root");
  yield* gather([branch("a"), branch("b")]);
});

const fastest = workflow("fastest", function* (n: number) {
  return yield* race(upTo(n));
});

const tidyRace = workflow("tidy_race", function* (): Workflow<any[]> {
  return yield* race([cleaning(double(1), "a"), double(2), careful(3)]);
});

const hurried = workflow("hurried", function* (): Workflow<any> {
  try {
    return yield* timeout(cleaning(double(1), "it"), 2.5);
  } catch (error) {
    if (error instanceof TimedOut) return `timed out after ${general(error.seconds)}`;
    throw error;
  }
});

const timeoutInTimeout = workflow("timeout_in_timeout", function* () {
  function* inner(): Workflow<string> {
    try {
      yield* timeout(double(1), 1);
    } catch (error) {
      if (error instanceof TimedOut) return "inner";
      throw error;
    }
    return "in time";
  }
  try {
    return yield* timeout(inner(), 5);
  } catch (error) {
    if (error instanceof TimedOut) return "outer";
    throw error;
  }
});

// ---- beside ----------------------------------------------------------------------------------------------------------------

const beside = workflow("beside", function* () {
  const handle = yield* spawn(doubled(1));
  const here = yield* double(10);
  return here + (yield* join(handle));
});

const joinedByMany = workflow("joined_by_many", function* () {
  const handle = yield* spawn(double(1));
  function* waiting(): Workflow<number> {
    return yield* join(handle);
  }
  return yield* gather([waiting(), waiting(), join(handle)]);
});

const stopping = workflow("stopping", function* () {
  const handle = yield* spawn(cleaning(double(1), "it"));
  yield* sleep(1);
  yield* cancel(handle, "no longer needed");
  yield* cancel(handle, "again");
  try {
    yield* join(handle);
  } catch (error) {
    if (error instanceof Cancelled) return error.reason;
    throw error;
  }
  return "not cancelled";
});

const neverBegun = workflow("never_begun", function* () {
  function* branch(): Workflow<void> {
    yield* publish("order", "never");
    yield* double(1);
  }
  const handle = yield* spawn(branch());
  yield* cancel(handle);
  yield* sleep(1);
  try {
    yield* join(handle);
  } catch (error) {
    if (error instanceof Cancelled) return error.reason;
    throw error;
  }
  return "not cancelled";
});

const leaving = workflow("leaving", function* () {
  function* late(): Workflow<void> {
    try {
      yield* double(2);
    } finally {
      yield* undo("b");
      yield* spawn(double(3));
    }
  }
  yield* spawn(cleaning(double(1), "a"));
  yield* spawn(late());
  yield* sleep(1);
  return "left";
});

const answerFirst = workflow("answer_first", function* (): Workflow<any[]> {
  const seen: any[] = [];
  const source = yield* spawn(double(1));
  const handles: any[] = [];
  function* canceller(): Workflow<void> {
    yield* join(source);
    yield* cancel(handles[0], "too late");
  }
  function* victim(): Workflow<void> {
    seen.push(yield* join(source));
    seen.push((yield* random()) < 1);
    yield* double(2);
    seen.push("never");
  }
  yield* spawn(canceller());
  handles.push(yield* spawn(victim()));
  yield* sleep(9);
  try {
    yield* join(handles[0]);
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    seen.push(error.reason);
  }
  return seen;
});

// ---- children --------------------------------------------------------------------------------------------------------------

const child = workflow("child", function* (n: number) {
  return yield* double(n);
});

const parent = workflow("parent", function* (n: number): Workflow<any> {
  let first: number;
  try {
    first = yield* child(n);
  } catch (error) {
    if (!(error instanceof ChildFailed)) throw error;
    return [error.run, error.workflow, error.errorType, error.reason, error.status];
  }
  const [second, third] = yield* gather([child(first), child(first).options({ id: "mine" })]);
  return [first, second, third];
});

type Policy = "cancel" | "abandon" | "wait";

const family = workflow("family", function* (policy: Policy) {
  const handle = yield* startChild(child(1), { onParentClose: policy });
  yield* sleep(1);
  return handle.runId;
});

const brief = workflow("brief", function* (policy: Policy) {
  const handle = yield* startChild(child(1), { id: "kid", onParentClose: policy });
  return handle.runId;
});

const joiningAChild = workflow("joining_a_child", function* (): Workflow<any> {
  const handle = yield* startChild(child(1));
  const here = yield* double(10);
  return [handle.runId, here, yield* join(handle)];
});

// ---- cancellation ----------------------------------------------------------------------------------------------------------

function* joining(effect: Effect<any>): Workflow<any> {
  const handle = yield* spawn(effect);
  return yield* join(handle);
}

const WAITS: Readonly<Record<string, () => Branch<unknown>>> = {
  step: () => double(1),
  timer: () => sleep(60),
  signal: () => signal("go"),
  "signal in time": () => signal("go", { timeout: 5 }),
  savepoint: () => savepoint("here"),
  child: () => child(1),
  join: () => joining(double(1)),
  gather: () => gather([double(1), sleep(1), signal("go"), child(2)]),
  limit: () => gather([double(1), double(2), double(3)], { limit: 2 }),
  race: () => race([double(1), double(2)]),
  timeout: () => timeout(double(1), 5),
  deep: () => gather([race([double(1), sleep(9)]), gather([doubled(2), timeout(double(3), 4)])]),
  shield: () => shield(doubled(1)),
  "shielded branch": () => gather([shield(double(1)), double(2)]),
  "guarded gather": () => shield(gather([double(1), double(2)])),
  careful: () => careful(1),
  "careful branch": () => gather([careful(1), double(2)]),
  "clean-up": () => gather([cleaning(double(1), "a"), gather([cleaning(double(2), "b"), double(3)])]),
};

const cancellable = workflow("cancellable", function* (where: string): Workflow<any[]> {
  let [waited, seen]: [any, string] = [null, "went on"];
  try {
    waited = yield* (WAITS[where] as () => Workflow<any>)();
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    seen = `cancelled: ${error.reason}`;
  }
  try {
    return [seen, yield* echo(seen)];
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    return [seen, where === "shield" ? waited : null, `then cancelled: ${error.reason}`];
  }
});

const stubborn = workflow("stubborn", function* (): Workflow<any[]> {
  const seen: any[] = [];
  try {
    for (;;) {
      try {
        yield* double(seen.length);
      } catch (error) {
        if (error instanceof Cancelled) throw error;
        seen.push("failed");
      }
    }
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    seen.push(error.reason);
  }
  seen.push(yield* gather([double(8), double(9)]));
  return seen;
});

// ---- updates ---------------------------------------------------------------------------------------------------------------

const counter = workflow("counter", function* () {
  let total = 0;
  yield* onUpdate(
    "add",
    (n: number) => {
      total += n;
      return total;
    },
    {
      validator: (n) => {
        if (n <= 0) throw new Error("give me more");
      },
    },
  );
  yield* onUpdate("ask", (value) => ({ asked: value }));
  yield* signal("stop");
  return total;
});

const workshop = workflow("workshop", function* () {
  const done: any[] = [];
  function* work(n: any): Workflow<any> {
    yield* publish("news", { begins: n });
    const twice = yield* doubled(n);
    done.push(twice);
    return { done: twice };
  }
  yield* onUpdate("work", work);
  yield* signal("stop");
  return done;
});

// ---- outputs ---------------------------------------------------------------------------------------------------------------

const talkative = workflow("talkative", function* () {
  function* branch(name: string): Workflow<void> {
    yield* publish("news", `${name} begins`);
    yield* double(1);
    yield* sendSignal("other", "ping", name);
  }
  yield* publish("news", { n: 1, é: [null] });
  yield* sendSignal("other-run", "ping", [1]);
  yield* gather([branch("a"), branch("b")]);
  yield* setState("stage", null);
  yield* setTags({ size: "L", colour: "" });
  yield* annotate("a note", { who: "me" });
  yield* log("a line", { n: 0 }, "warning");
  return "said";
});

// ---- chance and self -------------------------------------------------------------------------------------------------------

function* drawing(n: number): Workflow<any[]> {
  const drawn: any[] = [];
  for (let i = 0; i < n; i++) {
    drawn.push(yield* random());
    drawn.push(yield* uuid());
  }
  return drawn;
}

const chances = workflow("chances", function* (): Workflow<any[]> {
  const first = yield* drawing(2);
  const branches = yield* gather([drawing(1), drawing(1), random()]);
  yield* double(1);
  return [first, branches, yield* drawing(1)];
});

const chancesOverSavepoints = resumable("chances_over_savepoints", function* (state: any[] | undefined): Workflow<any[]> {
  const drawn = [...(state ?? [])];
  while (drawn.length < 4) {
    drawn.push(...(yield* drawing(1)));
    yield* savepoint(`after ${drawn.length}`, { state: drawn });
  }
  drawn.push(...(yield* drawing(1)));
  return drawn;
});

const curious = workflow("curious", function* (): Workflow<any[]> {
  const seen: any[] = [];
  for (let n = 0; n < 2; n++) {
    const me = yield* info();
    seen.push([me.runId, me.workflow, me.version, me.namespace, me.attempt, me.parent, me.journalLength, me.chain]);
    seen.push([me.deadline?.micros ?? null]);
    yield* double(n);
  }
  return seen;
});

// ---- patches ---------------------------------------------------------------------------------------------------------------

const patchy = resumable(
  "patchy",
  function* (state: any[] | undefined): Workflow<any[]> {
    const seen = [...(state ?? [])];
    while (seen.length < 2) {
      if (yield* patched("new-path")) seen.push(yield* echo(`new ${seen.length}`));
      else seen.push(yield* double(seen.length));
      yield* savepoint("turn", { state: seen });
    }
    return seen;
  },
  { patches: ["new-path"] },
);

const undeclared = workflow("undeclared", function* () {
  try {
    yield* patched("unheard-of");
  } catch (error) {
    if (error instanceof EffectError) return "refused";
    throw error;
  }
  return "accepted";
});

// ---- savepoints ------------------------------------------------------------------------------------------------------------

const thinking = workflow("thinking", function* () {
  yield* savepoint("plan", {
    goal: "win",
    hypotheses: ["h1", "h2"],
    questions: [],
    decisions: ["go"],
    nextStep: "run",
    mood: "good",
  });
  yield* gather([savepoint("left"), savepoint("right", { goal: "" })]);
  return "thought";
});

const looping = resumable("looping", function* (state: number[] | undefined, turns: number) {
  const done = [...(state ?? [])];
  while (done.length < turns) {
    done.push(yield* double(done.length));
    yield* savepoint(`turn ${done.length}`, { state: done, goal: "all" });
  }
  return done;
});

const chatty = resumable("chatty", function* (state: any[] | undefined): Workflow<any[]> {
  const said = [...(state ?? [])];
  yield* onUpdate("add", (value) => said.push(value));
  for (;;) {
    const word = yield* signal("word", { timeout: 60, default: "nothing" });
    said.push(word, yield* random(), yield* uuid(), (yield* now()).micros);
    yield* publish("news", word);
    said.push(...(yield* gather([double(said.length), double(1)])));
    const handle = yield* spawn(double(7));
    said.push(yield* join(handle));
    if (word === "stop") return said;
    yield* savepoint("turn", { state: said });
  }
});

const falsyState = resumable("falsy_state", function* (state: number | undefined) {
  if (state === undefined) {
    yield* double(1);
    yield* savepoint("zero", { state: 0 });
  }
  yield* double(2);
  return "done";
});

const careless = resumable("careless", function* (_state: number | undefined, where: string) {
  try {
    if (where === "branch") {
      yield* gather([savepoint("here", { state: 1 })]);
    } else {
      yield* spawn(double(1));
      yield* savepoint("here", { state: 1 });
    }
  } catch (error) {
    if (error instanceof EffectError) return "refused";
    throw error;
  }
  return "accepted";
});

// ---- the end ---------------------------------------------------------------------------------------------------------------

const onceMore = workflow("once_more", function* (n: number): Workflow<string> {
  yield* publish("news", n);
  const word = yield* signal("word");
  if (n < 3) yield* continueAsNew(n + 1);
  return `${n} ${word}`;
});

const goingOver = workflow("going_over", function* (): Workflow<any> {
  yield* double(1);
  yield* spawn(cleaning(double(2), "it"));
  yield* sleep(1);
  yield* continueAsNew(sequence(5));
});

const continuingInABranch = workflow("continuing_in_a_branch", function* () {
  try {
    yield* gather([continueAsNew()]);
  } catch (error) {
    if (error instanceof EffectError) return "refused";
    throw error;
  }
  return "accepted";
});

// ---- all together ----------------------------------------------------------------------------------------------------------

const order = workflow("order", function* (card: string, cents: number): Workflow<any> {
  const receipt = yield* charge(card, cents);
  yield* setState("receipt", receipt);
  const approved = yield* signal<boolean>("approved", { timeout: 86_400, default: false });
  if (!approved) {
    yield* undo(receipt);
    return { refunded: receipt };
  }
  const [shipped, mailed] = yield* gather([echo(`ship ${receipt}`), echo(`mail ${receipt}`)]);
  return { mailed, shipped };
});

const ALL: readonly WorkflowFunction<any, any>[] = [
  ...[nothing, sequence, echoing, catching, lazily, tidy, napping, until, clock, listening, readingLate, patient, several],
  ...[leavingTheQueue, pair, nested, limited, lenient, enough, tidyGather, empty, startingOrder, fastest, tidyRace, hurried],
  ...[timeoutInTimeout, beside, joinedByMany, stopping, neverBegun, leaving, answerFirst, child, parent, family, brief],
  ...[joiningAChild, cancellable, stubborn, counter, workshop, talkative, chances, chancesOverSavepoints, curious, patchy],
  ...[undeclared, thinking, looping, chatty, falsyState, careless, onceMore, goingOver, continuingInABranch, order],
];

/** The workflows by the names that cases call them. */
export const WORKFLOWS: ReadonlyMap<string, WorkflowFunction<any, any>> = new Map(ALL.map((each) => [each.spec.name, each]));
