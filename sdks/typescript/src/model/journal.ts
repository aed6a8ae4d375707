/**
 * The payloads that the interpreter itself reads: how a run starts, how it goes on elsewhere.
 *
 * JSON with written keys; fields are only ever added, and one that is missing has its default.
 */

import { fromBytes, fromText, toText, type Json } from "../codec/json.js";
import { JournalDamaged } from "../errors.js";
import { eventText, type Event } from "./records.js";

/** Version of the journal's format; a `started` event names the one it was written in. */
const FORMAT = 1;

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

/** What a run is begun with; what is left out has its default. */
export type Begin = Partial<Started> & { workflow: string };

/** Its text; what is empty is left out. */
export function startedText(begin: Begin): string {
  const { input = "[]", namespace = "default", parentCommand: parent_command, attempt = 1, mail = [], tags = {}, chain = 0, ...rest } = begin;
  const found = Object.keys(tags).length > 0 ? tags : undefined;
  const said = { ...rest, parent_command, namespace, attempt, chain, tags: found, input: fromText(input), mail: mailData(mail), format: FORMAT };
  return toText(Object.fromEntries(Object.entries(said).filter(([, value]) => value !== "")));
}

/** From the first event of a journal. */
export function readStarted(event: Event, run: string): Started {
  const damaged = (problem: string) => new JournalDamaged(run, event.seq, problem);
  if (event.kind !== "started" || event.seq !== 1) throw damaged(`a journal begins with #1 started, here stands ${eventText(event)}`);
  const data = (fromBytes(event.payload) ?? {}) as Record<string, any>;
  const { workflow, format = FORMAT, version = "", seed = "", namespace = "default", parent = "", attempt = 1, tags = {}, chain = 0, step } = data;
  if (typeof workflow !== "string") throw damaged("its payload names no workflow");
  if (format > FORMAT) throw damaged(`it was written in format ${format}, this code reads up to ${FORMAT}: upgrade replay-engine`);
  const input = data["input"] === undefined ? "[]" : toText(data["input"]);
  const [parentCommand, mail] = [data["parent_command"] ?? "", readMail(data["mail"])];
  const [patches, deadline] = [data["patches"] ?? undefined, data["deadline"] ?? undefined];
  return { workflow, version, input, seed, namespace, parent, parentCommand, patches, deadline, attempt, mail, tags, chain, step };
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
  const { state, mail, ...rest } = fromBytes(payload) as Record<string, any>;
  return state === undefined ? undefined : { ...(rest as Resume), state: toText(state), mail: readMail(mail) };
}

function mailData(mail: Mail): Json {
  return mail.map(([name, text]) => [name, fromText(text)]);
}

function readMail(data: readonly (readonly [string, Json])[] | undefined): Mail {
  return (data ?? []).map(([name, value]) => [name, toText(value)]);
}
