/**
 * Drive a workflow over events: a pure function in the shape of an object.
 *
 * Rule 1: it is fed events in journal order. After each it can be asked for its pending commands, for what was issued, withdrawn and said
 * since it was last asked, and, at the end, for its outcome. It does no I/O, and never learns whether an event is old or new.
 * Rule 2: an event resumes the one fiber that waits for it; that fiber runs until it waits again or ends; what this makes ready runs after
 * it, first ready first.
 * Rule 3: an event must fit the command that it answers. One that does not is `NonDeterminismError`, and the interpreter that threw it is
 * spent: throw it away, the journal is untouched.
 * Rule 4: an outcome is not an end of feeding: the closing event is fed too, and must say the same.
 */

import { fromBytes, textOf, toText, type Json } from "../codec/json.js";
import { Cancelled, JournalDamaged, UnknownName } from "../errors.js";
import { Request, readBy, type Asked, type Call, type Output, type Workflow, type WorkflowSpec } from "../model/effects.js";
import { failureOf } from "../model/failure.js";
import { readResume, readStarted, type Mail, type Started } from "../model/journal.js";
import { CLOSING, TERMINATED, type Event } from "../model/records.js";
import { Chance } from "./ambient.js";
import { agrees, mismatch } from "./determinism.js";
import { Command, Fiber, Scope, closeGenerator, isGenerator, waitsToEnd, type End } from "./fibers.js";
import { WAIT, carryOut, readSignal, signalTimedOut } from "./issue.js";

/** How a run ends: the closing event's kind and payload. */
export interface Outcome {
  readonly kind: "completed" | "failed" | "cancelled" | "continued";
  readonly payload: string;
  readonly call?: Call<unknown>;
}

type Ready = readonly [fiber: Fiber, value: unknown, end: End];

/** Events that a report shows before the one that does not fit. */
const RECENT = 3;
/** Kinds of events that answer a command and nothing else. */
const ANSWERS: ReadonlySet<string> = new Set(["step_completed", "step_failed", "child_completed", "child_failed", "savepoint"]);

/** One run, as far as its events tell. */
export class Interpreter {
  /** What it was begun with; set by the first event. */
  started!: Started;
  root!: Fiber;
  chance!: Chance;
  /** Number of the last event that was fed. */
  seq = 0;
  /** The workflow's clock, microseconds UTC. */
  clock = 0;
  /** Commands that wait for an answer, in order of issue. */
  readonly pending = new Map<string, Command>();
  /** Commands issued since they were last taken, and those withdrawn. */
  issued: Command[] = [];
  withdrawn: Command[] = [];
  /** Outputs since they were last taken, with their ids. */
  outputs: [id: string, output: Output][] = [];
  outcome: Outcome | undefined = undefined;
  /** What the workflow threw, if it did. */
  error: End = undefined;
  patches: ReadonlySet<string> = new Set();
  readonly mail = new Map<string, string[]>();
  readonly updates = new Map<string, Request<"on_update">>();
  updated = 0;
  readonly queries = new Map<string, Request<"on_query">>();
  /** Fibers that no scope waits for. */
  readonly beside = new Set<Fiber>();
  /** The last events. */
  readonly recent: Event[] = [];
  readonly #listeners = new Map<string, Set<Command>>();
  #ready: Ready[] = [];
  #first = 0;
  #closing: Outcome | undefined = undefined;
  #closed = false;
  #left = Infinity;

  constructor(readonly spec: WorkflowSpec, readonly run: string) {}

  // ---- feeding -------------------------------------------------------------------------------------------------------------

  /** Take in the next event, and run until nothing more can be done without another, or `budget` immediate answers were given. */
  feed(event: Event, budget = Infinity): void {
    this.advance(); // the last event has all of its consequences first, or the order of fibers would hang on the budget
    if (event.seq !== this.seq + 1) throw new JournalDamaged(this.run, event.seq, `after #${this.seq} comes #${this.seq + 1}`);
    this.seq = event.seq;
    if (this.issued.length > 0) this.issued = [];
    if (event.at > this.clock) this.clock = event.at;
    this.#left = budget;
    const command = this.pending.get(event.command);
    if (command !== undefined && agrees(command, event)) this.#takeAnswer(command, event);
    else this.#takeOther(event, command);
    this.advance(this.#left);
    if (this.recent.push(event) > RECENT) this.recent.shift();
  }

  #takeAnswer(command: Command, event: Event): void {
    const answer = command.effect.answers.get(event.kind);
    const value = answer?.decode(event.payload);
    this.pending.delete(command.id);
    if (event.kind === "savepoint") this.#passSavepoint(event);
    command.fiber.waits = undefined;
    if (command.cancelled) this.#run(command.fiber, undefined, { error: command.fiber.cancel });
    else if (answer?.failed) this.#run(command.fiber, undefined, { error: value });
    else this.#run(command.fiber, value, undefined);
  }

  #passSavepoint(event: Event): void {
    const resume = readResume(event.payload);
    if (resume === undefined) return;
    this.patches = new Set(resume.patches);
    this.chance.rebase(event.seq);
  }

  /** Take in an event that is no answer to the command of its id. */
  #takeOther(event: Event, command: Command | undefined): void {
    const { kind, name, payload } = event;
    if (CLOSING.has(kind)) return this.#takeClosing(event);
    if (this.#closed || this.outcome !== undefined || ANSWERS.has(kind)) throw mismatch(this, event, command);
    switch (kind) {
      case "started":
        this.#setOut(event);
        this.root = new Fiber("", this.spec.begin(this.started.input));
        return this.weave(this.root);
      case "step_attempt_failed": {
        const failed = this.#expect(event, command, "step_failed");
        failed.attempts++;
        Object.assign(failed, { failure: payload, failedAt: event.at, intent: false });
        return;
      }
      case "step_intent":
        this.#expect(event, command, "step_completed").intent = true;
        return;
      case "timer_fired": {
        // of a wait for a signal; that of a sleep is its answer
        const effect = command?.effect;
        if (effect?.kind !== "signal" || command?.due === undefined || name !== effect.name) throw mismatch(this, event, command);
        return this.#answer(command, () => signalTimedOut(effect));
      }
      case "signal_received": {
        const listener = this.#listener(name);
        if (listener === undefined) return this.#deliver(name, textOf(payload));
        return this.#answer(listener, () => readSignal(listener.effect as Request<"signal">, fromBytes(payload)));
      }
      case "update_received": {
        const { id, value } = fromBytes(payload) as { id: string; value: Json };
        const handler = this.updates.get(name);
        if (handler === undefined) throw mismatch(this, event);
        const reply = { owner: this.root, ended: (fiber: Fiber) => this.#reply(fiber, id) };
        const fiber = new Fiber(`u${this.updated++}/`, updating(handler, value), reply);
        this.weave(fiber);
        return this.runBeside(fiber);
      }
      case "cancel_requested": {
        const { reason = "cancelled" } = payload.length > 0 ? (fromBytes(payload) as { reason?: string }) : {};
        return this.cancelFiber(this.root, reason);
      }
      default:
        throw new JournalDamaged(this.run, event.seq, `of unknown kind '${kind}': upgrade replay-engine`);
    }
  }

  #takeClosing(event: Event): void {
    const { outcome } = this;
    const terminated = event.kind === "failed" && event.name === TERMINATED;
    const compared = event.kind === "completed" || event.kind === "continued"; // what failures hold differs between machines
    const fits = outcome?.kind === event.kind && (!compared || outcome.payload === textOf(event.payload));
    if (this.#closed || !(terminated || fits)) throw mismatch(this, event);
    this.#closed = true;
    this.pending.clear();
  }

  #expect(event: Event, command: Command | undefined, kind: string): Command {
    if (command === undefined || !agrees(command, event, kind)) throw mismatch(this, event, command);
    return command;
  }

  /** A wait for a signal has its answer, or what reading it throws. */
  #answer(command: Command, make: () => unknown): void {
    this.#forget(command);
    try {
      this.resume(command.fiber, make(), undefined);
    } catch (error) {
      this.resume(command.fiber, undefined, { error });
    }
  }

  /** Let every fiber run that can; whether none is left that can. */
  advance(budget = Infinity): boolean {
    this.#left = budget;
    while (!this.settled && this.#left > 0) {
      const [fiber, value, end] = this.#ready[this.#first] as Ready;
      if (++this.#first > 1_000 && this.#first * 2 > this.#ready.length) {
        this.#ready = this.#ready.slice(this.#first);
        this.#first = 0;
      }
      this.#run(fiber, value, end);
    }
    if (this.settled && this.#first > 0) this.#first = this.#ready.length = 0;
    return this.settled;
  }

  /** Whether no fiber can run without another event. */
  get settled(): boolean {
    return this.#first >= this.#ready.length;
  }

  /** Begin at a savepoint with state instead of at the beginning; then feed what comes after it. */
  recover(started: Event, savepoint: Event, budget = Infinity): void {
    const resume = savepoint.kind === "savepoint" ? readResume(savepoint.payload) : undefined;
    if (resume === undefined) throw new JournalDamaged(this.run, savepoint.seq, "it is no savepoint with state");
    this.#setOut(started);
    this.seq = savepoint.seq;
    this.clock = savepoint.at;
    this.mail.clear();
    for (const [name, text] of resume.mail) this.#deliver(name, text);
    this.root = new Fiber("", this.spec.begin(this.started.input, resume.state));
    this.root.commands = resume.next;
    this.root.outs = resume.outs;
    this.updated = resume.updates;
    this.#passSavepoint(savepoint);
    this.weave(this.root);
    this.advance(budget);
  }

  #setOut(event: Event): void {
    this.started = readStarted(event, this.run);
    this.chance = new Chance(this.started.seed || this.run);
    this.patches = this.started.patches === undefined ? this.spec.patches : new Set(this.started.patches);
    for (const [name, text] of this.started.mail) this.#deliver(name, text);
  }

  #deliver(name: string, text: string): void {
    const letters = this.mail.get(name);
    if (letters === undefined) this.mail.set(name, [text]);
    else letters.push(text);
  }

  // ---- what a worker asks --------------------------------------------------------------------------------------------------

  /** Whether an answer of this kind to this command would be taken. */
  expects(command: string, kind: string): boolean {
    return this.pending.get(command)?.effect.answers.has(kind) ?? false;
  }

  /** Why a message does not fit the fiber that waits for it, or empty. */
  refusesSignal(name: string, payload: Uint8Array): string {
    const waiting = this.#listener(name)?.effect as Request<"signal"> | undefined;
    return waiting === undefined ? "" : refusal(() => readSignal(waiting, fromBytes(payload)));
  }

  /** Why an update is refused, or empty: nothing handles it, its argument does not fit, or its validator throws. */
  refusesUpdate(name: string, payload: Uint8Array): string {
    const handler = this.updates.get(name);
    if (handler === undefined) return new UnknownName("update", name, [...this.updates.keys()]).message;
    return refusal(() => {
      const said: unknown = handler.of.validator?.(argumentOf(handler, fromBytes(payload)));
      if (said instanceof Promise) toText(said, `validator of update '${name}'`); // which refuses it, for it would come too late
    });
  }

  /** The reply to a query, spelt as an update's is; the author's function may throw anything. */
  query(name: string, input: string): string {
    const asked = this.queries.get(name);
    if (asked === undefined) return toText({ refused: new UnknownName("query", name, [...this.queries.keys()]).message });
    try {
      return `{"ok":${toText(asked.of.answer(input), `reply of query '${name}'`)}}`;
    } catch (error) {
      return toText({ error: failureOf(error) });
    }
  }

  /** Signals that came and were not taken, per name oldest first. */
  unread(): Mail {
    return [...this.mail].flatMap(([name, letters]) => letters.map((text) => [name, text] as const));
  }

  /** Evict: close every generator. What their `finally` blocks yield is refused, nothing of it is journaled. */
  close(): void {
    const seen = [...(this.root === undefined ? [] : [this.root]), ...this.beside];
    for (let fiber = seen.pop(); fiber !== undefined; fiber = seen.pop()) {
      if (fiber.waits instanceof Scope) seen.push(...fiber.waits.fibers.filter((child) => !child.done));
      if (fiber.generator !== undefined && !fiber.done) closeGenerator(fiber.generator);
    }
  }

  // ---- running fibers --------------------------------------------------------------------------------------------------------

  /** Let one fiber run until it waits, ends, or the budget is used up. */
  #run(fiber: Fiber, value: unknown, end: End): void {
    if (fiber.generator === undefined && fiber.cancel !== undefined) {
      fiber.delivered = true; // never ran, never runs
      return this.#ended(fiber, undefined, { error: fiber.cancel });
    }
    for (;;) {
      let step: IteratorResult<unknown, unknown>;
      try {
        const generator = fiber.generator ?? fiber.begin();
        step = end === undefined ? generator.next(value) : generator.throw(end.error);
      } catch (error) {
        return this.#ended(fiber, undefined, { error }); // the author's code may throw anything
      }
      if (step.done) return this.#ended(fiber, step.value, undefined);
      try {
        value = carryOut(this, fiber, step.value);
        end = undefined;
      } catch (error) {
        value = undefined; // what an effect refuses is thrown at its line
        end = { error };
        continue;
      }
      if (value === WAIT) {
        if (fiber.cancel !== undefined && !fiber.delivered && !fiber.done) this.#strike(fiber);
        return;
      }
      if (--this.#left <= 0) {
        this.#ready.splice(this.#first, 0, [fiber, value, end]);
        return;
      }
    }
  }

  #ended(fiber: Fiber, value: unknown, end: End): void {
    this.#close(fiber, value, end);
    fiber.scope?.ended(fiber);
    this.beside.delete(fiber);
    if (fiber === this.root) this.closeRun(this.#outcomeOf(value, end));
    else this.#finish();
  }

  #close(fiber: Fiber, value: unknown, end: End): void {
    Object.assign(fiber, { done: true, value, end, waits: undefined });
    for (const joiner of fiber.joiners ?? []) this.resume(joiner, value, end);
  }

  #outcomeOf(value: unknown, end: End): Outcome {
    this.error = end;
    try {
      if (end === undefined) return { kind: "completed", payload: this.spec.encodeResult(value) };
    } catch (error) {
      end = { error };
    }
    const { error } = end as { error: unknown };
    if (error instanceof Cancelled) return { kind: "cancelled", payload: toText({ reason: error.reason.toWellFormed().slice(0, 4_000) }) };
    return { kind: "failed", payload: toText(failureOf(error, this.started.attempt)) };
  }

  /** The fiber that handles an update has ended: its reply is an output. */
  #reply(fiber: Fiber, message: string): void {
    let { end } = fiber;
    let payload = "";
    try {
      if (end === undefined) payload = toText(fiber.value, "reply of an update");
    } catch (error) {
      end = { error };
    }
    if (end !== undefined) payload = toText(failureOf(end.error));
    const said = { target: message, label: end === undefined ? "ok" : "error", payload };
    this.outputs.push([`${fiber.path}reply`, new Request("output", "reply", said)]);
  }

  /** The root has ended: cancel what was spawned and still runs, then the run ends. */
  closeRun(outcome: Outcome): void {
    this.#closing ??= outcome;
    for (const fiber of [...this.beside]) this.#part(fiber);
    this.#finish();
  }

  /** Keep a fiber that no scope waits for; one that is made while the run ends shares its end. */
  runBeside(fiber: Fiber): void {
    this.beside.add(fiber);
    if (this.#closing !== undefined) this.#part(fiber);
  }

  /** The root has ended and this fiber has not: children go by their policy, all else is cancelled. */
  #part(fiber: Fiber): void {
    const { waits } = fiber;
    const isChild = waits instanceof Command && waits.effect.kind === "child" && waits.effect === fiber.branch; // and nothing else has a say
    const policy = isChild ? ((waits.effect as Call<unknown>).how.onParentClose ?? "cancel") : "cancel";
    if (policy === "cancel") this.cancelFiber(fiber, "the run has ended");
    if (policy !== "abandon") return;
    (waits as Command).abandoned = true; // it goes on by itself: nobody waits for it any more
    this.pending.delete((waits as Command).id);
    this.#close(fiber, undefined, { error: new Cancelled("the run has ended") });
    this.beside.delete(fiber);
  }

  #finish(): void {
    if (this.beside.size === 0) this.outcome = this.#closing;
  }

  // ---- what scopes and effects ask of the loom ---------------------------------------------------------------------------------

  /** Put a new fiber at the end of the queue. */
  weave(fiber: Fiber): void {
    this.#ready.push([fiber, undefined, undefined]);
  }

  /** Put a waiting fiber at the end of the queue, with its answer. */
  resume(fiber: Fiber, value: unknown, end: End): void {
    fiber.waits = undefined;
    this.#ready.push([fiber, value, end]);
  }

  /** Cancel a fiber, once. */
  cancelFiber(fiber: Fiber, reason: string): void {
    if (fiber.cancel !== undefined || fiber.done) return;
    fiber.cancel = new Cancelled(reason);
    if (fiber.waits !== undefined) this.#strike(fiber);
  }

  /** Throw a cancellation where a fiber waits; where that is a scope, into its branches, outermost and first ones first. */
  #strike(struck: Fiber): void {
    const stack = [struck];
    for (let fiber = stack.pop(); fiber !== undefined; fiber = stack.pop()) {
      const { waits, cancel } = fiber;
      if (!(waits instanceof Scope)) {
        this.#throw(fiber);
      } else if (waits.effect.kind !== "shield") {
        waits.closing = true;
        const inner = waits.fibers.filter((child) => !child.done && child.cancel === undefined);
        for (const child of inner) child.cancel = new Cancelled(cancel?.reason);
        for (const child of inner.reverse()) if (child.waits !== undefined) stack.push(child);
      }
    }
  }

  #throw(fiber: Fiber): void {
    const { waits } = fiber;
    fiber.delivered = true;
    if (waits instanceof Command) {
      this.withdrawn.push(waits);
      if (waitsToEnd(waits)) {
        waits.cancelled = true;
        return;
      }
      this.#forget(waits);
    } else if (waits instanceof Fiber) {
      waits.joiners?.delete(fiber);
    }
    this.resume(fiber, undefined, { error: fiber.cancel });
  }

  /** Ask the world; `fiber.waits` is the command. */
  issue(fiber: Fiber, effect: Asked, due?: number): symbol {
    const command = new Command(fiber.nextCommand(), effect, fiber, this.clock, due);
    this.pending.set(command.id, command);
    this.issued.push(command);
    fiber.waits = command;
    if (effect.kind === "signal") {
      const waiting = this.#listeners.get(effect.name) ?? new Set();
      this.#listeners.set(effect.name, waiting.add(command));
    }
    return WAIT;
  }

  #listener(name: string): Command | undefined {
    return this.#listeners.get(name)?.values().next().value;
  }

  /** Nobody waits for this answer any more. */
  #forget(command: Command): void {
    this.pending.delete(command.id);
    if (command.effect.kind !== "signal") return;
    const waiting = this.#listeners.get(command.effect.name);
    waiting?.delete(command);
    if (waiting?.size === 0) this.#listeners.delete(command.effect.name);
  }
}

function argumentOf({ name, of }: Request<"on_update">, value: Json): unknown {
  return readBy(of.reader, value, `argument of update '${name}'`);
}

function* updating(handler: Request<"on_update">, value: Json): Workflow<unknown> {
  const result = handler.of.handler(argumentOf(handler, value));
  return isGenerator(result) ? yield* result : result;
}

function refusal(attempt: () => unknown): string {
  try {
    attempt();
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}
