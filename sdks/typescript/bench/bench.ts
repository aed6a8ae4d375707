/**
 * How fast: replaying a journal of 10,000 steps in the interpreter alone (W1); over loopback against a `replay serve` (SQLite in a
 * temporary folder) one run of 1,000 steps in sequence (W2), 500 runs of 5 steps (W3), and one run of one step from its start to its result
 * (W5). Machines are noisy: the ratios of one run are what counts.
 *
 *     npm run bench                  (starts a server with ../../.venv/bin/replay)
 *     npm run bench -- grpc://…      (against a server that runs)
 */

import { readFileSync } from "node:fs";
import { Client, Worker, step, toText, workflow } from "replay-engine";
import { bytesOf, fromBytes } from "../src/codec/json.js";
import { Interpreter } from "../src/interpreter/interpreter.js";
import { startedText } from "../src/model/journal.js";
import { blank, type Event, type Lease } from "../src/model/records.js";
import { VERBS } from "../src/wire/channel.js";
import { GrpcStore } from "../src/wire/store.js";
import { newRun } from "../src/worker/family.js";
import { serve } from "../test/server.js";

const inc = step("inc", (n: number) => n + 1);
const sequence = workflow("sequence", function* (count: number) {
  let n = 0;
  for (let done = 0; done < count; done++) n = yield* inc(n);
  return n;
});

const TARGETS = { "W2 steps/s": 1_200, "W3 runs/s": 800 };

function best(times: number, work: () => void): number {
  const found = Array.from({ length: times }, () => {
    const began = performance.now();
    work();
    return performance.now() - began;
  });
  return Math.min(...found) / 1000;
}

function journal(count: number): Event[] {
  const base = { at: 1e15, attempt: 1, duration: 0, line: "", worker: "" };
  const input = toText([count]);
  const started = { ...base, seq: 1, kind: "started", command: "", name: "sequence", payload: bytesOf(startedText({ workflow: "sequence", input })), check: 0 };
  const steps = Array.from({ length: count }, (_, n) => {
    const check = inc(n).check;
    return { ...base, seq: n + 2, kind: "step_completed", command: String(n), name: "inc", payload: bytesOf(String(n + 1)), check };
  });
  return [started, ...steps];
}

function replayRate(count: number): void {
  const events = journal(count);
  const replay = best(20, () => {
    const machine = new Interpreter(sequence.spec, "run");
    for (const event of events) machine.feed(event);
    if (machine.outcome?.payload !== String(count)) throw new Error("it did not come to its end");
  });
  const limit = best(20, () => {
    let place = 1;
    const bare = (function* (): Generator<string, number, number> {
      let n = 0;
      for (let done = 0; done < count; done++) n = yield "inc";
      return n;
    })();
    bare.next();
    for (; place < events.length; place++) bare.next(fromBytes((events[place] as Event).payload) as number);
  });
  console.log(`W1 steps/s: ${rate(count / replay)}, ${ratio(limit / replay)} of a bare generator that reads the payloads`);
}

const rate = (value: number) => Math.round(value).toLocaleString("en");
const ratio = (value: number) => value.toFixed(2);

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** Seconds of CPU that this process and the server have used so far: what noise on the machine does not change much. */
function cpu(): [ours: number, theirs: number] {
  const { user, system } = process.cpuUsage();
  const fields = server === undefined ? [] : readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1]?.split(" ");
  return [(user + system) / 1e6, (Number(fields?.[11] ?? 0) + Number(fields?.[12] ?? 0)) / 100];
}

async function measured(name: keyof typeof TARGETS, count: number, work: () => Promise<void>): Promise<number> {
  const [ours, theirs] = cpu();
  const found = count / (await timed(work));
  const [after, there] = cpu();
  const each = (seconds: number) => `${Math.round((1e6 * seconds) / count)} µs`;
  console.log(`${name}: ${rate(found)}, ${ratio(found / TARGETS[name])} of the target of ${rate(TARGETS[name])}; CPU here ${each(after - ours)}, server ${each(there - theirs)} each`);
  return found;
}

/** One commit of one event after the other over the stream, without a worker: what the server and the wire allow. */
async function bareCommits(url: string, count: number): Promise<number> {
  const store = await GrpcStore.open(url, "default");
  const key = { namespace: "default", id: `bare-${Date.now()}` };
  const made = newRun(key, { workflow: "bare", input: "[]" }, store.now());
  const { runs } = await store.channel.call(VERBS.create, { runs: [made], worker: "bare", ttl: 60e6 });
  const lease = runs[0]?.lease as Lease;
  const seconds = await timed(async () => {
    for (let seq = 2; seq < count + 2; seq++) {
      const event = { seq, kind: "step_completed", command: String(seq - 2), name: "inc", payload: bytesOf(String(seq)), check: 1, attempt: 1, duration: 9 };
      const events = [{ ...event, at: store.now(), line: "/work/bench.js:24", worker: "bare" }];
      const [fate] = await store.commit([{ ...blank(), lease, expected: seq - 1, events, status: "running", applied: seq, release: false }], false);
      if (fate !== "applied") throw new Error(`commit ${seq} was ${fate}`);
    }
  });
  store.close();
  return count / seconds;
}

async function overTheWire(url: string): Promise<void> {
  const client = new Client(url);
  const worker = new Worker(url, { workflows: [sequence] });
  const working = worker.run({ signals: [] });
  const run = async (count: number) => void (await (await client.start(sequence(count))).result());
  await run(10);
  for (let round = 0; round < 3; round++) {
    const limit = await bareCommits(url, 1_000);
    const steps = await measured("W2 steps/s", 1_000, () => run(1_000));
    console.log(`    bare commits over the stream: ${rate(limit)}/s; W2 reaches ${ratio(steps / limit)} of that`);
    await measured("W3 runs/s", 500, async () => void (await Promise.all(Array.from({ length: 500 }, () => run(5)))));
  }
  const spans: number[] = [];
  for (let n = 0; n < 200; n++) spans.push(1_000 * (await timed(() => run(1))));
  console.log(`W5 p50 ms: ${ratio(spans.sort((one, other) => one - other)[100] ?? 0)}`);
  worker.stop();
  await working;
  client.close();
}

replayRate(10_000);
const given = process.argv[2];
const server = given === undefined ? await serve() : undefined;
await overTheWire(given ?? server?.url ?? "").finally(() => server?.stop());
