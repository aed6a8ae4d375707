/**
 * Decide whether a run is still the run that was recorded.
 *
 * Rule 1: this module compares; it never repairs.
 * Rule 2: only what is asked for counts: kind, name, and the checksum of the spelt arguments where one was recorded.
 * Rule 3: a report shows both sides.
 */

import { textOf } from "../codec/json.js";
import { NonDeterminismError } from "../errors.js";
import { Effect, standsAt } from "../model/effects.js";
import { CLOSING, eventText, type Event } from "../model/records.js";
import type { Command, Fiber } from "./fibers.js";
import type { Interpreter } from "./interpreter.js";

/** How many pending commands a report shows. */
const SHOWN = 5;

/** Whether an event can be the answer to this command, or that of another kind in its place. */
export function agrees({ effect }: Command, event: Event, kind = event.kind): boolean {
  if (!effect.answers.has(kind) || event.name !== effect.name) return false;
  return event.check === 0 || effect.check === 0 || event.check === effect.check;
}

/** The report of an event that does not fit; `command` is the one that it would answer. */
export function mismatch(run: Interpreter, event: Event, command?: Command): NonDeterminismError {
  const { outcome, pending, updates } = run;
  const text = (other: Command) => `${other.effect.toString()} as command ${other.id}`;
  let recorded = `${event.kind} ${event.name}${event.command ? ` as command ${event.command}` : ""}`;
  const waiting = command === undefined ? [...pending.values()] : [command];
  let asked = waiting.slice(0, SHOWN).map(text).join("; ") || "nothing is waited for";
  if (waiting.length > SHOWN) asked += `; and ${waiting.length - SHOWN} more`;
  if (command?.effect.name === event.name && event.check !== 0 && event.check !== command.effect.check) asked += ", with other arguments";
  if (outcome !== undefined) {
    asked = `the workflow has ended: ${outcome.kind} ${cut(outcome.payload)}`;
    if (CLOSING.has(event.kind)) recorded += ` ${cut(textOf(event.payload))}`;
  } else if (event.kind === "update_received") {
    asked = `handles no update '${event.name}'; known: ${[...updates.keys()].join(", ") || "none"}`;
  }
  const line = waiting[0] === undefined ? "" : lineOf(writerOf(waiting[0].fiber));
  return new NonDeterminismError(run.run, event.seq, recorded, asked, event.line, line, run.recent.map(eventText));
}

/** The fiber whose code asked: a branch of one effect has no code of its own, its combinator's line counts. */
export function writerOf(fiber: Fiber): Fiber | undefined {
  let writer: Fiber | undefined = fiber;
  while (writer !== undefined && writer.branch instanceof Effect) writer = writer.scope?.owner;
  return writer;
}

/** `file:line` of the yield at which a fiber waits, or empty. */
export function lineOf(writer: Fiber | undefined): string {
  return writer?.generator === undefined || writer.waits === undefined ? "" : standsAt(writer.generator);
}

function cut(text: string, limit = 120): string {
  const letters = Array.from(text);
  return letters.length > limit ? `${letters.slice(0, limit).join("")}…` : text;
}
