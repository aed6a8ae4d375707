/**
 * Waits for the ends of runs: one waiting call for all of them, and one look at all of them when something may have changed.
 *
 * A stream for each run would take a place of the server's, and a look for every commit of every run. This takes one place.
 */

import { setTimeout } from "node:timers/promises";
import { StoreUnavailable } from "../errors.js";
import { CLOSED, type Run, type RunKey } from "../model/records.js";
import { VERBS, type Channel } from "../wire/channel.js";

/** Looking takes one part in so many of the time. */
const SHARE = 5;
/** An end is told late by this part of the time that it was waited for, and by so many milliseconds at most. */
const [PART, LONGEST] = [0.05, 100];
/** Seconds that a waiting call waits. */
const PATIENCE = 20;
/** Runs that are asked about in one call. */
const PAGE = 500;
/** Milliseconds until a server is asked again that says at once that nothing has changed: it has no place for who waits. */
const CROWDED = 250;

interface Waiter {
  readonly key: RunKey;
  readonly resolve: (run: Run | undefined) => void;
  readonly reject: (error: unknown) => void;
}

export class Lookout {
  readonly #waiters = new Set<Waiter>();
  #waiting = new AbortController();
  #looking = false;
  /** When the newest waiter came, or the last run ended. */
  #since = 0;

  constructor(
    readonly channel: Channel,
    readonly deadline: number,
  ) {}

  /** The run when it has ended or is stuck; undefined where there is none. Aborting the signal ends the wait with its reason. */
  async ended(key: RunKey, signal?: AbortSignal): Promise<Run | undefined> {
    signal?.throwIfAborted();
    let waiter!: Waiter;
    const promise = new Promise<Run | undefined>((resolve, reject) => (waiter = { key, resolve, reject }));
    const giveUp = () => waiter.reject(signal?.reason);
    signal?.addEventListener("abort", giveUp);
    this.#waiters.add(waiter);
    this.#since = performance.now();
    if (this.#looking) this.#waiting.abort(); // it may have ended already: look before waiting on
    else void this.#look();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", giveUp);
      this.#waiters.delete(waiter);
      if (this.#waiters.size === 0) this.#waiting.abort();
    }
  }

  close(): void {
    for (const waiter of this.#waiters) waiter.reject(new StoreUnavailable(this.channel.url, "the client was closed", "make another"));
  }

  /** Look, wait until something may have changed since before that look, rest, look again. */
  async #look(): Promise<void> {
    this.#looking = true;
    try {
      for (let seen = 0; ; ) {
        this.#waiting = new AbortController();
        const began = performance.now();
        await this.#tell();
        if (this.#waiters.size === 0) break;
        const now = performance.now();
        const rest = Math.min(LONGEST, Math.max((SHARE - 1) * (now - began), PART * (now - this.#since)));
        seen = await this.#wait(seen);
        await setTimeout(Math.max(0, rest - (performance.now() - now))); // waiting was rest, too
      }
    } catch (error) {
      for (const waiter of this.#waiters) waiter.reject(error);
    } finally {
      this.#looking = false;
    }
  }

  async #wait(seen: number): Promise<number> {
    const { signal } = this.#waiting;
    if (signal.aborted) return seen;
    try {
      const answer = await this.channel.call(VERBS.wait, { seen, timeout: PATIENCE }, { deadline: PATIENCE + this.deadline, signal });
      if (answer.seen === seen) await setTimeout(CROWDED);
      return answer.seen;
    } catch (error) {
      if (signal.aborted) return seen;
      throw error;
    }
  }

  async #tell(): Promise<void> {
    const asked = [...this.#waiters];
    for (let first = 0; first < asked.length; first += PAGE) {
      const page = asked.slice(first, first + PAGE);
      const { runs } = await this.channel.call(VERBS.get, { keys: page.map((waiter) => waiter.key) }, { deadline: this.deadline });
      for (const [place, waiter] of page.entries()) {
        const run = runs[place]?.run as Run | undefined;
        if (run !== undefined && !CLOSED.has(run.status) && run.status !== "stuck") continue;
        waiter.resolve(run);
        this.#waiters.delete(waiter);
        this.#since = performance.now();
      }
    }
  }
}
