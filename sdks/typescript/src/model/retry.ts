/** When to try again: exponential back-off with a cap and jitter, as plain arithmetic. Chance is an argument. */

import { DefinitionError, describe } from "../errors.js";
import type { ErrorClass } from "./failure.js";

export interface Retry {
  /** Attempts in all; 1 means never again. Default 3. */
  readonly maxAttempts?: number;
  /** Seconds before the second attempt. Default 0.2. */
  readonly initial?: number;
  /** By which each further delay grows. Default 2. */
  readonly factor?: number;
  /** The longest delay, in seconds. Default 60. */
  readonly maxDelay?: number;
  /** Fraction of the delay that chance may take away, 0 to 1. Default 0.1. */
  readonly jitter?: number;
  /** Classes of errors worth another attempt; default all. */
  readonly retryOn?: readonly ErrorClass[];
  /** Classes of errors that end it at once; stronger than `retryOn`. */
  readonly giveUpOn?: readonly ErrorClass[];
}

/** The default of steps: try once. A step may do a thing twice only where its author says so. */
export const ONCE: Retry = { maxAttempts: 1 };
const DEFAULTS = { maxAttempts: 3, initial: 0.2, factor: 2, maxDelay: 60, jitter: 0.1 };

/** Whether another attempt follows after `attempt` of them (from 1) ended with `error`. */
export function allows({ maxAttempts = DEFAULTS.maxAttempts, retryOn, giveUpOn = [] }: Retry, error: unknown, attempt: number): boolean {
  const isOne = (kinds: readonly ErrorClass[]) => kinds.some((kind) => error instanceof kind);
  return attempt < maxAttempts && (retryOn === undefined || isOne(retryOn)) && !isOne(giveUpOn);
}

/** Seconds to wait after attempt number `attempt` (from 1) failed; `chance` from 0 to 1 spreads the crowd. */
export function delay(retry: Retry, attempt: number, chance: number): number {
  const { initial, factor, maxDelay, jitter } = { ...DEFAULTS, ...retry };
  return initial === 0 ? 0 : Math.min(maxDelay, initial * factor ** (attempt - 1)) * (1 - jitter * chance);
}

/** The arithmetic of a policy, as it is sent to whoever does a step elsewhere; which errors are worth it is for whoever has the code. */
export function spelt(retry: Retry) {
  const { maxAttempts, initial, factor, maxDelay, jitter } = { ...DEFAULTS, ...retry };
  return { max_attempts: maxAttempts, initial, factor, max_delay: maxDelay, jitter };
}

/** A policy that can work, or an error that names its owner. */
export function checkRetry(owner: string, retry: Retry): void {
  const { maxAttempts, ...others } = { ...DEFAULTS, ...retry };
  const refuse = (name: string, rule: string, got: unknown) => {
    throw new DefinitionError(owner, `retry: ${name} must be ${rule}, got ${describe(got)}`, "write retry: { maxAttempts: 3 }");
  };
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1) refuse("maxAttempts", "a whole number from 1 up", maxAttempts);
  for (const name of ["initial", "factor", "maxDelay"] as const) {
    if (!(others[name] >= 0 && others[name] < Infinity)) refuse(name, "a number from 0 up", others[name]);
  }
  if (!(others.jitter >= 0 && others.jitter <= 1)) refuse("jitter", "from 0 to 1", others.jitter);
}
