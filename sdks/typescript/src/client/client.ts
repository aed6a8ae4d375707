/**
 * A client: starts runs, tells them things, and looks at them. It needs no interpreter; types come from the workflows it is given.
 *
 * Rule 1: ids make repeating right. A start, a message or a fork whose answer is not heard is asked again under the id it already has.
 * Rule 2: a stream that breaks is opened again where it broke: who follows sees every entry once.
 */

import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { readerOf, type Schema } from "../authoring/definitions.js";
import type { SignalOptions } from "../authoring/effects.js";
import { fromBytes, toBytes, toText, type Json } from "../codec/json.js";
import { Cancelled, RunFailed, StoreRefused, StoreUnavailable, UnknownRun, WaitTimedOut } from "../errors.js";
import type { Savepoint } from "../generated/client.js";
import type { Entry, Filter } from "../generated/types.js";
import { Call, type Reader, type RunOptions, type WorkflowSpec } from "../model/effects.js";
import { readFailure } from "../model/failure.js";
import { CLOSED, type Event, type Run, type RunKey, type Status } from "../model/records.js";
import { Channel, DEADLINE, VERBS, type CallOptions, type Method } from "../wire/channel.js";
import { Lookout } from "./lookout.js";
import { Starter, requestOf } from "./starter.js";

export interface ClientOptions {
  readonly namespace?: string;
  /** Seconds that a call may take, asking again included; default 30. */
  readonly deadline?: number;
}

/** How a run is started. */
export type StartOptions = Omit<RunOptions, "onParentClose">;

/** Which runs to find; what is left out does not narrow. `prefix` is what their ids begin with. */
export interface RunFilter extends Partial<Readonly<Pick<Filter, "workflow" | "tags" | "prefix" | "parent">>> {
  readonly statuses?: readonly Status[];
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
}

export interface SavepointInfo extends Readonly<Pick<Savepoint, "name" | "seq" | "hasState">> {
  readonly at: Date;
  readonly notes: Json;
}

export interface TopicEntry<T = any> {
  readonly offset: number;
  readonly at: Date;
  readonly data: T;
}

export interface FollowOptions {
  /** Only what comes after this number. */
  readonly after?: number;
  /** Go on with what comes; default false. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

export interface ForkOptions {
  /** A savepoint's name, or an event's number. */
  readonly at?: string | number;
  readonly id?: string;
  /** Other answers, by event number. */
  readonly edits?: Readonly<Record<number, unknown>>;
}

type Entries<E> = AsyncGenerator<E, void, void>;

/** What a run whose workflow is not at hand is read by. */
const PLAIN = { read: (value: Json): unknown => value };
/** Milliseconds after its start before which a run is not asked for its result: looking would only keep the server from it. */
const FIRST_LOOK = 2;
/** Milliseconds before a stream that broke is opened again. */
const PAUSE = 200;

export class Client {
  readonly namespace: string;
  /** @internal Seconds that a call may take. */
  readonly deadline: number;
  readonly #channel: Channel;
  readonly #starter: Starter;

  /** `url`: `grpc://host:port?token=…`, or `grpcs://host:port?ca=FILE&cert=FILE&key=FILE`. */
  constructor(url: string, { namespace = "default", deadline = DEADLINE }: ClientOptions = {}) {
    this.namespace = namespace;
    this.deadline = deadline;
    this.#channel = new Channel(url);
    this.#starter = new Starter(this.#channel, deadline);
    this.lookout = new Lookout(this.#channel, deadline);
  }

  /** @internal */
  readonly lookout: Lookout;

  /** @internal */
  ask<Q, A>(method: Method<Q, A>, request: Q, options: CallOptions = {}): Promise<A> {
    return this.#channel.call(method, request, { deadline: this.deadline, ...options });
  }

  /**
   * @internal Entries of a stream, which come with their places: opened again after the last one when it breaks, or when a server that
   * closes ends it before `ended` says so.
   */
  async *follow<Q, A, E>(
    method: Method<Q, A>,
    request: (after: number) => Q,
    entries: (answer: A) => readonly (readonly [place: number, entry: E])[],
    ended: () => boolean | Promise<boolean>,
    { after = 0, signal }: FollowOptions,
  ): Entries<E> {
    for (let last = after, heard = Date.now(); ; await setTimeout(PAUSE)) {
      try {
        for await (const answer of this.#channel.stream(method, request(last), signal)) {
          for (const [place, entry] of entries(answer)) {
            last = place;
            yield entry;
          }
        }
        if (signal?.aborted || (await ended())) return;
        heard = Date.now();
      } catch (error) {
        if (signal?.aborted) return;
        const full = error instanceof StoreRefused && error.reason.includes("all places"); // asked again, it may find one
        if (!(error instanceof StoreUnavailable || full) || Date.now() - heard > this.deadline * 1000) throw error;
      }
    }
  }

  // ---- starting and telling ------------------------------------------------------------------------------------------------

  /** Start a run; the same id with the same input is the same run, with other input it is `RunExists`. */
  async start<R>(call: Call<R>, options: StartOptions = {}): Promise<Handle<R>> {
    const request = requestOf(call.options(options), this.namespace);
    await this.#starter.start(request);
    return new Handle(this, request.key as RunKey, call.spec, performance.now());
  }

  /** Start a run unless it exists, and leave it a message. */
  async signalWithStart<R>(call: Call<R>, name: string, value: unknown = null, options: StartOptions = {}): Promise<Handle<R>> {
    const start = requestOf(call.options(options), this.namespace);
    const key = start.key as RunKey;
    const signal = { key, name, payload: toBytes(value, `signal '${name}'`), messageId: randomUUID() };
    await this.ask(VERBS.signalWithStart, { start, signal });
    return new Handle(this, key, call.spec);
  }

  /** Start a run of a workflow whose code is elsewhere, by name. */
  async startByName<R = any>(workflow: string, args: readonly unknown[], options: StartOptions = {}): Promise<Handle<R>> {
    const spec = { ...PLAIN, name: workflow, version: "", patches: new Set(), answers: new Map() } as unknown as WorkflowSpec;
    const request = requestOf(new Call<R>(spec, toText(args, `arguments of workflow ${workflow}`), options), this.namespace);
    await this.#starter.start({ ...request, knowsPatches: false });
    return new Handle<R>(this, request.key as RunKey, spec);
  }

  /** A handle of a run, by id; nothing is asked yet. With a workflow, its result has that type. */
  handle<R = any>(id: string, workflow?: { readonly spec: { read: Reader<unknown> } } & ((...args: any) => Call<R>)): Handle<R> {
    return new Handle(this, { namespace: this.namespace, id }, workflow?.spec ?? PLAIN);
  }

  // ---- looking ---------------------------------------------------------------------------------------------------------------

  /** A run's index entry. */
  get(id: string): Promise<RunView> {
    return this.handle(id).get();
  }

  /** Runs that match, newest pages first fetched as they are read. */
  async *list(filter: RunFilter = {}, { pageSize = 100 } = {}): Entries<RunView> {
    const { createdAfter, createdBefore, statuses = [], tags = {}, ...rest } = filter;
    const query = {
      ...rest,
      namespace: this.namespace,
      statuses: [...statuses],
      tags: { ...tags },
      createdAfter: createdAfter && createdAfter.getTime() * 1000,
      createdBefore: createdBefore && createdBefore.getTime() * 1000,
    };
    for (let cursor = ""; ; ) {
      const page = await this.ask(VERBS.listRuns, { filter: query, limit: pageSize, cursor });
      for (const run of page.runs) yield viewOf(run as Run);
      cursor = page.cursor;
      if (!cursor) return;
    }
  }

  /** Append to a topic. Nothing makes a second time the first one, so it is not asked again when the answer is not heard. */
  async publish(topic: string, ...data: unknown[]): Promise<void> {
    const entries = data.map((each) => ({ topic, payload: toBytes(each, `entry of topic '${topic}'`) }));
    await this.ask(VERBS.publishTopic, { namespace: this.namespace, entries }, { retry: false });
  }

  /** Entries of a topic. */
  async *topic<T = any>(topic: string, options: FollowOptions & Pick<SignalOptions<T>, "schema"> = {}): Entries<TopicEntry<T>> {
    const { namespace } = this;
    const { follow = false, schema } = options;
    const read = readerOf<T>(schema);
    const request = (after: number) => ({ namespace, topic, after, follow });
    const placed = ({ entries }: { entries: Entry[] }) => entries.map((each) => [each.offset, each] as const);
    const found = this.follow(VERBS.readTopic, request, placed, () => !follow, options);
    for await (const { offset, at, payload } of found) yield { offset, at: dateOf(at), data: read(fromBytes(payload)) };
  }

  close(): void {
    this.lookout.close();
    this.#channel.close();
  }
}

/** A run, seen from outside. */
export class Handle<R = any> {
  readonly id: string;

  /** @internal */
  constructor(readonly client: Client, readonly key: RunKey, readonly spec: { read: Reader<unknown> }, readonly startedAt = -Infinity) {
    this.id = key.id;
  }

  /** Its index entry. */
  async get(): Promise<RunView> {
    const { run } = await this.client.ask(VERBS.getRun, { key: this.key });
    return viewOf(run as Run);
  }

  async status(): Promise<Status> {
    return (await this.get()).status;
  }

  /** What the workflow shows with `setState`. */
  async state(): Promise<Readonly<Record<string, any>>> {
    return (await this.get()).state;
  }

  /** Its index entry now, and whenever it has changed, until it ends. */
  async *watch(signal?: AbortSignal): Entries<RunView> {
    const { key } = this;
    const found = this.client.follow(VERBS.watchRun, () => ({ key }), ({ run }) => [[0, run as Run]], () => this.#isClosed(), { signal });
    for await (const run of found) yield viewOf(run);
  }

  /** Its result: waits until it has one. Throws `RunFailed` when it has none, `WaitTimedOut` when patience ends before it does. */
  async result({ timeout, signal }: { readonly timeout?: number; readonly signal?: AbortSignal } = {}): Promise<R> {
    const late = timeout === undefined ? undefined : AbortSignal.timeout(timeout * 1000);
    const ends = [late, signal].filter((each) => each !== undefined);
    const early = this.startedAt + FIRST_LOOK - performance.now();
    if (early > 0) await setTimeout(early);
    try {
      const run = await this.client.lookout.ended(this.key, ends.length > 0 ? AbortSignal.any(ends) : undefined);
      if (run === undefined) throw new UnknownRun(this.id, this.key.namespace);
      return resultOf(run, this.spec) as R;
    } catch (error) {
      if (!late?.aborted || error !== late.reason) throw error;
      throw new WaitTimedOut(this.id, timeout ?? 0, await this.status());
    }
  }

  /** Leave it a message. */
  async signal(name: string, value: unknown = null, { messageId = randomUUID() as string } = {}): Promise<void> {
    await this.client.ask(VERBS.signalRun, { key: this.key, name, payload: toBytes(value, `signal '${name}'`), messageId });
  }

  /** Send an update and wait for the workflow's reply; with a `messageId`, asking again finds the same reply. */
  async update<T = any>(
    name: string,
    value: unknown = null,
    options: { readonly schema?: Schema<T>; readonly timeout?: number; readonly messageId?: string } = {},
  ): Promise<T> {
    const { messageId = randomUUID(), timeout = DEADLINE } = options;
    const payload = toBytes(value, `update '${name}'`);
    const asked = this.client.ask(VERBS.updateRun, { key: this.key, name, payload, messageId }, { deadline: timeout });
    return readerOf(options.schema)(await this.#replyOf(asked, timeout));
  }

  /** Ask the code of an open run, by way of the worker that drives it; the journal holds no trace of it. */
  async query<T = any>(name: string, ...args: unknown[]): Promise<T> {
    const asked = { key: this.key, name, arguments: toBytes(args, `arguments of query '${name}'`), messageId: randomUUID() };
    return (await this.#replyOf(this.client.ask(VERBS.queryRun, asked), this.client.deadline)) as T;
  }

  /** What a run replies; where nobody drives it, where it stands tells more than that a call took too long. */
  async #replyOf(asked: Promise<{ readonly reply: Uint8Array }>, seconds: number): Promise<Json> {
    try {
      return fromBytes((await asked).reply);
    } catch (error) {
      if (!(error instanceof StoreUnavailable && error.reason.startsWith("DEADLINE_EXCEEDED"))) throw error;
      throw new WaitTimedOut(this.id, seconds, await this.status());
    }
  }

  async #control(verb: "cancel" | "terminate" | "pause" | "resume", reason = ""): Promise<void> {
    await this.client.ask(VERBS.controlRun, { key: this.key, verb, reason, messageId: randomUUID() });
  }

  /** Ask it to clean up and end. */
  cancel(reason?: string): Promise<void> {
    return this.#control("cancel", reason);
  }

  /** End it where it stands; none of its code runs. */
  terminate(reason?: string): Promise<void> {
    return this.#control("terminate", reason);
  }

  /** Begin nothing new until it is resumed. */
  pause(reason?: string): Promise<void> {
    return this.#control("pause", reason);
  }

  resume(reason?: string): Promise<void> {
    return this.#control("resume", reason);
  }

  /** Its journal. */
  journal(options: FollowOptions = {}): Entries<Event> {
    const { follow = false } = options;
    const request = (after: number) => ({ key: this.key, after, follow });
    const ended = () => !follow || this.#isClosed();
    const placed = ({ events }: { events: Event[] }) => events.map((event) => [event.seq, event] as const);
    return this.client.follow(VERBS.readJournal, request, placed, ended, options);
  }

  async #isClosed(): Promise<boolean> {
    return CLOSED.has(await this.status());
  }

  /** Its savepoints, oldest first. */
  async savepoints(): Promise<SavepointInfo[]> {
    const { savepoints } = await this.client.ask(VERBS.listSavepoints, { key: this.key });
    return savepoints.map(({ at, notes, ...rest }) => ({ ...rest, at: dateOf(at), notes: fromBytes(notes) }));
  }

  /** A run that shares its past, up to a savepoint or an event's number; `edits` are other answers by event number. */
  async fork(options: ForkOptions = {}): Promise<Handle<R>> {
    const { at = "", id = `${this.id}-fork-${randomUUID().slice(0, 8)}`, edits = {} } = options;
    const spelt = Object.fromEntries(Object.entries(edits).map(([seq, value]) => [seq, toBytes(value, `edit of event #${seq}`)]));
    await this.client.ask(VERBS.forkRun, { source: this.key, targetId: id, at: String(at), edits: spelt });
    return new Handle(this.client, { ...this.key, id }, this.spec);
  }
}

/** The result of a run that has ended or is stuck; `RunFailed` where it has none. */
export function resultOf({ key, status, result, note }: Run, spec: { read: Reader<unknown> }): unknown {
  const data = result.length > 0 ? fromBytes(result) : null;
  if (status === "completed") return spec.read(data);
  if (status === "stuck") throw new RunFailed(key.id, status, "Stuck", note);
  const { type, message, traceback } = readFailure(data);
  if (status !== "cancelled") throw new RunFailed(key.id, status, type, message, traceback);
  throw new RunFailed(key.id, status, `replay.errors.${Cancelled.name}`, (data as { reason?: string } | null)?.reason ?? "");
}

/** What is shown of a run as it stands in the index. */
const SHOWN = ["workflow", "version", "queue", "priority", "parent", "tags", "seq", "source", "worker", "recoveries", "note"] as const;

/** A run as the index shows it: `seq` is its journal's length, `source` run and seq that it was forked from, `note` why it is stuck. */
export interface RunView extends Readonly<Pick<Run, (typeof SHOWN)[number]>> {
  readonly id: string;
  readonly namespace: string;
  readonly status: Status;
  readonly state: Readonly<Record<string, any>>;
  /** Its closing event's payload, or null. */
  readonly result: any;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly wakeAt: Date | undefined;
}

/** What a workflow shows; keys with a tilde are replay's own. */
export function shownBy({ state }: Run): Readonly<Record<string, any>> {
  const shown = Object.entries(state).filter(([name]) => !name.startsWith("~"));
  return Object.fromEntries(shown.map(([name, payload]) => [name, fromBytes(payload)]));
}

function viewOf(run: Run): RunView {
  return {
    ...(Object.fromEntries(SHOWN.map((name) => [name, run[name]])) as Pick<Run, (typeof SHOWN)[number]>),
    ...run.key,
    status: run.status as Status,
    state: shownBy(run),
    result: run.result.length > 0 ? fromBytes(run.result) : null,
    createdAt: dateOf(run.createdAt),
    updatedAt: dateOf(run.updatedAt),
    wakeAt: run.wakeAt === undefined ? undefined : dateOf(run.wakeAt),
  };
}

function dateOf(moment: number): Date {
  return new Date(moment / 1000);
}

