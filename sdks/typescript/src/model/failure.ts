/**
 * A failure as a fact: what an error becomes when it is journaled, and how it comes back.
 *
 * Rule 1: the class's name is text. Nothing that comes from a journal is looked up by its name; an error comes back as itself only when
 * the step names its class in `raises`.
 * Rule 2: messages and traces are cut to a bounded size; a huge one must not make a huge journal.
 */

import { toText, type Json } from "../codec/json.js";
import { Cancelled, ReplayError, StepFailed } from "../errors.js";

const MESSAGE_LIMIT = 4_000;
const TRACEBACK_LIMIT = 8_000;

export type ErrorClass = new (...args: never[]) => Error;

export interface Failure {
  readonly type: string;
  readonly message: string;
  readonly attempts: number;
  readonly traceback: string;
  readonly args: readonly Json[] | undefined;
}

/** What is kept of an error; anything may have been thrown. */
export function failureOf(error: unknown, attempts = 1): Failure {
  const args = plainArgs(error);
  const message = error instanceof Error ? error.message : `${typeof error} was thrown: ${String(error)}`;
  return {
    type: typeOf(error),
    message: message.slice(0, MESSAGE_LIMIT).toWellFormed(),
    attempts,
    traceback: (error instanceof Error ? (error.stack ?? "") : "").slice(-TRACEBACK_LIMIT).toWellFormed(),
    args,
  };
}

/** Its journal form. */
export function failureText(failure: Failure): string {
  return toText(failure);
}

/** From its journal form; fields of later versions are passed over. */
export function readFailure(data: Json): Failure {
  const given = (data !== null && typeof data === "object" && !Array.isArray(data) ? data : {}) as Record<string, Json>;
  return {
    type: String(given["type"] ?? "Exception"),
    message: String(given["message"] ?? ""),
    attempts: Number(given["attempts"] ?? 1),
    traceback: String(given["traceback"] ?? ""),
    args: Array.isArray(given["args"]) ? given["args"] : undefined,
  };
}

/** The name of an error's class: replay's own have the same in every language. */
export function typeOf(error: unknown): string {
  if (error instanceof ReplayError || error instanceof Cancelled) return `replay.errors.${error.name}`;
  if (!(error instanceof Error)) return "Error";
  return error.name === "Error" ? error.constructor.name : error.name;
}

/** The error as itself, when its class is one of `raises` and takes its recorded arguments back. */
export function revive(failure: Failure, raises: readonly ErrorClass[]): Error | undefined {
  const kind = raises.find((each) => each.name === failure.type || (each.prototype as Error).name === failure.type);
  if (kind === undefined || failure.args === undefined) return undefined;
  try {
    return new kind(...(failure.args as never[]));
  } catch {
    return undefined; // a foreign constructor may not take its own arguments back
  }
}

/** A failed step's error for the workflow, with its own trace as the cause. */
export function stepFailed(step: string, failure: Failure): StepFailed {
  const failed = new StepFailed(step, failure.type, failure.message, failure.attempts, failure.traceback);
  if (failure.traceback) failed.cause = failure.traceback;
  return failed;
}

/** An error may say in `args` what its constructor takes; else it takes its message. */
function plainArgs(error: unknown): readonly Json[] | undefined {
  if (!(error instanceof Error)) return undefined;
  const own = "args" in error && Array.isArray(error.args) ? (error.args as unknown[]) : [error.message];
  try {
    const text = toText(own);
    return text.length <= MESSAGE_LIMIT ? (own as Json[]) : undefined;
  } catch {
    return undefined;
  }
}
