/**
 * Waits for the ends of runs: one waiting call for all of them, and one look at all of them when something may have changed.
 *
 * Rule 1: a stream for each run would take a place of the server's, and a look for every commit of every run. This takes one place.
 * Rule 2: between two looks lies a rest, by how many are waited for and for how long. Where runs moved since the last look the store changes
 * all the time, and a waiting call would be answered at once; so it is made only when nothing moved.
 */

import { setTimeout } from "node:timers/promises";
import { StoreRefused, StoreUnavailable } from "../errors.js";
import type { MaybeRun } from "../generated/worker.js";
import { CLOSED, type Run, type RunKey } from "../model/records.js";
import { VERBS, type Channel } from "../wire/channel.js";

/** Milliseconds of rest at least, and for each run that is waited for. */
const [SHORTEST, EACH] = [1, 0.15];
/** An end is told late by this part of the time that it was waited for, and by so many milliseconds at most. */
const [PART, LONGEST] = [0.1, 25];
/** Milliseconds of rest that are slept through in any case: a waiting call costs as much as a look. */
const NAP = 5;
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
  /** When the run had last moved at the last look. */
  updatedAt?: number | undefined;
}

export class Lookout {
  readonly #waiters = new Set<Waiter>();
  #waiting = new AbortController();
  #looking = false;
  /** When the newest waiter came, or the last run ended. */
  #since = 0;

  constructor(readonly channel: Channel, readonly deadline: number) {}

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

  /** Look, rest, wait until something may have changed since before that look, look again. */
  async #look(): Promise<void> {
    this.#looking = true;
    try {
      for (let seen = 0; ; ) {
        this.#waiting = new AbortController();
        const moved = await this.#tell();
        if (this.#waiters.size === 0) break;
        const now = performance.now();
        const rest = Math.max(SHORTEST, EACH * this.#waiters.size, Math.min(LONGEST, PART * (now - this.#since)));
        if (rest > NAP && !moved) seen = await this.#wait(seen);
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

  /** Tell of those that have ended; whether any run has moved since the last look. */
  async #tell(): Promise<boolean> {
    let moved = false;
    const asked = [...this.#waiters];
    for (let first = 0; first < asked.length; first += PAGE) moved = (await this.#tellOf(asked.slice(first, first + PAGE))) || moved;
    return moved;
  }

  /** The same of some; where they are too large for one answer, in two, so that only one that is so by itself fails. */
  async #tellOf(page: readonly Waiter[]): Promise<boolean> {
    let runs: MaybeRun[];
    try {
      const keys = page.map((waiter) => waiter.key);
      runs = (await this.channel.call(VERBS.get, { keys }, { deadline: this.deadline })).runs;
    } catch (error) {
      if (!(error instanceof StoreRefused && error.reason.startsWith("RESOURCE_EXHAUSTED"))) throw error;
      if (page.length === 1) return this.#fail(page[0] as Waiter, error);
      const half = Math.ceil(page.length / 2);
      const moved = await this.#tellOf(page.slice(0, half));
      return (await this.#tellOf(page.slice(half))) || moved;
    }
    let moved = false;
    for (const [place, waiter] of page.entries()) {
      const run = runs[place]?.run as Run | undefined;
      moved ||= run?.updatedAt !== waiter.updatedAt;
      waiter.updatedAt = run?.updatedAt;
      if (run !== undefined && !CLOSED.has(run.status) && run.status !== "stuck") continue;
      waiter.resolve(run);
      this.#waiters.delete(waiter);
      this.#since = performance.now();
    }
    return moved;
  }

  #fail(waiter: Waiter, error: unknown): boolean {
    waiter.reject(error);
    return this.#waiters.delete(waiter);
  }
}
