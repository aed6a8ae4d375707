/**
 * What crosses the wire, as facts: events, runs, leases, messages, commits.
 *
 * The generated messages have the fields of the store contract, so they are the records: nothing is copied on the way. Here they get
 * the certainty that protobuf cannot say (a lease always has a key), and the words for what they hold.
 *
 * Moments are microseconds since 1970 UTC, as numbers: whole up to 2^53, the year 2255.
 */

import type * as pb from "../generated/types.js";

type Known<T, K extends keyof T> = Omit<T, K> & { [P in K]-?: NonNullable<T[P]> };

export type { Event, RunKey } from "../generated/types.js";
export type Lease = Known<pb.Lease, "key">;
export type Run = Known<pb.Run, "key">;
export type NewRun = Known<pb.NewRun, "key">;
export type Message = Known<pb.Message, "key">;
export type Commit = Omit<pb.Commit, "lease" | "posts" | "children" | "successor"> & {
  lease: Lease;
  posts: Message[];
  children: NewRun[];
  successor: NewRun | undefined;
};
export type Claimed = { run: Run; lease: Lease; journal: pb.Event[]; mail: Message[] };
export type Claims = { runs: Claimed[]; mail: Message[]; nextAt: number | undefined };
/** What became of a commit. */
export type Fate = "applied" | "fenced" | "conflict";
/** What became of a message. */
export type Posted = "delivered" | "duplicate" | "unknown" | "closed";

/** How a run that has ended did so. */
const ENDS = ["completed", "failed", "cancelled", "terminated", "continued"] as const;
export const CLOSED: ReadonlySet<string> = new Set(ENDS);
export type Status = "pending" | "running" | "waiting" | "paused" | "stuck" | (typeof ENDS)[number];
/** The kinds of events after which a journal takes no more. */
export const CLOSING: ReadonlySet<string> = new Set(["completed", "failed", "cancelled", "continued"]);
/** Name of the closing event of a run that was ended from outside; it fits wherever the run stood. */
export const TERMINATED = "terminated";
/** What the workflow name of a run of kind step begins with. */
export const STEP_RUN = "step:";
/** Topics that replay itself uses. */
export const [REPLY, NOTES, LOG] = ["~reply:", "~notes:", "~log:"] as const;
/** The key under which a run shows the progress of its steps to whoever drives it next. */
export const PROGRESS = "~progress";
/** The key under which a run in doubt shows how many workers it cost, and what was under way. */
export const LOST = "~lost";
/** Events that come to a run, or only announce what it is about to do. */
const COMING: ReadonlySet<string> = new Set(["signal_received", "update_received", "timer_fired", "cancel_requested", "step_intent"]);
/** Microseconds in a second. */
export const SECOND = 1_000_000;
export const EMPTY = new Uint8Array();

type Parts = "events" | "base" | "consumed" | "posts" | "children" | "topics" | "state" | "tags" | "note" | "successor";

/** A commit's parts, with nothing in them. */
export function blank(): Pick<Commit, Parts> {
  return { events: [], base: 0, consumed: [], posts: [], children: [], topics: [], state: {}, tags: {}, note: "", successor: undefined };
}

/** Whether a commit shows that the run outlives its workers: its recoveries are counted anew from here. */
export function takesOn({ events, status, release }: Pick<Commit, "events" | "status" | "release">): boolean {
  return events.some((event) => !COMING.has(event.kind)) || CLOSED.has(status) || (release && status !== "stuck");
}

export interface Span {
  readonly seconds?: number;
  readonly minutes?: number;
  readonly hours?: number;
  readonly days?: number;
}

/** How many seconds these are. */
export function secondsOf(time: number | Span): number {
  if (typeof time === "number") return time;
  const { seconds = 0, minutes = 0, hours = 0, days = 0 } = time;
  return seconds + 60 * (minutes + 60 * (hours + 24 * days));
}

/** A span of seconds in microseconds, half to even, as every SDK rounds. */
export function micros(seconds: number): number {
  const scaled = seconds * SECOND;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

/** An event in one line, for people. */
export function eventText(event: pb.Event): string {
  return `#${event.seq} ${event.kind}${event.command && ` ${event.command}`} ${event.name}`.trimEnd();
}

/** What names a run, as one text. */
export function keyText(key: pb.RunKey): string {
  return `${key.namespace}\n${key.id}`;
}
