/** The workflows of the server tests, and a worker process of them: `node shop.js URL [queue]`. It tells what it does on standard output. */

import { argv } from "node:process";
import { setTimeout as rest } from "node:timers/promises";
import {
  Worker,
  gather,
  info,
  log,
  onQuery,
  onUpdate,
  patched,
  publish,
  resumable,
  savepoint,
  setState,
  setTags,
  shield,
  signal,
  sleep,
  step,
  stepInfo,
  workflow,
  type Workflow,
} from "replay-engine";

const say = (...words: unknown[]) => process.stdout.write(`${words.join(" ")}\n`);

export const work = step("work", async (n: number) => {
  say("work", n);
  await rest(20);
  return n * 2;
});
export const hang = step("hang", async (ms: number) => {
  say("hang");
  try {
    await rest(ms, undefined, { signal: stepInfo().signal });
  } catch (error) {
    say("aborted");
    throw error;
  }
  say("hung");
  return "hung";
});
export const tidy = step("tidy", (what: string) => say("tidy", what));
export const remote = step("remote", (name: string) => `${name} by ${stepInfo().idempotencyKey}`, { queue: "elsewhere" });

export const long = workflow("ts.long", function* (count: number) {
  let sum = 0;
  for (let n = 0; n < count; n++) sum += yield* work(n);
  return sum;
});

export const hanging = workflow("ts.hanging", function* (ms: number) {
  try {
    return yield* hang(ms);
  } finally {
    yield* shield(tidy("all"));
  }
});

export const everything = workflow(
  "ts.everything",
  function* (name: string): Workflow<any> {
    const heard: unknown[] = [];
    yield* onUpdate("add", (item: number) => heard.push(item), {
      validator: (item) => {
        if (item < 0) throw new RangeError("less than nothing");
      },
    });
    yield* onQuery("heard", (times = 1) => heard.length * times);
    yield* setState("stage", "begun");
    yield* setTags({ colour: "blue" });
    yield* log("hello", { name });
    yield* publish(`news-${name}`, { n: 1 });
    yield* savepoint("first", { goal: "win" });
    const [two, far, child] = yield* gather([work(1), remote(name), long(2)]);
    yield* sleep(0.05);
    const word = yield* signal<string>("word", { timeout: 60 });
    const me = yield* info();
    yield* publish(`news-${name}`, { n: 2 });
    return [two, far, child, word, heard, me.runId === name, yield* patched("new")];
  },
  { patches: ["new"] },
);

export const turning = resumable("ts.turning", function* (state: number | undefined, turns: number): Workflow<number> {
  let turn = state ?? 0;
  while (turn < turns) {
    yield* signal("go");
    turn += (yield* work(1)) / 2;
    yield* savepoint("turn", { state: turn }); // a turn's last effect: to begin here is to go on here
  }
  return turn;
});

export const ALL = { workflows: [long, hanging, everything, turning], steps: [remote] };

if (argv[1]?.endsWith("shop.js")) {
  const worker = new Worker(argv[2] as string, { ...ALL, queues: [argv[3] ?? "default"], ttl: 2 });
  say("ready");
  await worker.run({ grace: 5 });
  say("ended");
}
