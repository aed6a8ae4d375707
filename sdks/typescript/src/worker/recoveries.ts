/**
 * Runs that lose one worker after the other: how the one that kills is told from those that die with it, and set aside.
 *
 * Rule 1: the store counts: `recoveries` grows when a lease ended without being given back, and begins anew when the run has moved.
 * Rule 2: all runs of a worker die with it. So a run that lost `DOUBT` in a row is driven alone: of those in doubt a worker drives one
 * at a time, and the next follows when that one has moved, or has lived for the length of a lease.
 * Rule 3: before a run in doubt is driven, not even replayed, the number of workers that it will have cost is written down, and before
 * it acts, what it is about to do: in the state key `~lost`, which workers of every language read.
 * Rule 4: beyond the limit a run is set aside: stuck, with the reason, with no moment at which it may be claimed, until it is put back.
 */

import { fromBytes, toBytes } from "../codec/json.js";
import { LOST, blank, type Claimed, type Commit, type Event } from "../model/records.js";
import type { Live } from "./live.js";

/** Workers that a run loses in a row, among others, before it is driven alone. */
const DOUBT = 3;
/** Messages after which a run that was set aside is driven again. */
const PUTS_BACK: ReadonlySet<string> = new Set(["resume", "cancel", "terminate"]);

/** The runs in doubt that one worker holds. */
export class Line {
  readonly #waiting: Live[] = [];
  readonly #doubt: number;
  #driven: Live | undefined;
  #until = 0;

  /** `limit`: how many workers in a row a run may lose; `patience`: microseconds that a run in doubt is driven alone. */
  constructor(readonly limit: number, readonly patience: number) {
    this.#doubt = Math.min(DOUBT, limit);
  }

  /** Whether a run has lost more workers than allowed, and nobody wants it driven again. */
  isBeyond(claimed: Claimed): boolean {
    return claimed.run.recoveries >= this.#doubt && lostBy(claimed).count > this.limit - this.#doubt && !isPutBack(claimed);
  }

  /** Whether a run is in doubt: then it waits for its turn. */
  enters(claimed: Claimed, live: Live): boolean {
    if (claimed.run.recoveries < Math.max(1, this.#doubt)) return false;
    live.lost = isPutBack(claimed) ? 0 : lostBy(claimed).count;
    live.inLine = true;
    this.#waiting.push(live);
    return true;
  }

  /** When the turn of the next one comes, microseconds, or Infinity. */
  get nextAt(): number {
    return this.#waiting.length > 0 ? this.#until : Infinity;
  }

  /** The run whose turn it is, if one's is. */
  next(now: number): Live | undefined {
    const live = now >= this.nextAt ? this.#waiting.shift() : undefined;
    if (live === undefined) return undefined;
    live.inLine = false;
    live.lost++;
    this.#driven = live;
    this.#until = now + this.patience;
    return live;
  }

  /** A run is in doubt no more, or gone: another may follow. */
  leaves(live: Live): void {
    if (live.inLine) this.#waiting.splice(this.#waiting.indexOf(live), 1);
    live.inLine = false;
    if (this.#driven !== live) return;
    this.#driven = undefined;
    this.#until = 0;
  }
}

/** What is written down before a run in doubt is driven. */
export function warning({ lease, committed, applied, paused, lost, run }: Live): Commit {
  const doing = `under way on ${lease.worker}: its own code, before any step`;
  const state = { [LOST]: toBytes([lost, run.recoveries, doing]) };
  const status = paused ? "paused" : "running";
  return { ...blank(), lease, expected: committed, applied, status, state, wakeAt: undefined, result: undefined, release: false };
}

/** Why a run is set aside; for one that was set aside before, what was said then. */
export function reasonOf(claimed: Claimed): string {
  const { run, journal } = claimed;
  if (run.status === "stuck" && run.note) return run.note;
  const { count, doing } = lostBy(claimed);
  const { seq, kind, name } = journal.at(-1) as Event;
  return (
    `set aside: ${run.recoveries} workers in a row died while they held it, since event #${seq} (${`${kind} ${name}`.trim()}); ` +
    `in the last ${count} of them no other run in doubt was driven beside it; ${doing}. ` +
    `Mend what ends them, then \`replay resume ${run.key.id}\` puts it back`
  );
}

/** How many workers died while they drove a run alone, and what was under way on the last; one that gave it back did not die. */
function lostBy({ run }: Claimed): { count: number; doing: string } {
  const told = LOST in run.state ? (fromBytes(run.state[LOST] as Uint8Array) as [count: number, before: number, doing: string] | []) : [];
  const [count = 0, before = 0, doing = ""] = told;
  return { count: Math.min(run.recoveries > before ? count : Math.max(0, count - 1), run.recoveries), doing };
}

function isPutBack({ mail }: Claimed): boolean {
  return mail.some(({ kind }) => PUTS_BACK.has(kind));
}
