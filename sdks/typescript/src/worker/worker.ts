/**
 * A worker: an engine over a server, until it is told to stop.
 *
 * It claims runs whose workflows it offers, does steps of its queues, and ends gracefully: on SIGTERM or SIGINT it claims no more, lets
 * steps that run come to an end, commits, and gives every lease back.
 */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { StepFunction, WorkflowFunction } from "../authoring/definitions.js";
import { DefinitionError, StoreRefused } from "../errors.js";
import { GrpcStore, type Store } from "../wire/store.js";
import { Engine, type Settings } from "./engine.js";
import { jsonLogger, type Logger } from "./logger.js";

export interface WorkerOptions {
  /** What it drives. */
  readonly workflows?: readonly WorkflowFunction<any, any>[];
  /** Steps that other runs send to its queues. */
  readonly steps?: readonly StepFunction<any, any>[];
  /** Default "default". */
  readonly namespace?: string;
  /** Default ["default"]. */
  readonly queues?: readonly string[];
  /** How many runs it holds at most; default 1,000. */
  readonly concurrency?: number;
  /** How many attempts of steps are under way at most; default 256. */
  readonly stepConcurrency?: number;
  /** Length of a lease, seconds: how long a run waits when its worker dies; default 15. */
  readonly ttl?: number;
  /** How often it asks without being told to, seconds; default 1. */
  readonly poll?: number;
  /** How long a run that only waits stays in memory, seconds; default 0.2. */
  readonly linger?: number;
  /** The largest payload allowed in a journal, bytes; default 16 MB. */
  readonly maxPayload?: number;
  /** How many workers in a row may die while they drive a run before it is set aside; default 10. */
  readonly maxRecoveries?: number;
  /** Its name; default tells host and process. */
  readonly name?: string;
  readonly logger?: Logger;
}

export class Worker {
  #store: Store | undefined;
  #engine: Engine | undefined;
  #stopped: number | undefined;
  readonly #settings: Settings;

  /** `url`: `grpc://host:port?token=…`, or `grpcs://host:port?ca=FILE&cert=FILE&key=FILE`. */
  constructor(
    readonly url: string,
    options: WorkerOptions,
  ) {
    this.#settings = settingsOf(options);
  }

  /** Work until stopped. Throws what makes working impossible: a refused token, another protocol, a server that is not there at first. */
  async run({ signals = ["SIGTERM", "SIGINT"] as readonly NodeJS.Signals[], grace = 10 } = {}): Promise<void> {
    const leave = () => this.stop(grace);
    for (const signal of signals) process.once(signal, leave);
    this.#store = await GrpcStore.open(this.url, this.#settings.namespace);
    const engine = (this.#engine = new Engine(this.#store, this.#settings));
    if (this.#stopped !== undefined) engine.stop(this.#stopped);
    try {
      while (!engine.stopped) {
        try {
          if (!(await engine.pump())) await engine.rest(3_600);
        } catch (error) {
          if (error instanceof StoreRefused) throw error;
          this.#settings.logger.log("error", "the engine failed; its runs are read again", { error });
          await engine.forgetAll();
          await nap(0.2);
        }
      }
    } finally {
      for (const signal of signals) process.off(signal, leave);
      this.#store.close();
    }
  }

  /** Take no more runs, let steps that run come to an end for so many seconds, and give everything back. */
  stop(grace = 10): void {
    this.#stopped = grace;
    this.#engine?.stop(grace);
  }
}

export function settingsOf(options: WorkerOptions): Settings {
  const { workflows = [], steps = [], queues = ["default"] } = options;
  const names = [...workflows.map(({ spec }) => `workflow ${spec.name} ${spec.version}`.trim()), ...steps.map(({ spec }) => `step ${spec.name}`)];
  const twice = names.find((name, place) => names.indexOf(name) !== place);
  if (twice !== undefined) throw new DefinitionError(twice, "two of this name are offered", "give one of them another name");
  if (names.length === 0) throw new DefinitionError("a worker", "it offers nothing", "give it workflows: […] or steps: […]");
  return {
    name: options.name ?? `${hostname()}/${process.pid}/${randomBytes(3).toString("hex")}`,
    namespace: options.namespace ?? "default",
    queues,
    workflows: workflows.map(({ spec }) => spec),
    steps: steps.map(({ spec }) => spec),
    concurrency: options.concurrency ?? 1_000,
    stepConcurrency: options.stepConcurrency ?? 256,
    ttl: options.ttl ?? 15,
    poll: options.poll ?? 1,
    linger: options.linger ?? 0.2,
    keep: 200,
    maxPayload: options.maxPayload ?? 16 * 1024 * 1024,
    maxRecoveries: options.maxRecoveries ?? 10,
    logger: options.logger ?? jsonLogger,
    chance: Math.random,
    perform: (spec, input) => spec.invoke(input),
    pause: (seconds) => nap(seconds),
  };
}

function nap(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}
