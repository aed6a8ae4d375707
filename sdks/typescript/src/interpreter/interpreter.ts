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
import { Cancelled, JournalDamaged, NonDeterminismError, UnknownName } from "../errors.js";
import type { Asked, Call, OnUpdate, Signal, Workflow, WorkflowSpec } from "../model/effects.js";
import { Output } from "../model/effects.js";
import { failureOf, failureText } from "../model/failure.js";
import { readResume, readStarted, type Mail, type Started } from "../model/journal.js";
import { CLOSING, TERMINATED, eventText, type Event } from "../model/records.js";
import { Chance } from "./ambient.js";
import { agrees, mismatch } from "./determinism.js";
import { Command, Fiber, Scope, closeGenerator, waitsToEnd, type End, type Loom } from "./fibers.js";
import { WAIT, carryOut } from "./issue.js";

/** How a run ends: the closing event's kind and payload. */
export interface Outcome {
  readonly kind: "completed" | "failed" | "cancelled" | "continued";
  readonly payload: string;
  readonly call?: Call<unknown>;
}

type Ready = readonly [fiber: Fiber, value: unknown, end: End];

/** One run, as far as its events tell. */
export class Interpreter implements Loom {
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
  readonly updates = new Map<string, OnUpdate>();
  updated = 0;
  /** Fibers that no scope waits for. */
  readonly beside = new Set<Fiber>();
  readonly #listeners = new Map<string, Set<Command>>();
  #ready: Ready[] = [];
  #first = 0;
  #closing: Outcome | undefined = undefined;
  #closed = false;
  #left = Infinity;
  #recent: Event[] = [];

  constructor(
    readonly spec: WorkflowSpec,
    readonly run: string,
  ) {}

  // ---- feeding -------------------------------------------------------------------------------------------------------------

  /** Take in the next event, and run until nothing more can be done without another, or `budget` immediate answers were given. */
  feed(event: Event, budget = Infinity): void {
    this.advance(); // the last event has all of its consequences first, or the order of fibers would hang on the budget
    this.#left = budget;
    try {
      this.#take(event);
      this.#advance();
    } catch (report) {
      if (report instanceof NonDeterminismError) report.before = this.#recent.map(eventText);
      throw report;
    }
    if (this.#recent.length === 3) this.#recent.shift();
    this.#recent.push(event);
  }

  #take(event: Event): void {
    const { seq, kind } = event;
    if (seq !== this.seq + 1) throw new JournalDamaged(this.run, seq, `after #${this.seq} comes #${this.seq + 1}`);
    this.seq = seq;
    if (this.issued.length > 0) this.issued = [];
    if (event.at > this.clock) this.clock = event.at;
    const command = this.pending.get(event.command);
    if (command === undefined || !agrees(command, event, kind)) {
      this.#takeOther(event);
      return;
    }
    const answer = command.effect.answers.get(kind);
    const value = answer?.decode(event.payload);
    this.pending.delete(command.id);
    if (kind === "savepoint") this.#passSavepoint(event);
    command.fiber.waits = undefined;
    if (command.cancelled) this.#run(command.fiber, undefined, { error: command.fiber.cancel });
    else if (answer?.failed) this.#run(command.fiber, undefined, { error: value });
    else this.#run(command.fiber, value, undefined);
  }

  /** Take in an event that answers no pending command. */
  #takeOther(event: Event): void {
    const take = TAKE.get(event.kind);
    if (take === undefined) {
      throw new JournalDamaged(this.run, event.seq, `of unknown kind '${event.kind}': upgrade replay-engine`);
    }
    if ((this.#closed || this.outcome !== undefined) && !CLOSING.has(event.kind)) throw this.#mismatch(event, undefined);
    take(this, event);
  }

  /** Let every fiber run that can; whether none is left that can. */
  advance(budget = Infinity): boolean {
    this.#left = budget;
    return this.#advance();
  }

  #advance(): boolean {
    while (this.#first < this.#ready.length && this.#left > 0) {
      const [fiber, value, end] = this.#ready[this.#first] as Ready;
      if (++this.#first > 1_000 && this.#first * 2 > this.#ready.length) {
        this.#ready = this.#ready.slice(this.#first);
        this.#first = 0;
      }
      this.#run(fiber, value, end);
    }
    if (this.settled && this.#ready.length > 0) {
      this.#ready.length = 0;
      this.#first = 0;
    }
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
    this.#carryOver(resume.mail);
    this.root = new Fiber("", this.spec.begin(this.started.input, resume.state));
    this.root.commands = resume.next;
    this.root.outs = resume.outs;
    this.updated = resume.updates;
    this.patches = new Set(resume.patches);
    this.chance.rebase(savepoint.seq);
    this.weave(this.root);
    this.advance(budget);
  }

  #setOut(event: Event): void {
    this.started = readStarted(event, this.run);
    this.chance = new Chance(this.started.seed || this.run);
    this.patches = this.started.patches === undefined ? this.spec.patches : new Set(this.started.patches);
  }

  #carryOver(mail: Mail): void {
    for (const [name, text] of mail) this.#deliver(name, text);
  }

  #deliver(name: string, text: string): void {
    const letters = this.mail.get(name);
    if (letters === undefined) this.mail.set(name, [text]);
    else letters.push(text);
  }

  // ---- one method per kind of event that no command waits for ----------------------------------------------------------------

  takeStarted(event: Event): void {
    this.#setOut(event);
    this.#carryOver(this.started.mail);
    this.root = new Fiber("", this.spec.begin(this.started.input));
    this.weave(this.root);
  }

  #passSavepoint(event: Event): void {
    const resume = readResume(event.payload);
    if (resume === undefined) return;
    this.patches = new Set(resume.patches);
    this.chance.rebase(event.seq);
  }

  takeAttempt(event: Event): void {
    const command = this.#expect(event, "step_failed");
    command.attempts++;
    command.failure = event.payload;
    command.failedAt = event.at;
    command.intent = false;
  }

  takeIntent(event: Event): void {
    this.#expect(event, "step_completed").intent = true;
  }

  #expect(event: Event, kind: string): Command {
    const command = this.pending.get(event.command);
    if (command === undefined || !agrees(command, event, kind)) throw this.#mismatch(event, command);
    return command;
  }

  /** A timer of a wait for a signal; that of a sleep is its answer. */
  takeTimer(event: Event): void {
    const command = this.pending.get(event.command);
    const effect = command?.effect;
    if (effect?.kind !== "signal" || command?.due === undefined || event.name !== effect.name) throw this.#mismatch(event, command);
    this.#forget(command);
    this.#answer(command.fiber, () => effect.timeOver());
  }

  takeSignal(event: Event): void {
    const command = this.#listener(event.name);
    if (command === undefined) {
      this.#deliver(event.name, textOf(event.payload));
      return;
    }
    this.#forget(command);
    this.#answer(command.fiber, () => (command.effect as Signal<unknown>).read(fromBytes(event.payload)));
  }

  #answer(fiber: Fiber, make: () => unknown): void {
    try {
      this.resume(fiber, make(), undefined);
    } catch (error) {
      this.resume(fiber, undefined, { error });
    }
  }

  takeUpdate(event: Event): void {
    const request = fromBytes(event.payload) as { id: string; value: Json };
    const handler = this.updates.get(event.name);
    if (handler === undefined) throw this.#mismatch(event, undefined);
    const fiber = new Fiber(`u${this.updated++}/`, updating(handler, request.value), new Reply(this, request.id));
    this.weave(fiber);
    this.runBeside(fiber);
  }

  takeCancel(event: Event): void {
    const told = event.payload.length > 0 ? (fromBytes(event.payload) as { reason?: string }) : {};
    this.cancelFiber(this.root, told.reason ?? "cancelled");
  }

  takeClosing(event: Event): void {
    const outcome = this.outcome;
    const terminated = event.kind === "failed" && event.name === TERMINATED;
    const compared = event.kind === "completed" || event.kind === "continued"; // what failures hold differs between machines
    const fits = outcome?.kind === event.kind && (!compared || outcome.payload === textOf(event.payload));
    if (this.#closed || !(terminated || fits)) throw this.#mismatch(event, undefined);
    this.#closed = true;
    this.pending.clear();
  }

  /** An answer that does not fit the command of its id, or that nobody waits for. */
  takeStray(event: Event): void {
    throw this.#mismatch(event, this.pending.get(event.command));
  }

  #mismatch(event: Event, command: Command | undefined): NonDeterminismError {
    const found = mismatch(this.run, event, command, this.pending.values());
    let { recorded, asked } = found;
    if (this.outcome !== undefined) {
      asked = `the workflow has ended: ${this.outcome.kind} ${cut(this.outcome.payload)}`;
      if (CLOSING.has(event.kind)) recorded += ` ${cut(textOf(event.payload))}`;
    } else if (event.kind === "update_received") {
      asked = `handles no update '${event.name}'; known: ${[...this.updates.keys()].join(", ") || "none"}`;
    }
    return new NonDeterminismError(this.run, event.seq, recorded, asked, found.recordedLine, found.askedLine);
  }

  // ---- what a worker asks before it feeds ------------------------------------------------------------------------------------

  /** Whether an answer of this kind to this command would be taken. */
  expects(command: string, kind: string): boolean {
    return this.pending.get(command)?.effect.answers.has(kind) ?? false;
  }

  /** Why a message does not fit the fiber that waits for it, or empty. */
  refusesSignal(name: string, payload: Uint8Array): string {
    const waiting = this.#listener(name);
    return refusal(() => (waiting?.effect as Signal<unknown> | undefined)?.read(fromBytes(payload)));
  }

  /** Why an update is refused, or empty: nothing handles it, its argument does not fit, or its validator throws. */
  refusesUpdate(name: string, payload: Uint8Array): string {
    const handler = this.updates.get(name);
    if (handler === undefined) return new UnknownName("update", name, [...this.updates.keys()]).message;
    return refusal(() => {
      const value = handler.read(fromBytes(payload));
      handler.validator?.(value);
    });
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
    let generator = fiber.generator;
    if (generator === undefined) {
      if (fiber.cancel !== undefined) {
        fiber.delivered = true; // never ran, never runs
        this.#ended(fiber, undefined, { error: fiber.cancel });
        return;
      }
      try {
        generator = fiber.begin();
      } catch (error) {
        this.#ended(fiber, undefined, { error });
        return;
      }
    }
    for (;;) {
      let step: IteratorResult<unknown, unknown>;
      try {
        step = end === undefined ? generator.next(value) : generator.throw(end.error);
      } catch (error) {
        this.#ended(fiber, undefined, { error }); // the author's code may throw anything
        return;
      }
      if (step.done) {
        this.#ended(fiber, step.value, undefined);
        return;
      }
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
    fiber.done = true;
    fiber.value = value;
    fiber.end = end;
    fiber.waits = undefined;
    for (const joiner of fiber.joiners ?? []) this.resume(joiner, value, end);
    fiber.scope?.ended(fiber);
    this.beside.delete(fiber);
    if (fiber === this.root) this.closeRun(this.#outcomeOf(value, end));
    else if (this.#closing !== undefined) this.#finish();
  }

  #outcomeOf(value: unknown, end: End): Outcome {
    this.error = end;
    if (end === undefined) {
      try {
        return { kind: "completed", payload: this.spec.encodeResult(value) };
      } catch (error) {
        end = { error };
      }
    }
    const { error } = end;
    if (error instanceof Cancelled) return { kind: "cancelled", payload: toText({ reason: error.reason.toWellFormed().slice(0, 4_000) }) };
    return { kind: "failed", payload: failureText(failureOf(error, this.started.attempt)) };
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
    const policy = policyOf(fiber);
    if (policy === "abandon") this.#abandon(fiber);
    else if (policy === "cancel") this.cancelFiber(fiber, "the run has ended");
  }

  #finish(): void {
    if (this.beside.size === 0) this.outcome = this.#closing;
  }

  /** Let a child go on by itself: nobody waits for it any more. */
  #abandon(fiber: Fiber): void {
    if (fiber.waits instanceof Command) {
      fiber.waits.abandoned = true;
      this.pending.delete(fiber.waits.id);
    }
    fiber.done = true;
    fiber.waits = undefined;
    fiber.end = { error: new Cancelled("the run has ended") };
    for (const joiner of fiber.joiners ?? []) this.resume(joiner, undefined, fiber.end);
    this.beside.delete(fiber);
  }

  // ---- what scopes and effects ask of the loom ---------------------------------------------------------------------------------

  weave(fiber: Fiber): void {
    this.#ready.push([fiber, undefined, undefined]);
  }

  resume(fiber: Fiber, value: unknown, end: End): void {
    fiber.waits = undefined;
    this.#ready.push([fiber, value, end]);
  }

  cancelFiber(fiber: Fiber, reason: string): void {
    if (fiber.cancel !== undefined || fiber.done) return;
    fiber.cancel = new Cancelled(reason);
    if (fiber.waits !== undefined) this.#strike(fiber);
  }

  /** Throw a cancellation where a fiber waits; where that is a scope, into its branches, outermost and first ones first. */
  #strike(struck: Fiber): void {
    const stack = [struck];
    for (let fiber = stack.pop(); fiber !== undefined; fiber = stack.pop()) {
      const waits = fiber.waits;
      if (!(waits instanceof Scope)) {
        this.#throw(fiber);
      } else if (!waits.shields) {
        waits.closing = true;
        const reason = fiber.cancel?.reason;
        const inner = waits.fibers.filter((child) => !child.done && child.cancel === undefined);
        for (const child of inner) child.cancel = new Cancelled(reason);
        for (const child of inner.reverse()) if (child.waits !== undefined) stack.push(child);
      }
    }
  }

  #throw(fiber: Fiber): void {
    const waits = fiber.waits;
    if (waits instanceof Command) {
      this.withdrawn.push(waits);
      if (waitsToEnd(waits)) {
        waits.cancelled = fiber.delivered = true;
        return;
      }
      this.#forget(waits);
    } else if (waits instanceof Fiber) {
      waits.joiners?.delete(fiber);
    }
    fiber.delivered = true;
    this.resume(fiber, undefined, { error: fiber.cancel });
  }

  /** Ask the world; `fiber.waits` is the command. */
  issue(fiber: Fiber, effect: Asked, due?: number): symbol {
    const command = new Command(fiber.nextCommand(), effect, fiber, this.clock);
    if (due !== undefined) command.due = due;
    this.pending.set(command.id, command);
    this.issued.push(command);
    fiber.waits = command;
    return WAIT;
  }

  /** The command that a fiber waits for hears messages of a name. */
  listen(name: string, fiber: Fiber): void {
    const waiting = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, waiting.add(fiber.waits as Command));
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

/** Waits for the fiber that handles an update, and says its reply. */
class Reply extends Scope {
  constructor(
    readonly run: Interpreter,
    readonly message: string,
  ) {
    super(run, run.root, "");
  }

  override ended(fiber: Fiber): void {
    let [label, payload] = ["ok", ""];
    let end = fiber.end;
    if (end === undefined) {
      try {
        payload = toText(fiber.value, "reply of an update");
      } catch (error) {
        end = { error };
      }
    }
    if (end !== undefined) [label, payload] = ["error", failureText(failureOf(end.error))];
    this.run.outputs.push([`${fiber.path}reply`, new Output("reply", this.message, label, payload)]);
  }

  settle(): void {}
}

function* updating(handler: OnUpdate, value: Json): Workflow<unknown> {
  const result = handler.handler(handler.read(value));
  const generator = result as Partial<Workflow<unknown>> | null | undefined;
  return typeof generator?.next === "function" ? yield* result as Workflow<unknown> : result;
}

/** What becomes of a fiber when the root has ended: only a fiber that is a child and nothing else has a say in it. */
function policyOf(fiber: Fiber): "cancel" | "abandon" | "wait" {
  const waits = fiber.waits;
  if (!(waits instanceof Command) || waits.effect.kind !== "child" || waits.effect !== fiber.branch) return "cancel";
  return waits.effect.how.onParentClose ?? "cancel";
}

function refusal(attempt: () => unknown): string {
  try {
    attempt();
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

function cut(text: string, limit = 120): string {
  const letters = Array.from(text);
  return letters.length > limit ? `${letters.slice(0, limit).join("")}…` : text;
}

type Take = (run: Interpreter, event: Event) => void;
const stray: Take = (run, event) => run.takeStray(event);
const closing: Take = (run, event) => run.takeClosing(event);

const TAKE: ReadonlyMap<string, Take> = new Map([
  ["started", (run: Interpreter, event: Event) => run.takeStarted(event)],
  ["step_attempt_failed", (run: Interpreter, event: Event) => run.takeAttempt(event)],
  ["step_intent", (run: Interpreter, event: Event) => run.takeIntent(event)],
  ["timer_fired", (run: Interpreter, event: Event) => run.takeTimer(event)],
  ["signal_received", (run: Interpreter, event: Event) => run.takeSignal(event)],
  ["update_received", (run: Interpreter, event: Event) => run.takeUpdate(event)],
  ["cancel_requested", (run: Interpreter, event: Event) => run.takeCancel(event)],
  ...[...CLOSING].map((kind) => [kind, closing] as const),
  ...["step_completed", "step_failed", "child_completed", "child_failed", "savepoint"].map((kind) => [kind, stray] as const),
]);

