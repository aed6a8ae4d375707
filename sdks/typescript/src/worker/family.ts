/** Runs and messages that are made here: what others start, what a run asks for, and what takes over its name. */

import { createHash } from "node:crypto";
import { bytesOf, fromBytes, toText, type Json } from "../codec/json.js";
import { NonDeterminismError } from "../errors.js";
import type { Command } from "../interpreter/fibers.js";
import type { Interpreter } from "../interpreter/interpreter.js";
import { childId } from "../interpreter/issue.js";
import { Step, type Call, type StepOptions, type StepSpec, type WorkflowSpec } from "../model/effects.js";
import { readFailure } from "../model/failure.js";
import { startedText, type Begin, type Started } from "../model/journal.js";
import { EMPTY, STEP_RUN, micros, type Event, type Message, type NewRun, type Run, type RunKey } from "../model/records.js";
import { ONCE, allows, delay, spelt, type Retry } from "../model/retry.js";

/** A run that begins with one event; what is left out of `how` has its default. */
export function newRun(key: RunKey, begin: Begin, at: number, how: Partial<NewRun> = {}): NewRun {
  const { workflow, version = "", input = "[]", parent = "", parentCommand = "", tags } = begin;
  const payload = bytesOf(startedText(begin));
  const event = { seq: 1, kind: "started", command: "", name: workflow, at, payload, check: 0, attempt: 0, duration: 0, line: "", worker: "" };
  const index = { workflow, version, digest: digestOf(workflow, input), parent, parentCommand, tags: { ...tags }, state: {} };
  const place = { queue: "default", priority: 0, readyAt: 0, fairnessKey: "" };
  const beginning = { events: [event], status: "pending", base: 0, applied: 0, result: EMPTY, source: "" };
  return { key, ...index, ...place, ...beginning, ...how };
}

/** What tells two starts of one id apart. */
export function digestOf(workflow: string, input: string): string {
  return createHash("sha256").update(`${workflow}\n${input}`).digest("hex").slice(0, 16);
}

export function message(id: string, key: RunKey, kind: string, name: string, payload: Uint8Array, command = ""): Message {
  return { id, key, kind, name, payload, command, at: 0 };
}

/** The run that a command asks for: a child, or a step for another queue. */
export function runFor(command: Command, asked: Call<unknown> | Step<unknown>, interp: Interpreter, run: Run): NewRun {
  const { namespace, id: parent } = run.key;
  const seed = childId(interp, command.id, asked);
  const { how } = asked;
  const common = { input: asked.payload, seed, namespace, parent, parentCommand: command.id };
  const where = { queue: how.queue ?? run.queue, fairnessKey: how.key ?? run.fairnessKey };
  let { deadline } = interp.started;
  if (asked.kind === "step") {
    const begin = { ...common, workflow: STEP_RUN + asked.name, patches: [], deadline, step: askedOtherwise(asked) };
    return newRun({ namespace, id: seed }, begin, command.issuedAt, { ...where, priority: run.priority });
  }
  const { deadline: own, tags, priority = 0, delay: pause } = asked.how;
  if (own !== undefined) deadline = Math.min(command.issuedAt + micros(own), deadline ?? Infinity);
  const { version, patches } = asked.spec;
  const begin = { ...common, workflow: asked.name, version, patches: [...patches].sort(), deadline, tags: { ...tags } };
  const readyAt = pause ? command.issuedAt + micros(pause) : 0;
  return newRun({ namespace, id: seed }, begin, command.issuedAt, { ...where, priority, readyAt });
}

/** Options of a step that are seconds. */
const SPANS = ["timeout", "heartbeat"] as const;

/** What a call's options change of how its step is declared, for whoever does it elsewhere. */
function askedOtherwise({ how, spec }: Step<unknown>): Json | undefined {
  const asked: Record<string, Json> = {};
  const [retry, declared] = [spelt(how.retry ?? ONCE), spelt(spec.defaults.retry ?? ONCE)];
  if (toText(retry) !== toText(declared)) asked["retry"] = retry;
  for (const what of SPANS) if (how[what] !== spec.defaults[what]) asked[what] = how[what] ?? null;
  return Object.keys(asked).length > 0 ? asked : undefined;
}

/**
 * The run that takes over the id: the next journal of `continueAsNew`, or the next attempt of a failed run. The first goes on, so it keeps
 * the state and tags that were set; the second begins again, with those that it was begun with.
 */
export function successorOf(interp: Interpreter, run: Run, closing: Event, shown: Pick<NewRun, "state" | "tags">): NewRun | undefined {
  const { started, spec, outcome } = interp;
  const { namespace, parent, parentCommand, deadline } = started;
  const { queue, priority, fairnessKey, digest } = run; // the digest stays: to start it again is still to start the same
  const chain = started.chain + 1;
  const common = { namespace, parent, parentCommand, deadline, chain, seed: `${run.key.id}~${chain}` };
  const how = { queue, priority, fairnessKey, digest };
  if (closing.kind === "continued" && outcome?.call !== undefined) {
    const { name: workflow, payload: input, spec: next } = outcome.call;
    const code = { workflow, version: next.version, patches: [...next.patches].sort() };
    const begin = { ...common, ...code, input, mail: interp.unread(), tags: shown.tags };
    return newRun(run.key, begin, closing.at, { ...how, state: shown.state });
  }
  const error = interp.error?.error;
  if (closing.kind !== "failed" || interp.error === undefined || error instanceof NonDeterminismError) return undefined;
  if (spec.retry === undefined || !allows(spec.retry, error, started.attempt)) return undefined;
  const { workflow, version, input, tags, attempt } = started;
  const begin = { ...common, workflow, version, input, tags, patches: [...spec.patches].sort(), attempt: attempt + 1 };
  const readyAt = closing.at + micros(delay(spec.retry, attempt, interp.chance.random("retry")));
  return newRun(run.key, begin, closing.at, { ...how, readyAt });
}

/** A step sent to another queue is a run of kind step: a workflow of one command. Its result passes through as it is spelt. */
export function stepRun(step: StepSpec, started?: Uint8Array): WorkflowSpec {
  return {
    ...{ name: STEP_RUN + step.name, version: "", patches: new Set<string>(), retry: undefined, takesState: false, answers: new Map() },
    call: () => {
      throw new TypeError("a run of kind step calls nothing");
    },
    *begin(input) {
      const { queue: _elsewhere, ...here } = step.defaults;
      return yield* new Step(step, input, { ...here, ...asked(here.retry ?? ONCE, started) });
    },
    read: (value) => value,
    encodeResult: (value) => step.encodeResult(value),
  };
}

/** What the caller of a step changed of how it is declared. Called by its interpreter, which has read the event before. */
function asked(declared: Retry, started: Uint8Array | undefined): StepOptions {
  const { step } = (started === undefined ? {} : fromBytes(started)) as { step?: Record<string, any> };
  const { max_attempts: maxAttempts, max_delay: maxDelay, ...rest } = step?.["retry"] ?? {};
  const given = Object.entries({ ...rest, maxAttempts, maxDelay }).filter(([, value]) => value !== undefined);
  const retry = given.length > 0 ? { retry: { ...declared, ...Object.fromEntries(given) } } : {};
  const spans = SPANS.filter((what) => step !== undefined && what in step).map((what) => [what, step?.[what] ?? undefined]);
  return { ...retry, ...Object.fromEntries(spans) };
}

/** What a parent hears of a run's end; `failed` is the failure of the step that a run of kind step was. */
export function answerTo(started: Started, key: RunKey, closing: Event, status: string, failed?: Event): Message {
  const { parent, parentCommand, workflow } = started;
  const isStep = workflow.startsWith(STEP_RUN);
  let { payload } = failed ?? closing;
  if (closing.kind !== "completed" && failed === undefined) {
    const data = fromBytes(closing.payload) as Record<string, Json>;
    const { traceback } = readFailure(data);
    const said = { type: data["type"] ?? "Cancelled", message: data["message"] ?? data["reason"] ?? "", attempts: 1, traceback };
    payload = bytesOf(toText({ ...said, args: isStep ? undefined : [key.id, status] }));
  }
  const kind = `${isStep ? "step" : "child"}_${closing.kind === "completed" ? "completed" : "failed"}`;
  return message(`${key.id}:answer`, { ...key, id: parent }, "answer", kind, payload, parentCommand);
}
