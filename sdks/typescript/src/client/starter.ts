/**
 * Starts runs: those that are asked for while a start is under way are made together, in one call and one transaction.
 *
 * One alone is a `StartRun`, several are a `StartRuns`, where each has an answer of its own.
 */

import { randomUUID } from "node:crypto";
import { StoreUnavailable } from "../errors.js";
import { bytesOf } from "../codec/json.js";
import type { StartOutcome, StartRunRequest } from "../generated/client.js";
import type { Call } from "../model/effects.js";
import { micros } from "../model/records.js";
import { VERBS, type Channel } from "../wire/channel.js";

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
    const { channel, deadline } = this;
    try {
      const { outcomes } = await channel.call(VERBS.startRuns, { starts: batch.map(({ request }) => request) }, { deadline });
      for (const [place, { resolve, reject }] of batch.entries()) {
        const { error, message } = outcomes[place] as StartOutcome;
        if (error === undefined) resolve();
        else reject(channel.failure(error, message));
      }
    } catch (error) {
      if (error instanceof StoreUnavailable) for (const { reject } of batch) reject(error);
      else await this.#each(batch); // one by one they may be small enough, and older servers know nothing else
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
