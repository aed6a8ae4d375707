/**
 * The store contract, verb by verb, over one channel.
 *
 * Rule 1: a verb is a call. Commits go over one stream, which costs about half of a call each; a commit is never asked again here, for the
 * worker must know that its answer was not heard.
 * Rule 2: the clock is the server's.
 */

import { StoreRefused } from "../errors.js";
import type { ClaimRequest, CommitRequest, CommitResponse } from "../generated/worker.js";
import type { Claimed, Claims, Commit, Fate, Lease, Message, Posted, Run, RunKey } from "../model/records.js";
import { Channel, DEADLINE, HELLO, VERBS, type CallOptions, type Method } from "./channel.js";
import { Clock, monotonic } from "./clock.js";

/** Seconds in which a server must greet back; one that misses a certificate hangs up without a word, so a new connection is not tried for long. */
const GREETING = 5;
/** Seconds that a server answers too early by when too many wait, and that are waited here instead. */
const [HASTE, PAUSE] = [0.05, 0.25];

/** What a worker needs of a store; `GrpcStore` is one, and the test kit's memory is another. */
export type Store = Pick<GrpcStore, "url" | "now" | "claim" | "renew" | "release" | "commit" | "post" | "get" | "wait" | "close">;

/** Fates by their numbers on the wire. */
const FATES: readonly (Fate | undefined)[] = [undefined, "applied", "fenced", "conflict"];
const POSTED: readonly (Posted | undefined)[] = [undefined, "delivered", "duplicate", "unknown", "closed"];

export class GrpcStore {
  readonly url: string;
  readonly #line: (request: CommitRequest) => Promise<CommitResponse>;
  readonly #clock = new Clock();
  /** What the store behind it can do beyond the contract. */
  capabilities: readonly string[] = [];

  private constructor(readonly channel: Channel) {
    this.url = channel.url;
    this.#line = channel.line(VERBS.commitStream);
  }

  /** Open the store behind a server: say hello, and learn its clock. */
  static async open(url: string, namespace: string): Promise<GrpcStore> {
    const store = new GrpcStore(new Channel(url));
    try {
      store.capabilities = (await store.#timed(VERBS.hello, { ...HELLO, namespace }, { deadline: GREETING })).capabilities;
    } catch (error) {
      store.close();
      throw error;
    }
    return store;
  }

  /** A call whose answer carries the server's clock. */
  async #timed<Q, A extends { now: number }>(method: Method<Q, A>, request: Q, options: CallOptions = {}): Promise<A> {
    const asked = monotonic();
    const answer = await this.channel.call(method, request, options);
    this.#clock.learn(asked, answer.now);
    return answer;
  }

  /** The store's clock, microseconds UTC. */
  now(): number {
    return this.#clock.now();
  }

  /** Take runs that are ready, each with its lease, the journal to recover from and its messages. */
  async claim(claim: ClaimRequest): Promise<Claims> {
    const options = { retry: false }; // the worker asks when it will
    const { runs, mail, nextAt } = await this.#timed(VERBS.claim, claim, options);
    for (const claimed of runs as (Claimed & { partial: boolean })[]) {
      const { run, journal, partial } = claimed;
      if (!partial) continue;
      const last = journal.at(-1)?.seq ?? 0;
      const after = journal.length > 1 ? last : Math.max(last, run.base - 1);
      const rest = this.channel.stream(VERBS.journal, { key: run.key, after, limit: 1_000_000 });
      for await (const { events } of rest) journal.push(...events); // pages are short
    }
    return { runs: runs as Claimed[], mail: mail as Message[], nextAt };
  }

  async renew(leases: readonly Lease[], ttl: number): Promise<boolean[]> {
    return (await this.channel.call(VERBS.renew, { leases: [...leases], ttl }, { deadline: Math.min(DEADLINE, ttl / 3e6) })).kept;
  }

  async release(leases: readonly Lease[]): Promise<void> {
    await this.channel.call(VERBS.release, { leases: [...leases] }, { deadline: 5 });
  }

  /** Make turns durable; items are independent, each is all or nothing. `again`: they were sent before, and the answer was not heard. */
  async commit(batch: readonly Commit[], again: boolean): Promise<Fate[]> {
    const request: CommitRequest = { commits: [...batch], again };
    const asked = monotonic();
    let answer: CommitResponse;
    try {
      answer = await this.#line(request);
    } catch (error) {
      if (!(error instanceof StoreRefused)) throw error; // no place for a stream, or too large for it: a call says which
      answer = await this.channel.call(VERBS.commit, request, { retry: false });
    }
    this.#clock.learn(asked, answer.now);
    return answer.fates.map((fate) => FATES[fate] ?? "fenced");
  }

  async post(messages: readonly Message[]): Promise<Posted[]> {
    const { fates } = await this.channel.call(VERBS.post, { messages: [...messages] });
    return fates.map((fate) => POSTED[fate] ?? "unknown");
  }

  async get(keys: readonly RunKey[]): Promise<(Run | undefined)[]> {
    const { runs } = await this.channel.call(VERBS.get, { keys: [...keys] });
    return runs.map((found) => found.run as Run | undefined);
  }

  /** Resolves when something may have changed since `seen`, or the time is over. */
  async wait(seen: number, seconds: number, signal?: AbortSignal): Promise<number> {
    const until = monotonic() + seconds * 1e6;
    const answer = await this.#timed(VERBS.wait, { seen, timeout: seconds }, { deadline: seconds + DEADLINE, ...(signal && { signal }) });
    const early = (until - monotonic()) / 1e6;
    if (answer.seen === seen && early > HASTE) await new Promise((go) => setTimeout(go, 1000 * Math.min(early, PAUSE)));
    return answer.seen;
  }

  close(): void {
    this.channel.close();
  }
}
