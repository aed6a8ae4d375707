/** What a worker is told, and what it takes where it is told nothing. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { StepFunction, WorkflowFunction } from "../authoring/definitions.js";
import { DefinitionError, describe } from "../errors.js";
import { jsonLogger, type Logger } from "./logger.js";
import type { Perform } from "./steps.js";

/** A task queue and its limits; what is left out does not limit. Every worker of a queue should declare the same. */
export interface Queue {
  readonly name: string;
  /** How many of its runs are held at any moment, over all workers. */
  readonly concurrency?: number;
  /** The same for each key; runs without a key are not limited by it. */
  readonly perKey?: number;
  /** How many of its runs begin in any window of so many seconds, over all workers. */
  readonly rate?: { readonly count: number; readonly per: number };
  /** How many of its runs this worker holds. */
  readonly here?: number;
}

export interface WorkerOptions {
  /** What it drives. */
  readonly workflows?: readonly WorkflowFunction<any, any>[];
  /** Steps that other runs send to its queues. */
  readonly steps?: readonly StepFunction<any, any>[];
  /** Default "default". */
  readonly namespace?: string;
  /** Where it takes work; default ["default"]. */
  readonly queues?: readonly (string | Queue)[];
  /** How many runs it holds at most; default 1,000. */
  readonly concurrency?: number;
  /** How many attempts of steps are under way at most; default 256. */
  readonly stepConcurrency?: number;
  /** Length of a lease, seconds: how long a run waits when its worker dies; default 15. */
  readonly ttl?: number;
  /** How often it asks without being told to, seconds; default 1. */
  readonly poll?: number;
  /** How long a run that only waits stays in memory, seconds; default 0.2. */
  readonly linger?: number;
  /** The largest payload allowed in a journal, bytes; default 16 MB. */
  readonly maxPayload?: number;
  /** How many workers in a row may die while they drive a run before it is set aside; default 10. */
  readonly maxRecoveries?: number;
  /** How often it tells of itself, for `replay workers`, seconds; default 5, 0 for never. */
  readonly announce?: number;
  /** Its name, unique among the workers of the store; default tells host and process. */
  readonly name?: string;
  readonly logger?: Logger;
}

/** What the engine acts with; the test kit gives it others. */
export interface Hands {
  /** Spreads retries; a number from 0 to 1. */
  readonly chance: () => number;
  readonly perform: Perform;
  /** Waits between tries when the store does not answer, seconds. */
  readonly pause: (seconds: number) => Promise<void>;
}

/** Queues by their names, and those of them that have limits. */
type Queues = { readonly queues: readonly string[]; readonly limits: readonly Queue[] };
export type Settings = Omit<Required<WorkerOptions>, "queues"> & Queues & Hands;

export function settingsOf({ queues = ["default"], ...options }: WorkerOptions): Settings {
  const limits = queues.filter((queue) => typeof queue !== "string");
  for (const queue of limits) checkQueue(queue);
  const settings: Settings = {
    ...{ queues: queues.map((queue) => (typeof queue === "string" ? queue : queue.name)), limits },
    ...{ workflows: [], steps: [], namespace: "default", concurrency: 1_000, stepConcurrency: 256 },
    ...{ ttl: 15, poll: 1, announce: 5, linger: 0.2, maxPayload: 16 * 1024 * 1024, maxRecoveries: 10, logger: jsonLogger, chance: Math.random },
    name: `${hostname()}/${process.pid}/${randomBytes(3).toString("hex")}`,
    perform: (spec, input) => spec.invoke(input),
    pause: (seconds) => setTimeout(1000 * seconds),
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
  const { workflows, steps } = settings;
  const versions = workflows.map(({ spec }) => `workflow ${spec.name} ${spec.version}`.trim());
  const names = [...versions, ...steps.map(({ spec }) => `step ${spec.name}`)];
  const twice = names.find((name, place) => names.indexOf(name) !== place);
  if (twice !== undefined) throw new DefinitionError(twice, "two of this name are offered", "give one of them another name");
  if (names.length === 0) throw new DefinitionError("a worker", "it offers nothing", "give it workflows: […] or steps: […]");
  return settings;
}

function checkQueue({ name, concurrency, perKey, rate, here }: Queue): void {
  const check = (what: string, fits: boolean, rule: string, got: unknown) => {
    if (!fits) throw new DefinitionError(`queue '${name}'`, `${what}: expected ${rule}, got ${describe(got)}`, "leave it out for no limit");
  };
  const counts = { concurrency, perKey, "rate.count": rate?.count };
  for (const [what, count = 1] of Object.entries(counts)) check(what, Number.isInteger(count) && count >= 1, "a whole number from 1 up", count);
  check("here", here === undefined || (Number.isInteger(here) && here >= 0), "a whole number from 0 up", here);
  check("rate.per", rate === undefined || (rate.per > 0 && rate.per < Infinity), "more than 0 seconds", rate?.per);
}
