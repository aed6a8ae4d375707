/**
 * A worker: an engine over a server, until it is told to stop.
 *
 * It claims runs whose workflows it offers, does steps of its queues, and ends gracefully: on SIGTERM or SIGINT it claims no more, lets
 * steps that run come to an end, commits, and gives every lease back.
 */

import { StoreRefused } from "../errors.js";
import { GrpcStore } from "../wire/store.js";
import { Engine } from "./engine.js";
import { settingsOf, type Settings, type WorkerOptions } from "./settings.js";

/** Seconds before an engine that failed goes on. */
const PAUSE = 0.2;

export class Worker {
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
    const { namespace, logger, pause } = this.#settings;
    const leave = () => this.stop(grace);
    for (const signal of signals) process.once(signal, leave);
    const store = await GrpcStore.open(this.url, namespace);
    const engine = (this.#engine = new Engine(store, this.#settings));
    if (this.#stopped !== undefined) engine.stop(this.#stopped);
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
      store.close();
    }
  }

  /** Take no more runs, let steps that run come to an end for so many seconds, and give everything back. */
  stop(grace = 10): void {
    this.#stopped = grace;
    this.#engine?.stop(grace);
  }
}
