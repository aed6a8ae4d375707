/**
 * The test kit: workflows without a server, in virtual time.
 *
 * It is the worker's own engine over a store in memory. Time stands still while something can be done and jumps to the next timer when
 * nothing can, so a month takes no time. Steps run as they are, or as their stubs. When a run has ended its journal is driven through the
 * workflow again, from the beginning and from each savepoint with state: what it asks for must be the same.
 */

import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { StepFunction, WorkflowFunction } from "../authoring/definitions.js";
import { resultOf, shownBy } from "../client/client.js";
import { requestOf } from "../client/starter.js";
import type { StartRunRequest } from "../generated/client.js";
import { fromBytes, fromText, textOf, toBytes, type Json } from "../codec/json.js";
import { InvalidRequest, NonDeterminismError, RunExists, RunFailed, UnknownRun, UpdateRefused } from "../errors.js";
import { Interpreter } from "../interpreter/interpreter.js";
import type { Call, RunOptions, StepSpec } from "../model/effects.js";
import { readFailure } from "../model/failure.js";
import { readResume, readStarted } from "../model/journal.js";
import { CLOSED, REPLY, micros, secondsOf, type Event, type NewRun, type Run, type RunKey, type Span, type Status } from "../model/records.js";
import { Engine } from "../worker/engine.js";
import { message, newRun } from "../worker/family.js";
import type { Logger } from "../worker/logger.js";
import { settingsOf } from "../worker/settings.js";
import { MemoryStore } from "./memory.js";

/** Rounds of the event loop that promises without a timer need at most. */
const TURNS = 50;
const YEAR = 365 * 86_400;

export interface WorldOptions {
  readonly workflows: readonly WorkflowFunction<any, any>[];
  /** Steps that are sent to other queues. */
  readonly steps?: readonly StepFunction<any, any>[];
  readonly queues?: readonly string[];
  /** The moment at which time begins; default 2026-01-01. */
  readonly begin?: Date;
  readonly logger?: Logger;
}

/** A small world: a store, a worker, a clock. */
export class World {
  readonly #store: MemoryStore;
  readonly #stubs = new Map<string, (...args: any[]) => unknown>();
  readonly #calls = new Map<string, unknown[][]>();
  readonly #sleepers: { moment: number; wake: () => void }[] = [];
  #engine: Engine;
  #workers = 0;

  constructor(readonly options: WorldOptions) {
    this.#store = new MemoryStore((options.begin ?? new Date("2026-01-01T00:00:00Z")).getTime() * 1000);
    this.#engine = this.#hire();
  }

  #hire(): Engine {
    const { workflows, steps = [], queues = ["default"], logger = { log: () => undefined } } = this.options;
    const name = `worker-${++this.#workers}`;
    const settings = settingsOf({ workflows, steps, queues, logger, name, poll: YEAR, linger: 0 });
    return new Engine(this.#store, { ...settings, chance: () => 0, perform: (spec, input) => this.#perform(spec, input) });
  }

  /** Do a step otherwise from now on. */
  stub<A extends unknown[]>(step: StepFunction<A, any>, fn: (...args: A) => unknown): this {
    this.#stubs.set(step.spec.name, fn);
    return this;
  }

  /** The arguments of every attempt of a step so far. */
  calls<A extends unknown[]>(step: StepFunction<A, any>): readonly A[] {
    return (this.#calls.get(step.spec.name) ?? []) as A[];
  }

  #perform(spec: StepSpec, input: string): unknown {
    const args = fromText(input) as unknown[];
    this.#calls.set(spec.name, [...(this.#calls.get(spec.name) ?? []), args]);
    const stub = this.#stubs.get(spec.name);
    return stub === undefined ? spec.invoke(input) : stub(...args);
  }

  /** The time in this world. */
  get now(): Date {
    return new Date(this.#store.clock / 1000);
  }

  /** For stubs: resolves after so many seconds of this world's time. */
  delay(seconds: number): Promise<void> {
    return new Promise((wake) => this.#sleepers.push({ moment: this.#store.clock + micros(seconds), wake }));
  }

  /** Start a run; it goes as far as it can without time passing. */
  async start<R>(call: Call<R>, options: Omit<RunOptions, "onParentClose"> = {}): Promise<TestRun<R>> {
    const asked = runOf(requestOf(call.options(options), "default"), this.#store.clock);
    const { run } = this.#store.create(asked);
    const { key, workflow, digest } = asked;
    if (run.digest !== digest) throw new RunExists(key.id, `${run.workflow} ${run.digest}`, `${workflow} ${digest}`);
    await this.settle();
    return new TestRun(this, key, call.spec);
  }

  /** Let everything happen that can without time passing. */
  async settle(): Promise<void> {
    for (let turns = 0; turns < TURNS; ) {
      this.#engine.woken();
      const ready = this.#store.nextAt <= this.#store.clock;
      if (ready) this.#store.clock += 10_000; // between two claims lies a breath
      if ((await this.#engine.pump()) || (ready && turns === 0)) {
        turns = 0;
      } else if (!this.#engine.working) {
        return;
      } else if (++turns === TURNS && this.#sleepers.length === 0) {
        await this.#engine.rest(); // a step waits for the real world
        turns = 0;
      } else {
        await setImmediate();
      }
    }
  }

  /** Let time pass: everything due until then happens, in its order. */
  async advance(time: number | Span): Promise<void> {
    const until = this.#store.clock + micros(secondsOf(time));
    await this.settle();
    for (let moment = this.#next(); moment <= until; moment = this.#next()) await this.#jump(moment);
    this.#store.clock = Math.max(this.#store.clock, until);
    await this.settle();
  }

  #next(): number {
    return Math.min(this.#engine.nextAlarm, this.#store.nextAt, ...this.#sleepers.map((sleeper) => sleeper.moment));
  }

  async #jump(moment: number): Promise<void> {
    this.#store.clock = Math.max(this.#store.clock, moment);
    for (const sleeper of this.#sleepers.filter((each) => each.moment <= this.#store.clock)) {
      this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
      sleeper.wake();
    }
    await this.settle();
  }

  /** The worker dies: nothing is given back. Another takes over when the leases have ended. */
  async crash(): Promise<void> {
    this.#engine = this.#hire();
    await this.advance(16);
  }

  /** @internal */
  async tell(key: RunKey, kind: string, name: string, value: unknown): Promise<string> {
    const id = randomUUID();
    const [fate] = await this.#store.post([message(id, key, kind, name, toBytes(value))]);
    if (fate === "unknown") throw new UnknownRun(key.id, key.namespace);
    await this.settle();
    return id;
  }

  /** @internal Move time until a run has ended; an error when nothing will ever happen to it. */
  async ended(key: RunKey): Promise<Run> {
    for (;;) {
      await this.settle();
      const run = await this.view(key);
      if (CLOSED.has(run.status)) await this.#again(key);
      if (CLOSED.has(run.status) || run.status === "stuck") return run;
      const moment = this.#next();
      if (moment === Infinity) throw new Error(`run ${key.id} is ${run.status} and waits for what nobody sends: ${await this.#waits(key)}`);
      await this.#jump(moment);
    }
  }

  async #waits(key: RunKey): Promise<string> {
    const machine = await this.#again(key);
    if (machine === undefined) return "its workflow is not in this world";
    return [...machine.pending.values()].map((command) => command.effect.toString()).join(", ") || "nothing";
  }

  /** Drive a run's journal through its workflow once more, where that is in this world. */
  async #again(key: RunKey): Promise<Interpreter | undefined> {
    const events = await this.journal(key);
    const begun = events[0] && readStarted(events[0], key.id);
    const workflow = this.options.workflows.find(({ spec }) => spec.name === begun?.workflow && spec.version === begun.version);
    return workflow && replay(workflow, events, key.id);
  }

  /** @internal */
  async view(key: RunKey): Promise<Run> {
    const [run] = await this.#store.get([key]);
    if (run === undefined) throw new UnknownRun(key.id, key.namespace);
    return run;
  }

  /** @internal */
  journal(key: RunKey): Promise<Event[]> {
    return this.#store.journal(key, 0, Infinity);
  }

  /** What was published to a topic so far. */
  topic(name: string): Json[] {
    return (this.#store.topics.get(name) ?? []).map((payload) => fromBytes(payload));
  }

  /** A handle of a run by its id, such as a child. */
  handle<R = any>(id: string): TestRun<R> {
    return new TestRun(this, { namespace: "default", id }, { read: (value) => value });
  }
}

/** A run in a world. */
export class TestRun<R = any> {
  /** @internal */
  constructor(readonly world: World, readonly key: RunKey, readonly spec: { read(value: Json): unknown }) {}

  get id(): string {
    return this.key.id;
  }

  async status(): Promise<Status> {
    return (await this.world.view(this.key)).status as Status;
  }

  async state(): Promise<Readonly<Record<string, any>>> {
    return shownBy(await this.world.view(this.key));
  }

  /** Its result; time passes as far as is needed. */
  async result(): Promise<R> {
    return resultOf(await this.world.ended(this.key), this.spec) as R;
  }

  async signal(name: string, value: unknown = null): Promise<void> {
    await this.world.tell(this.key, "signal", name, value);
  }

  async update<T = any>(name: string, value: unknown = null): Promise<T> {
    const reply = await this.#ask("update", name, value);
    if (reply.refused !== undefined) throw new UpdateRefused(this.id, name, reply.refused);
    return reply.ok as T;
  }

  async query<T = any>(name: string, ...args: unknown[]): Promise<T> {
    const reply = await this.#ask("query", name, args);
    if (reply.refused !== undefined) throw new InvalidRequest(`query '${name}' to run ${this.id}`, reply.refused);
    return reply.ok as T;
  }

  async #ask(kind: string, name: string, value: unknown): Promise<{ ok?: Json; refused?: string }> {
    const id = await this.world.tell(this.key, kind, name, value);
    const [reply = {}] = this.world.topic(REPLY + id) as { ok?: Json; error?: Json; refused?: string }[];
    if (reply.error === undefined) return reply;
    const failed = readFailure(reply.error);
    throw new RunFailed(this.id, `${kind} ${name} failed`, failed.type, failed.message);
  }

  async cancel(reason = "cancel"): Promise<void> {
    await this.world.tell(this.key, "cancel", "cancel", { reason });
  }

  async pause(): Promise<void> {
    await this.world.tell(this.key, "pause", "pause", null);
  }

  async resume(): Promise<void> {
    await this.world.tell(this.key, "resume", "resume", null);
  }

  async terminate(reason = "terminate"): Promise<void> {
    await this.world.tell(this.key, "terminate", "terminate", { reason });
  }

  journal(): Promise<Event[]> {
    return this.world.journal(this.key);
  }
}

/**
 * Drive a recorded journal through today's code, without acting: the interpreter where it stands at its end. Throws `NonDeterminismError`
 * at the first event that does not fit: the preflight of an upgrade. Starting again at a savepoint with state must ask for what going on
 * asked for.
 */
export function replay(workflow: WorkflowFunction<any, any>, events: Iterable<Event>, run = "replayed"): Interpreter {
  const machine = new Interpreter(workflow.spec, run);
  const journal = [...events];
  for (const event of journal) machine.feed(event);
  journal.forEach((event, place) => {
    if (event.kind !== "savepoint" || readResume(event.payload) === undefined) return;
    const again = new Interpreter(workflow.spec, run);
    try {
      again.recover(journal[0] as Event, event);
      for (const later of journal.slice(place + 1)) again.feed(later);
    } catch (error) {
      if (error instanceof NonDeterminismError) error.message = `started again at savepoint '${event.name}': ${error.message}`;
      throw error;
    } finally {
      again.close();
    }
  });
  return machine;
}

/** What a server would make of a start. */
function runOf({ key, queue, priority, fairnessKey, delay, deadline, input, knowsPatches: _known, ...asked }: StartRunRequest, now: number): NewRun {
  const { namespace, id: seed } = key as RunKey;
  const begin = { ...asked, namespace, seed, input: textOf(input), deadline: deadline === undefined ? undefined : now + deadline };
  return newRun(key as RunKey, begin, now, { queue: queue || "default", priority, fairnessKey, readyAt: delay ? now + delay : 0 });
}
