/**
 * Decide whether a run is still the run that was recorded.
 *
 * Rule 1: this module compares; it never repairs.
 * Rule 2: only what is asked for counts: kind, name, and the checksum of the spelt arguments where one was recorded.
 * Rule 3: a report shows both sides.
 */

import { NonDeterminismError } from "../errors.js";
import { Effect, standsAt } from "../model/effects.js";
import type { Event } from "../model/records.js";
import type { Command, Fiber } from "./fibers.js";

/** How many pending commands a report shows. */
const SHOWN = 5;

/** Whether an event of this kind, with this event's name and checksum, can be the answer to this command. */
export function agrees(command: Command, event: Event, kind: string): boolean {
  const effect = command.effect;
  if (!effect.answers.has(kind) || event.name !== effect.name) return false;
  return event.check === 0 || effect.check === 0 || event.check === effect.check;
}

/** The report of an event that does not fit. */
export function mismatch(run: string, event: Event, command: Command | undefined, pending: Iterable<Command>): NonDeterminismError {
  let [asked, line] = ["nothing is waited for", ""];
  const text = (other: Command) => `${other.effect.toString()} as command ${other.id}`;
  if (command !== undefined) {
    const others = event.name === command.effect.name && event.check !== 0 && event.check !== command.effect.check;
    asked = text(command) + (others ? ", with other arguments" : "");
    line = lineOf(writerOf(command.fiber));
  } else {
    const waiting = [...pending];
    if (waiting[0] !== undefined) {
      const more = waiting.length > SHOWN ? `; and ${waiting.length - SHOWN} more` : "";
      asked = waiting.slice(0, SHOWN).map(text).join("; ") + more;
      line = lineOf(writerOf(waiting[0].fiber));
    }
  }
  const answered = event.command ? ` as command ${event.command}` : "";
  return new NonDeterminismError(run, event.seq, `${event.kind} ${event.name}${answered}`, asked, event.line, line);
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
