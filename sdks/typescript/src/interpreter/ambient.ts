/**
 * Time and chance, without asking the world.
 *
 * Chance is a counter under SHA-256: number n of a fiber is the digest of `seed LF base LF path LF n`, where seed is the run's seed, base
 * the seq of the last savepoint with state (0 before the first), path the fiber's path, and n counts the draws of that fiber since then.
 */

import { createHash } from "node:crypto";
import type { Started } from "../model/journal.js";

/** The random source of one run. */
export class Chance {
  #base = 0;
  readonly #drawn = new Map<string, number>();

  constructor(readonly seed: string) {}

  /** A savepoint with state was passed: count from 0 again, under its number. */
  rebase(seq: number): void {
    this.#base = seq;
    this.#drawn.clear();
  }

  #draw(path: string): Buffer {
    const number = this.#drawn.get(path) ?? 0;
    this.#drawn.set(path, number + 1);
    return createHash("sha256").update(`${this.seed}\n${this.#base}\n${path}\n${number}`).digest();
  }

  /** A number from 0 up to 1: the first 53 bits. */
  random(path: string): number {
    return Number(this.#draw(path).readBigUInt64BE(0) >> 11n) * 2 ** -53;
  }

  /** A UUID of version 4: the first 16 bytes. */
  uuid(path: string): string {
    const bytes = this.#draw(path).subarray(0, 16);
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
}

/** A moment with microseconds, which a `Date` cuts off. */
export class Moment extends Date {
  /** Microseconds since 1970 UTC. */
  readonly micros: number;

  constructor(micros: number) {
    super(Math.floor(micros / 1000));
    this.micros = micros;
  }
}

/** What a run may know of itself: as it was begun, with 0 or more journals before this one under the same id (`chain`). */
export interface RunInfo extends Readonly<Pick<Started, "workflow" | "version" | "namespace" | "attempt" | "parent" | "chain">> {
  readonly runId: string;
  /** Number of events so far. */
  readonly journalLength: number;
  readonly deadline: Moment | null;
}
