/**
 * The payloads that the interpreter itself reads: how a run starts, how it goes on elsewhere.
 *
 * JSON with written keys; fields are only ever added, and one that is missing has its default.
 */

import { fromBytes, toText, fromText, type Json } from "../codec/json.js";
import { JournalDamaged } from "../errors.js";
import { eventText, type Event } from "./records.js";

/** Version of the journal's format; a `started` event names the one it was written in. */
export const FORMAT = 1;

/** Unread signals as (name, payload's text), oldest first. */
export type Mail = readonly (readonly [name: string, text: string])[];

/** The first event's payload: all that a run is begun with. */
export interface Started {
  workflow: string;
  version: string;
  /** The arguments' text. */
  input: string;
  seed: string;
  namespace: string;
  parent: string;
  parentCommand: string;
  /** Patches that the code knew which began it; undefined when whoever started it did not have the code. */
  patches: readonly string[] | undefined;
  /** Moment at which the run is cancelled, microseconds. */
  deadline: number | undefined;
  attempt: number;
  mail: Mail;
  tags: Readonly<Record<string, string>>;
  chain: number;
  /** Of a run of kind step: what its caller changed of how it is declared. */
  step: Json | undefined;
}

type Fields = Readonly<Record<string, Json | undefined>>;

export function startedText(begin: Partial<Started> & { workflow: string }): string {
  return toText({
    workflow: begin.workflow,
    version: begin.version || undefined,
    input: fromText(begin.input ?? "[]"),
    seed: begin.seed || undefined,
    namespace: begin.namespace ?? "default",
    parent: begin.parent || undefined,
    parent_command: begin.parentCommand || undefined,
    patches: begin.patches,
    deadline: begin.deadline,
    attempt: begin.attempt ?? 1,
    mail: mailData(begin.mail ?? []),
    tags: Object.keys(begin.tags ?? {}).length ? begin.tags : undefined,
    chain: begin.chain ?? 0,
    step: begin.step,
    format: FORMAT,
  });
}

/** From the first event of a journal. */
export function readStarted(event: Event, run: string): Started {
  if (event.kind !== "started" || event.seq !== 1) {
    throw new JournalDamaged(run, event.seq, `a journal begins with #1 started, here stands ${eventText(event)}`);
  }
  const data = fromBytes(event.payload) as Fields | null;
  if (typeof data?.["workflow"] !== "string") throw new JournalDamaged(run, event.seq, "its payload names no workflow");
  if (Number(data["format"] ?? FORMAT) > FORMAT) {
    const problem = `it was written in format ${String(data["format"])}, this code reads up to ${FORMAT}: upgrade replay-engine`;
    throw new JournalDamaged(run, event.seq, problem);
  }
  const text = (name: string, otherwise = "") => String(data[name] ?? otherwise);
  return {
    workflow: data["workflow"],
    version: text("version"),
    input: data["input"] === undefined ? "[]" : toText(data["input"]),
    seed: text("seed"),
    namespace: text("namespace", "default"),
    parent: text("parent"),
    parentCommand: text("parent_command"),
    patches: (data["patches"] as readonly string[] | null | undefined) ?? undefined,
    deadline: (data["deadline"] as number | null | undefined) ?? undefined,
    attempt: Number(data["attempt"] ?? 1),
    mail: readMail(data["mail"]),
    tags: (data["tags"] ?? {}) as Record<string, string>,
    chain: Number(data["chain"] ?? 0),
    step: data["step"],
  };
}

/** A savepoint's payload when it carries state: all that recovery needs of what lies before. */
export interface Resume {
  /** The state's text. */
  state: string;
  next: number;
  outs: number;
  updates: number;
  patches: readonly string[];
  mail: Mail;
  notes: Json;
}

export function resumeText(resume: Resume): string {
  return toText({ ...resume, state: fromText(resume.state), mail: mailData(resume.mail) });
}

/** From a savepoint's payload; undefined when it carries no state. */
export function readResume(payload: Uint8Array): Resume | undefined {
  const data = fromBytes(payload) as Fields;
  if (data["state"] === undefined) return undefined;
  return {
    state: toText(data["state"]),
    next: Number(data["next"]),
    outs: Number(data["outs"]),
    updates: Number(data["updates"]),
    patches: data["patches"] as readonly string[],
    mail: readMail(data["mail"]),
    notes: data["notes"] ?? null,
  };
}

function mailData(mail: Mail): Json {
  return mail.map(([name, text]) => [name, fromText(text)]);
}

function readMail(data: Json | undefined): Mail {
  return ((data ?? []) as readonly (readonly [string, Json])[]).map(([name, value]) => [name, toText(value)]);
}
