/**
 * Starts runs: those that are asked for while a start is under way are made together, in one call and one transaction.
 *
 * One alone is a `StartRun`. Several are a `Create`, the same thing in the words of the store: idempotent by id, and an id that is taken
 * with other input is told apart by the digest.
 */

import { randomUUID } from "node:crypto";
import { RunExists, StoreUnavailable } from "../errors.js";
import { bytesOf, textOf } from "../codec/json.js";
import type { StartRunRequest } from "../generated/client.js";
import type { Call } from "../model/effects.js";
import { micros, type NewRun, type RunKey } from "../model/records.js";
import { newRun } from "../worker/family.js";
import { HELLO, VERBS, type Channel } from "../wire/channel.js";
import { Clock, monotonic } from "../wire/clock.js";

/** Runs that one call makes at most. */
const BATCH = 250;

interface Asked {
  readonly request: StartRunRequest;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Starter {
  #waiting: Asked[] = [];
  #busy = false;
  readonly #clock = new Clock();

  constructor(
    readonly channel: Channel,
    readonly deadline: number,
  ) {}

  start(request: StartRunRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      if (!this.#busy) void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    this.#busy = true;
    await Promise.resolve(); // what is asked for in the same breath comes along
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, BATCH);
      if (batch.length > 1) await this.#together(batch);
      else await this.#each(batch);
    }
    this.#busy = false;
  }

  async #each(batch: readonly Asked[]): Promise<void> {
    const { channel, deadline } = this;
    const start = ({ request, resolve, reject }: Asked) => channel.call(VERBS.startRun, request, { deadline }).then(() => resolve(), reject);
    await Promise.all(batch.map(start));
  }

  async #together(batch: readonly Asked[]): Promise<void> {
    const { deadline } = this;
    try {
      if (!this.#clock.known) {
        const asked = monotonic();
        const namespace = batch[0]?.request.key?.namespace ?? "";
        const { now } = await this.channel.call(VERBS.hello, { ...HELLO, namespace }, { deadline });
        this.#clock.learn(asked, now);
      }
      const runs = batch.map(({ request }) => runOf(request, this.#clock.now()));
      const created = await this.channel.call(VERBS.create, { runs, worker: "", ttl: 0 }, { deadline });
      for (const [place, { resolve, reject }] of batch.entries()) {
        const [made, found] = [runs[place] as NewRun, created.runs[place]];
        if (found?.new || found?.run?.digest === made.digest) resolve();
        else reject(new RunExists(made.key.id, `${found?.run?.workflow} ${found?.run?.digest}`, `${made.workflow} ${made.digest}`));
      }
    } catch (error) {
      if (error instanceof StoreUnavailable) for (const { reject } of batch) reject(error);
      else await this.#each(batch); // whose fault it is shows when each is asked for alone
    }
  }
}

/** What starts a run. */
export function requestOf({ name: workflow, payload, spec, how }: Call<unknown>, namespace: string): StartRunRequest {
  const { id = randomUUID(), queue = "", priority = 0, delay = 0, deadline, tags, key: fairnessKey = "" } = how;
  return {
    ...{ key: { namespace, id }, workflow, version: spec.version, input: bytesOf(payload) },
    ...{ queue, priority, fairnessKey, tags: { ...tags } },
    ...{ delay: micros(delay), deadline: deadline === undefined ? undefined : micros(deadline) },
    ...{ patches: [...spec.patches].sort(), knowsPatches: true },
  };
}

/** What the server makes of it. */
export function runOf({ key, patches, knowsPatches, deadline, input, delay, queue, ...asked }: StartRunRequest, now: number): NewRun {
  const { workflow, version, tags, priority, fairnessKey } = asked;
  const { namespace, id: seed } = key as RunKey;
  const known = { patches: knowsPatches ? patches : undefined, deadline: deadline === undefined ? undefined : now + deadline };
  const begin = { workflow, version, tags, seed, namespace, input: textOf(input), ...known };
  return newRun(key as RunKey, begin, now, { queue: queue || "default", priority, fairnessKey, readyAt: delay ? now + delay : 0 });
}
