/** Against a real `replay serve`: everything that crosses the wire, and processes that are killed. */

import assert from "node:assert/strict";
import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Server as GrpcServer, ServerCredentials, type sendUnaryData } from "@grpc/grpc-js";
import {
  Client,
  InvalidRequest,
  RunClosed,
  RunExists,
  RunFailed,
  StoreRefused,
  StoreUnavailable,
  UnknownRun,
  UpdateRefused,
  WaitTimedOut,
  Worker,
  gather,
  random,
  signal,
  step,
  stepInfo,
  workflow,
  type Queue,
  type Workflow,
} from "replay-engine";
import { HelloResponse } from "../src/generated/worker.js";
import { PYTHON, REPLAY, ROOT, serve, type Server } from "./server.js";
import { ALL, everything, hanging, long, turning } from "./shop.js";

const quiet = { log: () => undefined };
const SHOP = fileURLToPath(new URL("./shop.js", import.meta.url));

/** A worker in a process of its own, and what it says. */
class WorkerProcess {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;
  #heard: () => void = () => undefined;

  constructor(url: string, queue = "default") {
    this.#process = spawn(process.execPath, [SHOP, url, queue], { stdio: ["ignore", "pipe", "ignore"] });
    createInterface({ input: this.#process.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      this.lines.push(line);
      this.#heard();
    });
  }

  /** Wait until it has said something so often. */
  async says(line: string, times = 1): Promise<void> {
    while (this.lines.filter((each) => each === line).length < times) await new Promise<void>((resolve) => (this.#heard = resolve));
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#process.exitCode !== null) return this.#process.exitCode;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    const [code] = (await ended) as [number | null];
    return code;
  }
}

async function working<T>(url: string, work: () => Promise<T>, options: Partial<ConstructorParameters<typeof Worker>[1]> = {}): Promise<T> {
  const worker = new Worker(url, { ...ALL, logger: quiet, ...options });
  const running = worker.run({ signals: [] });
  try {
    return await Promise.race([work(), running.then(() => assert.fail("the worker ended"))]);
  } finally {
    worker.stop(1);
    await running;
  }
}

let server: Server;
let client: Client;
before(async () => {
  server = await serve();
  client = new Client(server.url);
});
after(async () => {
  client.close();
  await server.stop();
});

async function all<T>(entries: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

test("results that are too large for one answer together are read in several", async () => {
  const bulky = workflow("ts.bulky", function* (size: number) {
    return "x".repeat(size);
  });
  const careful = new Client(`${server.url}?max_message=50000`);
  try {
    await working(
      server.url,
      async () => {
        const sizes = [20_000, 20_000, 20_000, 20_000, 20_000];
        const runs = await Promise.all(sizes.map((size, n) => client.start(bulky(size), { id: `bulky-${n}` })));
        await Promise.all(runs.map((run) => run.result()));
        const read = await Promise.all(runs.map((run) => careful.handle<string>(run.id).result()));
        assert.deepEqual(read.map((text) => text.length), sizes);
        const huge = await client.start(bulky(100_000), { id: "bulky" });
        assert.equal((await huge.result()).length, 100_000);
        await assert.rejects(careful.handle("bulky").result(), StoreRefused);
      },
      { workflows: [bulky], steps: [] },
    );
  } finally {
    careful.close();
  }
});

test("who asks a run that nobody drives is told where it stands, not that the server is away", async () => {
  const hasty = new Client(server.url, { deadline: 0.3 });
  try {
    const run = await hasty.start(hanging(1), { id: "undriven", queue: "nobody" });
    const late = { name: "WaitTimedOut", run: "undriven", seconds: 0.3, status: "pending" };
    await assert.rejects(run.query("heard"), late);
    await assert.rejects(run.update("add", 7, { timeout: 0.3 }), late);
    await run.terminate();
  } finally {
    hasty.close();
  }
});

test("a run from its start to its result, with everything in between", async () => {
  await working(server.url, async () => {
    const logged: string[] = [];
    const logger = { log: (level: string, message: string) => void (level === "info" && logged.push(message)) };
    await working(
      server.url,
      async () => {
        const run = await client.start(everything("every"), { id: "every", tags: { size: "L", colour: "red" } });
        assert.equal(await run.update("add", 7), 1);
        await assert.rejects(run.update("add", -1), UpdateRefused);
        assert.deepEqual([await run.query("heard"), await run.query("heard", 3)], [1, 3]);
        await assert.rejects(run.query("seen"), InvalidRequest);
        await run.signal("word", "go");
        const expected = [2, "every by every.1/1/0#0", 2, "go", [7], true, true];
        assert.deepEqual(await run.result(), expected);

        await assert.rejects(run.query("heard"), RunClosed);
        const view = await run.get();
        assert.equal(view.status, "completed");
        assert.deepEqual(view.state, { stage: "begun" });
        assert.deepEqual(view.tags, { size: "L", colour: "blue" });
        assert.deepEqual((await run.savepoints()).map(({ name, notes }) => [name, notes]), [["first", { goal: "win" }]]);
        assert.deepEqual((await all(client.topic("news-every"))).map((entry) => entry.data), [{ n: 1 }, { n: 2 }]);
        const events = await all(run.journal());
        assert.deepEqual(events.map((event) => event.seq), events.map((_, place) => place + 1));
        assert.equal(events.at(-1)?.kind, "completed");
        assert.match(events.find((event) => event.name === "work")?.line ?? "", /shop\.[jt]s:\d+$/);
        assert.equal((await all(run.watch())).at(-1)?.status, "completed");
      },
      { queues: ["default", "elsewhere"], logger },
    );
    assert.ok(logged.filter((line) => line === "hello").length <= 1);
  }, { workflows: [long], queues: ["default"] });
});

test("starting is idempotent by id, and typed errors come back", async () => {
  const first = await client.start(long(1), { id: "same", queue: "nobody" });
  await client.start(long(1), { id: "same", queue: "nobody" });

  await assert.rejects(client.start(long(2), { id: "same" }), (error: RunExists) => error instanceof RunExists && error.run === "same");
  await assert.rejects(client.get("missing"), (error: UnknownRun) => error instanceof UnknownRun && error.run === "missing");
  await assert.rejects(client.handle("missing").result(), UnknownRun);
  await assert.rejects(first.result({ timeout: 0.2 }), (error: WaitTimedOut) => error instanceof WaitTimedOut && error.status === "pending");
  await first.terminate("enough");
  await working(server.url, async () => {
    await assert.rejects(first.result(), (error: RunFailed) => error.status === "terminated" && error.reason === "enough");
  }, { queues: ["nobody"] });
  await assert.rejects(first.signal("x"), (error: RunClosed) => error instanceof RunClosed && error.status === "terminated");
  await assert.rejects(first.fork({ at: "nowhere" }), /nowhere/);
});

test("several starts in one breath are made together, and each has its own answer", async () => {
  await client.start(long(1), { id: "taken", queue: "nobody" });
  const asked = [{ id: "breath-0" }, { id: "taken" }, { id: "two\nlines" }, { id: "breath-1", deadline: 60, delay: 5, tags: { kind: "last" } }];
  const made = await Promise.allSettled(asked.map((options) => client.start(long(2), { ...options, queue: "nobody" })));

  const errors = made.map((each) => (each.status === "rejected" ? each.reason.constructor : undefined));
  assert.deepEqual(errors, [undefined, RunExists, InvalidRequest, undefined]);
  assert.match(String((made[1] as PromiseRejectedResult).reason), /taken/);
  const [, last] = await Promise.all(["breath-0", "breath-1"].map((id) => client.get(id)));
  assert.deepEqual([last?.status, last?.queue, last?.tags], ["pending", "nobody", { kind: "last" }]);
});

test("a control or a fork that is asked again is one", async () => {
  const run = await client.start(long(3), { id: "asked-again", queue: "nobody" });
  const forks = [await run.fork({ id: "branch" }), await run.fork({ id: "branch" })];
  assert.deepEqual(forks.map((fork) => fork.id), ["branch", "branch"]);
  const other = await client.start(long(4), { id: "asked-otherwise", queue: "nobody" });
  await assert.rejects(other.fork({ id: "branch" }), RunExists);
});

test("lists are filtered and read in pages", async () => {
  for (let n = 0; n < 7; n++) await client.start(long(n), { id: `page-${n}`, queue: "nobody", tags: { kind: n % 2 ? "odd" : "even" } });

  assert.equal((await all(client.list({ prefix: "page-" }, { pageSize: 2 }))).length, 7);
  assert.equal((await all(client.list({ prefix: "page-", tags: { kind: "odd" }, statuses: ["pending"] }))).length, 3);
  assert.equal((await all(client.list({ workflow: "nothing of that name" }))).length, 0);
});

test("signal with start, pause, resume, topics", async () => {
  await client.publish("sub", 1, 2);
  const follower = client.topic<number>("sub", { follow: true });
  assert.equal((await follower.next()).value?.data, 1);
  assert.equal((await follower.next()).value?.data, 2);
  const next = follower.next();
  await client.publish("sub", 3);
  assert.equal((await next).value?.data, 3);
  await follower.return();

  await working(server.url, async () => {
    const run = await client.signalWithStart(turning(2), "go", null, { id: "turn" });
    await untilStatus(run, "waiting");
    await run.pause();
    await untilStatus(run, "paused");
    await run.signal("go");
    await run.resume();
    assert.equal(await run.result(), 2);
    const fork = await run.fork({ at: "turn" });
    assert.equal((await fork.get()).source.startsWith("turn#"), true);
    assert.equal(await fork.result(), 2);
  });
});

async function untilStatus(run: { watch(): AsyncIterable<{ status: string }> }, status: string): Promise<void> {
  for await (const view of run.watch()) if (view.status === status) return;
}

test("a worker that is killed is replaced, and nothing is done twice that was recorded", async () => {
  const first = new WorkerProcess(server.url);
  const run = await client.start(long(30), { id: "killed" });
  await first.says("work 5");
  await first.end("SIGKILL");
  const second = new WorkerProcess(server.url);
  assert.equal(await run.result({ timeout: 60 }), 870);
  await second.end("SIGTERM");

  const recorded = (await all(run.journal())).filter((event) => event.worker.includes(`/`)).map((event) => event.worker);
  assert.equal(new Set(recorded).size, 2);
  assert.ok(first.lines.length + second.lines.filter((line) => line.startsWith("work")).length <= 33, "at most the last step twice");
});

test("cancelling aborts what runs, and the run cleans up", async () => {
  const worker = new WorkerProcess(server.url);
  const run = await client.start(hanging(60_000));
  await worker.says("hang");
  await run.cancel("no longer needed");

  await assert.rejects(run.result(), (error: RunFailed) => error.status === "cancelled" && error.reason === "no longer needed");
  await worker.says("tidy all");
  assert.deepEqual(worker.lines.slice(1).sort(), ["aborted", "hang", "tidy all"]);
  assert.equal(await worker.end("SIGTERM"), 0);
});

test("SIGTERM lets steps end, commits them, gives the runs back at once, and nothing holds up the process", { timeout: 15_000 }, async () => {
  const first = new WorkerProcess(server.url);
  const run = await client.start(hanging(700));
  await first.says("hang");
  assert.equal(await first.end("SIGTERM"), 0);
  assert.deepEqual(first.lines, ["ready", "hang", "hung", "ended"]);
  const view = await run.get();
  assert.equal(view.worker, "");
  assert.equal(view.seq, 2);

  const second = new WorkerProcess(server.url);
  assert.equal(await run.result(), "hung");
  assert.equal(second.lines.includes("hang"), false);
  await second.end("SIGTERM");
});

test("a worker that slept through its lease drops its turn; the run has one owner", async () => {
  const first = new WorkerProcess(server.url);
  const run = await client.start(hanging(1_500));
  await first.says("hang");
  first.signal("SIGSTOP");
  const second = new WorkerProcess(server.url);
  assert.equal(await run.result(), "hung");
  first.signal("SIGCONT");
  const other = await client.start(hanging(1));
  assert.equal(await other.result(), "hung");

  assert.equal(await second.end("SIGTERM"), 0);
  assert.equal(await (await client.start(hanging(1))).result(), "hung"); // the first one works on
  assert.equal(await first.end("SIGTERM"), 0);
  const events = await all(run.journal());
  assert.deepEqual(events.map((event) => event.kind), ["started", "step_completed", "step_completed", "completed"]);
  assert.equal(new Set(events.slice(1).map((event) => event.worker)).size, 1);
});

test("a server that is killed and started again is a pause and no failure", async () => {
  await working(server.url, async () => {
    const run = await client.start(long(40), { id: "restart" });
    const follower = all(run.journal({ follow: true }));
    const watcher = all(run.watch());
    const result = run.result();
    for await (const view of run.watch()) if (view.seq > 5) break;
    await server.kill();
    const asked = client.start(long(1), { id: "meanwhile" });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await server.start();

    assert.equal(await result, 1_560);
    assert.equal(await (await asked).result(), 0);
    assert.deepEqual((await follower).map((event) => event.seq), Array.from({ length: 42 }, (_, place) => place + 1));
    assert.equal((await watcher).at(-1)?.status, "completed");
    await server.kill("SIGTERM"); // and a server that ends gracefully
    await server.start();
    assert.equal(await (await client.start(long(2))).result(), 2);
  });
});

test("a run whose code does not fit is stuck with the report, and goes on with code that does", async () => {
  const changed = step("changed", (n: number) => n);
  const other = workflow("ts.everything", function* (name: string) {
    return yield* changed(name.length);
  });
  const run = await working(server.url, async () => {
    const started = await client.start(everything("stuck"), { id: "stuck" });
    for await (const view of started.watch()) if (view.seq >= 3) break;
    return started;
  });
  await working(server.url, async () => {
    await run.signal("anything"); // it waits for children: somebody must wake it
    const report = /recorded: {2}savepoint first as command 0 .*\n.*now asks: {2}step changed\(5\) as command 0 .*what to do/s;
    await assert.rejects(run.result(), (error: RunFailed) => error.status === "stuck" && report.test(error.reason));
  }, { workflows: [other] });
  assert.equal((await run.get()).status, "stuck");
  await working(server.url, async () => {
    await run.signal("word", "on");
    await untilStatus(run, "completed");
    assert.equal((await run.result())[3], "on");
  }, { queues: ["default", "elsewhere"] });
});

test("two workers share the work, and each run has one owner", async () => {
  await working(server.url, () =>
    working(server.url, async () => {
      const runs = await Promise.all(Array.from({ length: 30 }, () => client.start(long(3))));
      assert.deepEqual(await Promise.all(runs.map((run) => run.result())), runs.map(() => 6));
    }, { concurrency: 5 }), { concurrency: 5 });
});

test("limits of queues are kept, and a server that knows none is refused", async () => {
  let [under, most, widest] = [0, 0, 0];
  const narrow = step("narrow", async () => {
    most = Math.max(most, ++under);
    await new Promise((resolve) => setTimeout(resolve, 20));
    under--;
  });
  const squeezing = workflow("squeezing", function* () {
    yield* narrow();
  });
  const work = async (queue: Queue) => {
    const runs = await Promise.all([1, 2, 3].map(() => client.start(squeezing(), { queue: queue.name, key: "one" })));
    await working(server.url, () => Promise.all(runs.map((run) => run.result())), { workflows: [squeezing], queues: ["default", queue] });
  };
  for (const limits of [{ concurrency: 1 }, { perKey: 1 }, { here: 1 }, { rate: { count: 1, per: 0.1 } }]) {
    await work({ name: `narrow ${Object.keys(limits)[0]}`, ...limits });
    [widest, most] = [Math.max(widest, most), 0];
  }
  assert.equal(widest, 1);
  assert.throws(() => new Worker(server.url, { ...ALL, queues: [{ name: "gpu", perKey: 0 }] }), /queue 'gpu': perKey: expected a whole number/);

  const older = new GrpcServer();
  const reply = Buffer.from(HelloResponse.encode(HelloResponse.fromPartial({ protocol: 1, now: 1 })).finish());
  const plain = { requestStream: false, responseStream: false, requestSerialize: Buffer.from, requestDeserialize: Buffer.from };
  const hello = { path: "/replay.v1.WorkerService/Hello", ...plain, responseSerialize: Buffer.from, responseDeserialize: Buffer.from };
  older.addService({ hello }, { hello: (_call: unknown, answer: sendUnaryData<Buffer>) => answer(null, reply) });
  const port = await promisify(older.bindAsync.bind(older))("127.0.0.1:0", ServerCredentials.createInsecure());
  const worker = new Worker(`grpc://127.0.0.1:${port}`, { ...ALL, logger: quiet, queues: [{ name: "gpu", here: 1 }] });
  await assert.rejects(worker.run({ signals: [] }), /keeps to no limits of queues/);
  older.forceShutdown();
});

test("results too large for a journal fail their step; messages too large are refused", async () => {
  const big = step("big", (size: number) => "x".repeat(size));
  const carrying = workflow("ts.carrying", function* (size: number) {
    return (yield* big(size)).length;
  });
  await working(server.url, async () => {
    const large = await client.start(carrying(3_000_000));
    assert.equal(await large.result(), 3_000_000);
    await assert.rejects((await client.start(carrying(5_000_000))).result(), /replay\.errors\.PayloadTooLarge/);
  }, { workflows: [carrying], maxPayload: 4_000_000 });
  await assert.rejects(client.start(long("x".repeat(40_000_000) as never)), (error: StoreRefused) => /max-message/.test(error.advice));
});

test("a journal too long for a claim is read on", async () => {
  const big = step("big", (size: number) => "x".repeat(size));
  const growing = workflow("ts.growing", function* (times: number) {
    let size = 0;
    for (let n = 0; n < times; n++) size += (yield* big(1_000_000)).length;
    yield* signalled();
    return size;
  });
  const signalled = workflow("ts.signalled", function* () {
    yield* work();
  });
  const work = step("later", () => new Promise((resolve) => setTimeout(resolve, 300)));
  const options = { workflows: [growing, signalled], ttl: 1 };
  const run = await client.start(growing(8));
  await working(server.url, async () => {
    for await (const view of run.watch()) if (view.seq === 9) break;
  }, options);
  await working(server.url, async () => assert.equal(await run.result(), 8_000_000), options);
});

test("a wrong token, a missing scope, a foreign namespace", async () => {
  const token = (text: string, namespace: string, scopes: string[]) => ({ sha256: createHash("sha256").update(text).digest("hex"), namespace, scopes });
  const file = join(mkdtempSync(join(tmpdir(), "replay-tokens-")), "tokens.json");
  writeFileSync(file, JSON.stringify([token("reader", "shop", ["read"]), token("worker", "shop", ["work", "start"])]));
  const guarded = await serve("--tokens", file);
  const as = (name: string, namespace = "shop") => new Client(`${guarded.url}?token=${name}`, { namespace });
  try {
    await assert.rejects(as("nobody").start(long(1)), (error: StoreRefused) => error instanceof StoreRefused && /token/.test(error.advice));
    await assert.rejects(as("reader").start(long(1)), StoreRefused);
    await assert.rejects(as("worker", "other").start(long(1)), StoreRefused);
    await assert.rejects(new Worker(`${guarded.url}?token=nobody`, { ...ALL, logger: quiet }).run({ signals: [] }), StoreRefused);
    await working(`${guarded.url}?token=worker`, async () => {
      const run = await as("worker").start(long(1), { id: "r" });
      assert.equal(await run.result(), 0);
    }, { namespace: "shop" });
  } finally {
    await guarded.stop();
  }
});

test("TLS, and mutual TLS", async () => {
  const folder = mkdtempSync(join(tmpdir(), "replay-tls-"));
  const make = "import sys; from pathlib import Path; from tests.service.certificates import Authority; a = Authority(Path(sys.argv[1])); a.cert; [a.identity(name) for name in ('server', 'client')]";
  execFileSync(PYTHON, ["-c", make, folder], { cwd: ROOT });
  const file = (name: string) => join(folder, name);
  const guarded = await serve(...["--tls-cert", file("server.pem"), "--tls-key", file("server.key"), "--tls-clients", file("authority.pem")]);
  const secure = guarded.url.replace("grpc:", "grpcs:");
  const mutual = `${secure}?ca=${file("authority.pem")}&cert=${file("client.pem")}&key=${file("client.key")}`;
  try {
    const trusted = new Client(mutual);
    await working(mutual, async () => assert.equal(await (await trusted.start(long(2))).result(), 2));
    const advises = (advice: string) => (error: StoreUnavailable) => error instanceof StoreUnavailable && error.advice.includes(advice);
    await assert.rejects(new Client(guarded.url, { deadline: 0.3 }).get("x"), advises("can be reached"));
    const began = Date.now();
    await assert.rejects(new Client(secure).get("x"), advises("look at the certificates"));
    const nameless = `${secure}?ca=${file("authority.pem")}`;
    assert.ok(Date.now() - began < 15_000, "it is not tried again");
    const missing = advises("with mutual TLS add ?cert=FILE&key=FILE");
    await assert.rejects(new Client(nameless, { deadline: 0.3 }).get("x"), missing);
    const greeted = Date.now();
    await assert.rejects(new Worker(nameless, { ...ALL, logger: quiet }).run({ signals: [] }), missing);
    assert.ok(Date.now() - greeted < 15_000, "a worker that was never greeted does not go on asking");
  } finally {
    await guarded.stop();
  }
});

test("a run begun in Python is finished here, and its journal fits the Python code", async () => {
  const double = step("double", (n: number) => 2 * n);
  const relay = workflow("ts.relay", function* (n: number): Workflow<any> {
    const once = yield* double(n);
    const word = yield* signal<string>("word");
    const [left, right] = yield* gather([double(once), double(7)]);
    return { chance: yield* random(), left, right, word };
  });
  const python = `
import sys, replay
from replay import gather, random, signal, step, workflow

@step
def double(n: int) -> int:
    return 2 * n

@workflow(name="ts.relay")
def relay(n: int):
    once = yield from double(n)
    word = yield from signal("word")
    left, right = yield from gather(double(once), double(7))
    return {"chance": (yield from random()), "left": left, "right": right, "word": word}

with replay.Engine(sys.argv[1]) as engine:
    handle = engine.start(relay(5), id="relay")
    if sys.argv[2] == "begin":
        while len(handle.journal()) < 2:
            pass
    else:
        report = handle.replay()
        print(report.difference or "fits", handle.result())
`;
  const run = (what: string) => execFileSync(PYTHON, ["-c", python, server.url, what]).toString().trim();
  run("begin");
  const handle = client.handle("relay", relay);
  const found = await working(server.url, async () => {
    await handle.signal("word", "over to you");
    return await handle.result();
  }, { workflows: [relay] });

  assert.deepEqual([found.left, found.right, found.word], [20, 14, "over to you"]);
  assert.match(run("end"), /^fits \{'chance': 0\.\d+, 'left': 20, 'right': 14, 'word': 'over to you'\}$/);
});

test("a worker is among those that `replay workers` shows, until it leaves", async () => {
  const shown = async () => (await promisify(execFile)(REPLAY, ["workers", "--json", "--store", server.url])).stdout.trim();
  const found = await working(server.url, async () => {
    for (;;) {
      const line = await shown();
      if (line) return JSON.parse(line);
    }
  }, { name: "ann", announce: 0.1, concurrency: 7, queues: ["tea"] });

  const { id, state, namespace, version, pid, queues, workflows, capacity, runs } = found;
  const expected = ["ann", "alive", "default", "typescript/0.1.0", process.pid, ["tea"], 7, 0];
  assert.deepEqual([id, state, namespace, version, pid, queues, capacity, runs], expected);
  assert.deepEqual(workflows.sort(), [...ALL.workflows.map(({ spec }) => spec.name), ...ALL.steps.map(({ spec }) => `step:${spec.name}`)].sort());
  assert.equal(await shown(), "");
});

test("progress that a step told in Python is read by its next attempt here", async () => {
  const read = step("read", () => stepInfo().progress, { retry: { maxAttempts: 2 } });
  const book = workflow("ts.book", function* (): Workflow<any> {
    return yield* read();
  });
  const python = `
import sys, replay

@replay.step(retry=replay.Retry(max_attempts=2, initial=1.0))
def read() -> int:
    replay.step_info().heartbeat({"page": 3})
    raise OSError("the line is cut")

@replay.workflow(name="ts.book")
def book():
    return (yield from read())

with replay.Engine(sys.argv[1]) as engine:
    handle = engine.start(book(), id="book")
    while len(handle.journal()) < 2:
        pass
`;
  execFileSync(PYTHON, ["-c", python, server.url]);
  const found = await working(server.url, () => client.handle("book", book).result(), { workflows: [book] });

  assert.deepEqual(found, { page: 3 });
});

test("a URL that cannot work is refused where it is written, and a server that is not there is named", async () => {
  for (const url of ["nonsense", "http://host", "grpc://", "grpc://host?colour=blue", "grpcs://host?ca=/missing.pem", "grpc://h?max_message=x"]) {
    assert.throws(() => new Client(url), InvalidRequest, url);
  }
  const nowhere = new Client("grpc://127.0.0.1:1", { deadline: 0.3 });
  await assert.rejects(nowhere.get("x"), (error: StoreUnavailable) => error instanceof StoreUnavailable && /127\.0\.0\.1:1/.test(error.message));
});
