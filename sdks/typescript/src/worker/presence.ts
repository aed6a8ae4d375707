/**
 * Who works on a store: a worker tells of itself in a run of its own, which `replay workers` shows.
 *
 * Rule 1: the entry is a run that the worker creates and holds, in a namespace beside that of its runs; so it is leased and fenced like any
 * other. Nobody offers its workflow: nobody drives it.
 * Rule 2: a heartbeat is a commit of what the entry shows. It comes from the thread that drives runs: a worker that hangs is late.
 * Rule 3: whoever leaves takes its entry away; those of the dead are taken away by those who live, when their leases have ended.
 */

import { toBytes } from "../codec/json.js";
import { SECOND, blank, type Commit, type Lease, type RunKey } from "../model/records.js";
import { HELLO, VERBS } from "../wire/channel.js";
import type { GrpcStore } from "../wire/store.js";
import { newRun } from "./family.js";

/** What the namespace of entries begins with, and their workflow, queue and state key. */
const [BESIDE, WORKER] = ["~workers:", "~worker"];
/** Microseconds after its last heartbeat at which an entry is no longer shown, and may be taken away. */
const KEPT = 60 * SECOND;
const APPLIED = 1;
/** How long a call is tried: the next heartbeat comes soon, and who leaves does not wait for a server that is gone. */
const SHORTLY = { deadline: 5 };

export class Presence {
  readonly #key: RunKey;
  readonly #began: number;
  #lease: Lease | undefined;
  #sweepAt = 0;

  /** `tell` says what the worker is and does at this moment. */
  constructor(
    readonly store: GrpcStore,
    readonly name: string,
    namespace: string,
    readonly every: number,
    readonly tell: () => object,
  ) {
    this.#key = { namespace: BESIDE + namespace, id: name };
    this.#began = store.now();
  }

  /** Tell of the worker now. */
  async beat(): Promise<void> {
    const told = { ...this.tell(), version: HELLO.client, started_at: this.#began, every: this.every * SECOND };
    const state = { [WORKER]: toBytes(told) };
    const shown = this.#lease && { ...blank(), ...this.#place(this.#lease), status: "running", state, release: false };
    if (shown === undefined || !(await this.#commit(shown))) {
      const begin = { workflow: WORKER, namespace: this.#key.namespace, seed: this.name };
      const entry = newRun(this.#key, begin, this.store.now(), { queue: WORKER, state });
      const { runs } = await this.store.channel.call(VERBS.create, { runs: [entry], worker: this.name, ttl: KEPT }, SHORTLY);
      this.#lease = runs[0]?.lease as Lease | undefined;
    }
    if (this.store.now() < this.#sweepAt) return;
    this.#sweepAt = this.store.now() + KEPT / 2;
    if (this.#lease !== undefined) await this.store.channel.call(VERBS.renew, { leases: [this.#lease], ttl: KEPT }, SHORTLY);
    const asked = { worker: this.name, namespace: this.#key.namespace, queues: [WORKER], workflows: [WORKER], limit: 100, ttl: KEPT };
    for (const { lease } of (await this.store.claim(asked)).runs) await this.#end(lease);
  }

  /** Take the entry away. */
  async leave(): Promise<void> {
    if (this.#lease !== undefined) await this.#end(this.#lease);
    this.#lease = undefined;
  }

  async #end(lease: Lease): Promise<void> {
    const ended = { ...blank(), ...this.#place(lease), status: "completed", result: toBytes(null), release: true };
    if (await this.#commit(ended)) await this.store.channel.call(VERBS.delete, { keys: [lease.key] }, SHORTLY);
  }

  #place(lease: Lease) {
    return { lease, expected: 1, applied: 1, wakeAt: undefined, result: undefined };
  }

  async #commit(commit: Commit): Promise<boolean> {
    const { fates } = await this.store.channel.call(VERBS.commit, { commits: [commit] }, SHORTLY); // the stream is for the runs
    return fates[0] === APPLIED;
  }
}
