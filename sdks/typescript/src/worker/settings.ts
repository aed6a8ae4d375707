/** What a worker is told, and what it takes where it is told nothing. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { StepFunction, WorkflowFunction } from "../authoring/definitions.js";
import { DefinitionError } from "../errors.js";
import { jsonLogger, type Logger } from "./logger.js";
import type { Perform } from "./steps.js";

export interface WorkerOptions {
  /** What it drives. */
  readonly workflows?: readonly WorkflowFunction<any, any>[];
  /** Steps that other runs send to its queues. */
  readonly steps?: readonly StepFunction<any, any>[];
  /** Default "default". */
  readonly namespace?: string;
  /** Default ["default"]. */
  readonly queues?: readonly string[];
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

export type Settings = Required<WorkerOptions> & Hands;

export function settingsOf(options: WorkerOptions): Settings {
  const settings: Settings = {
    ...{ workflows: [], steps: [], namespace: "default", queues: ["default"], concurrency: 1_000, stepConcurrency: 256 },
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
