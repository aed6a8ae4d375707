/**
 * A worker: an engine over a server, until it is told to stop.
 *
 * It claims runs whose workflows it offers, does steps of its queues, and ends gracefully: on SIGTERM or SIGINT it claims no more, lets
 * steps that run come to an end, commits, and gives every lease back.
 */

import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import { StoreRefused } from "../errors.js";
import { STEP_RUN, micros } from "../model/records.js";
import { HELLO, VERBS } from "../wire/channel.js";
import { GrpcStore } from "../wire/store.js";
import { Trouble } from "./committer.js";
import { Engine } from "./engine.js";
import { settingsOf, type Settings, type WorkerOptions } from "./settings.js";

/** Seconds before an engine that failed goes on, and after which a worker tells of itself at first: one that ends sooner leaves no trace. */
const [PAUSE, FIRST] = [0.2, 1];
/** How long a heartbeat is tried: the next one comes soon, and who leaves does not wait for a server that is gone. */
const SHORTLY = { deadline: 5 };

export class Worker {
  #engine: Engine | undefined;
  #stopped: number | undefined;
  readonly #settings: Settings;

  /** `url`: `grpc://host:port?token=…`, or `grpcs://host:port?ca=FILE&cert=FILE&key=FILE`. */
  constructor(readonly url: string, options: WorkerOptions) {
    this.#settings = settingsOf(options);
  }

  /** Work until stopped. Throws what makes working impossible: a refused token, another protocol, a server that is not there at first. */
  async run({ signals = ["SIGTERM", "SIGINT"] as readonly NodeJS.Signals[], grace = 10 } = {}): Promise<void> {
    const { namespace, limits, logger, pause } = this.#settings;
    const store = await GrpcStore.open(this.url, namespace);
    if (limits.length > 0 && !store.capabilities.includes("limits")) {
      store.close();
      throw new StoreRefused(store.url, "it keeps to no limits of queues", "name the queues without limits, or upgrade the server");
    }
    const leave = () => this.stop(grace);
    for (const signal of signals) process.once(signal, leave);
    const engine = (this.#engine = new Engine(store, this.#settings));
    if (this.#stopped !== undefined) engine.stop(this.#stopped);
    const left = new AbortController();
    const announcing = this.#announce(store, engine, left.signal);
    try {
      while (!engine.stopped) {
        try {
          if (!(await engine.pump())) await engine.rest();
        } catch (error) {
          if (error instanceof StoreRefused) throw error;
          logger.log("error", "the engine failed; its runs are read again", { error });
          await engine.forgetAll();
          await pause(PAUSE);
        }
      }
    } finally {
      for (const signal of signals) process.off(signal, leave);
      left.abort();
      await announcing;
      store.close();
    }
  }

  /** Tell others of this worker every so often, for `replay workers`, until it has left. The server keeps the entry. */
  async #announce(store: GrpcStore, engine: Engine, left: AbortSignal): Promise<void> {
    const { name, namespace, announce, queues, workflows, steps, concurrency, stepConcurrency, logger } = this.#settings;
    if (announce <= 0) return;
    const named = workflows.map(({ spec }) => spec.name + (spec.version && `@${spec.version}`));
    const about = {
      ...{ namespace, worker: name, every: micros(announce), host: hostname(), pid: process.pid, version: HELLO.client, startedAt: store.now() },
      ...{ queues: [...queues], workflows: [...named, ...steps.map(({ spec }) => STEP_RUN + spec.name)] },
      ...{ capacity: concurrency, stepCapacity: stepConcurrency },
    };
    const trouble = new Trouble((level, message, facts) => logger.log(level, message, { worker: name, ...facts }));
    const done = [() => trouble.over(), (error: unknown) => trouble.tell("announce", error)] as const;
    const tell = (leaving: boolean) => store.channel.call(VERBS.announce, { ...about, ...engine.load, leaving }, SHORTLY).then(...done);
    for (let told = false, pause = Math.min(FIRST, announce); ; pause = announce) {
      await setTimeout(1000 * pause, undefined, { signal: left }).catch(() => undefined); // one that has left is heard below
      if (left.aborted) return told ? tell(true) : undefined;
      told = true;
      await tell(false);
    }
  }

  /** Take no more runs, let steps that run come to an end for so many seconds, and give everything back. */
  stop(grace = 10): void {
    this.#stopped = grace;
    this.#engine?.stop(grace);
  }
}
