/**
 * One run in memory: what it has been told, what it wants, and the commit that makes a turn durable.
 *
 * Rule 1: a turn feeds first. Answers, messages and timers become events, the interpreter takes them at once, and all that they led to is
 * collected; nothing of it is done before the commit that this module builds has been applied.
 * Rule 2: no I/O. A `Live` takes facts and a moment, and returns a commit and a list of commands to act on.
 * Rule 3: what an interpreter says while it is driven over old events has been said: only outputs of events after `applied` count.
 */

import { createHash } from "node:crypto";
import { bytesOf, fromBytes, fromText, toBytes, toText, type Json } from "../codec/json.js";
import { NonDeterminismError, PayloadTooLarge, RunExists } from "../errors.js";
import { lineOf, writerOf } from "../interpreter/determinism.js";
import type { Command, Fiber } from "../interpreter/fibers.js";
import { Interpreter } from "../interpreter/interpreter.js";
import { childId, position, savepointText } from "../interpreter/issue.js";
import type { Call, Output, Step, WorkflowSpec } from "../model/effects.js";
import { failureOf, failureText, readFailure } from "../model/failure.js";
import { readResume, startedText, type Started } from "../model/journal.js";
import {
  CLOSING,
  LOG,
  NOTES,
  REPLY,
  STEP_RUN,
  TERMINATED,
  micros,
  type Commit,
  type Event,
  type Lease,
  type Message,
  type NewRun,
  type Run,
  type RunKey,
  type TopicEntry,
} from "../model/records.js";
import { ONCE, allows, delay, spelt } from "../model/retry.js";
import { Alarms, type Alarm } from "./alarms.js";
import type { Attempt } from "./steps.js";

/** Events that one commit of one run holds at most; the rest follows in the next. */
const TURN_LIMIT = 2_000;
/** After so many answers in a row a run hears a timer or a message: one that answers itself for ever can be cancelled. */
const HEED = 100;
/** Immediate answers that a workflow gives itself before other runs have their turn. */
const ANSWER_BUDGET = 20_000;

/** What the world told about a command, not yet an event. */
export interface Answer {
  readonly command: string;
  readonly kind: string;
  readonly payload: Uint8Array;
  readonly attempt?: number;
  readonly duration?: number;
}

/** What a run is begun with; what is left out has its default. */
type Begin = Partial<Started> & { workflow: string; input: string };

const EMPTY = new Uint8Array();
/** The name of a deadline among the timers of commands. */
const DEADLINE = "";

export class Live {
  readonly key: RunKey;
  readonly interp: Interpreter;
  /** Whether all old events have been fed. */
  arrived = false;
  /** Length of the journal in the store, and the last event whose outputs took effect. */
  committed: number;
  applied: number;
  /** What came in from steps, and messages not yet taken in. */
  readonly answers: Answer[] = [];
  readonly mail: Message[] = [];
  /** Ids of all messages seen. */
  readonly known = new Set<string>();
  /** Commands to act on, and to stop, once the next commit is applied. */
  acting: Command[] = [];
  withdrawn: Command[] = [];
  /** What the worker has under way for it, by command; "waiting" for room. */
  readonly tasks = new Map<string, Attempt | "waiting">();
  readonly queued: Command[] = [];
  /** Commands of at-most-once steps whose beginning was noted in this life. */
  readonly intents = new Set<string>();
  paused: boolean;
  /** Whether it has rested long enough and its next commit gives the lease back. */
  parking = false;
  /** The worker's alarm for it. */
  alarm: Alarm<Live | Attempt> | undefined;
  readonly #said: number;
  #journal: readonly Event[];
  #fed = 0;
  readonly #timers = new Alarms<string>((id) => id === DEADLINE || this.interp.pending.has(id));
  readonly #retries = new Set<string>();
  readonly #lines = new Map<string, string>();
  #cancelling = false;
  #terminated = false;
  #fresh: Event[] = [];
  #outputs: [id: string, output: Output, seq: number][] = [];
  #consumed: string[] = [];
  #posts: Message[] = [];
  #children: NewRun[] = [];
  #topics: TopicEntry[] = [];
  #base = 0;
  /** What it shows, and the words that it is found by. */
  readonly #state: Record<string, Uint8Array>;
  #tags: Record<string, string>;

  constructor(
    readonly run: Run,
    public lease: Lease,
    spec: WorkflowSpec,
    journal: readonly Event[],
    mail: readonly Message[],
    readonly maxPayload: number,
  ) {
    this.key = run.key;
    this.interp = new Interpreter(spec, run.key.id);
    this.#journal = journal;
    this.#said = journal.filter((event) => event.seq <= run.applied).length;
    this.committed = run.seq;
    this.applied = run.applied;
    this.paused = run.status === "paused";
    this.#state = Object.fromEntries(Object.entries(run.state).filter(([name]) => !name.startsWith("~")));
    this.#tags = run.tags;
    this.deliver(mail);
  }

  // ---- what comes in -------------------------------------------------------------------------------------------------------

  /** Take in messages; those seen before are passed over. */
  deliver(mail: readonly Message[]): boolean {
    const fresh = mail.filter((message) => !this.known.has(message.id));
    for (const message of fresh) this.known.add(message.id);
    this.mail.push(...fresh);
    return fresh.length > 0;
  }

  /** Feed old events, as many as the budget allows; what is left of the budget. */
  replay(budget: number): number {
    const { interp } = this;
    const journal = this.#journal;
    const [started, savepoint] = journal;
    if (interp.seq === 0 && this.run.base > 1 && started !== undefined && savepoint !== undefined) {
      interp.recover(started, savepoint, ANSWER_BUDGET);
      this.#fed = 2;
    } else if (!interp.settled) {
      interp.advance(ANSWER_BUDGET);
    }
    this.#forgetSaid();
    while (interp.settled && budget > 0 && this.#fed < journal.length) {
      interp.feed(journal[this.#fed++] as Event, ANSWER_BUDGET);
      budget--;
      this.#forgetSaid();
      this.#hear();
    }
    if (this.#fed < journal.length) return budget;
    if (interp.settled) this.#arrive();
    else this.#terminateBusy();
    return budget;
  }

  /**
   * Outputs of events up to `applied` were said long ago, and what they issued may have been answered since. Only a child that was asked
   * for and abandoned in the same breath is nowhere else to be found.
   */
  #forgetSaid(): void {
    const { interp } = this;
    if (interp.issued.length > 0) interp.issued = this.#fed > this.#said ? interp.issued.filter((each) => each.abandoned) : [];
    if (this.#fed <= this.#said && interp.outputs.length > 0) interp.outputs = [];
  }

  /** All old events are fed: what is pending now is what the run wants. */
  #arrive(): void {
    const { interp } = this;
    this.#journal = [];
    this.arrived = true;
    const abandoned = interp.issued;
    interp.issued = [];
    interp.withdrawn = [];
    this.#cancelling = interp.root.cancel !== undefined;
    if (interp.started.deadline !== undefined && !this.#cancelling) this.#timers.set(interp.started.deadline, DEADLINE);
    this.#want([...interp.pending.values(), ...abandoned]);
    this.#hear();
    if (interp.outcome !== undefined) this.#close(); // the closing event itself was lost with its worker
  }

  // ---- a turn --------------------------------------------------------------------------------------------------------------

  /** Feed what has come in, until nothing more has or the turn is long enough. */
  turn(now: number): void {
    if (this.#terminated) return;
    if (!this.interp.settled && !this.#goOn()) {
      this.#terminateBusy();
      return;
    }
    for (let streak = 1; this.#fresh.length < TURN_LIMIT && !this.over && this.interp.settled; streak++) {
      if (this.answers.length > 0 && streak % HEED) this.#takeAnswer(this.answers.shift() as Answer, now);
      else if (this.#timers.next() <= Math.min(now, this.mail[0]?.at || now)) this.#time(now);
      else if (this.mail.length > 0) this.#takeMessage(this.mail.shift() as Message, now);
      else if (this.answers.length === 0) break;
    }
  }

  /** Let code that gives itself answers, such as a long loop over `random()`, go on for a while; whether it has settled. */
  #goOn(): boolean {
    const settled = this.interp.advance(ANSWER_BUDGET);
    this.#gatherIn();
    return settled;
  }

  /** Code that never rests hears no message; it can be ended from outside all the same. */
  #terminateBusy(): void {
    const place = this.mail.findIndex((message) => message.kind === "terminate");
    const [message] = place < 0 ? [] : this.mail.splice(place, 1);
    if (message !== undefined) this.#takeMessage(message, message.at);
  }

  /** Whether the run has ended, as far as this turn knows. */
  get over(): boolean {
    return this.interp.outcome !== undefined || this.#terminated;
  }

  #takeAnswer(answer: Answer, now: number): void {
    const command = this.interp.pending.get(answer.command);
    if (command === undefined) return; // withdrawn meanwhile
    this.#retries.delete(answer.command);
    this.#feed(answer.kind, command, answer.payload, now, answer.attempt, answer.duration);
    if (answer.kind === "step_attempt_failed") this.#retryLater(command);
  }

  /** The next attempt follows when the pause that the failed one recorded is over. */
  #retryLater(command: Command): void {
    const { retry_in: pause = 0 } = fromBytes(command.failure ?? bytesOf("{}")) as { retry_in?: number };
    this.#retries.add(command.id);
    this.#timers.set(command.failedAt + micros(pause), command.id);
  }

  /** Its end is awaited by a cancellation, and no other attempt will follow. */
  #giveUp(command: Command): void {
    this.answers.push({ command: command.id, kind: "step_failed", payload: command.failure ?? EMPTY, attempt: command.attempts });
  }

  #takeMessage(message: Message, now: number): void {
    this.#consumed.push(message.id);
    const { interp } = this;
    const { name, payload } = message;
    const reason = () => (fromBytes(payload) as { reason?: string } | null)?.reason;
    switch (message.kind) {
      case "signal": {
        const refused = interp.refusesSignal(name, payload);
        if (refused) this.#note(`signal '${name}' was refused: ${refused}`);
        else this.#feedOther("signal_received", name, payload, now);
        return;
      }
      case "update": {
        const refused = interp.refusesUpdate(name, payload);
        if (refused) this.#topics.push({ topic: REPLY + message.id, payload: toBytes({ refused }) });
        else this.#feedOther("update_received", name, toBytes({ id: message.id, value: fromBytes(payload) }), now);
        return;
      }
      case "cancel":
        this.#cancel("cancel", payload, now);
        return;
      case "terminate":
        this.#terminate(reason() ?? "terminated", now);
        return;
      case "pause":
        this.paused = true;
        this.acting = this.acting.filter((command) => this.intents.has(command.id)); // those count as begun
        return;
      case "resume":
        if (!this.paused) return;
        this.paused = false;
        this.#want([...interp.pending.values()].filter((command) => !this.tasks.has(command.id)));
        return;
      case "answer":
        if (interp.expects(message.command, name)) this.#takeAnswer({ command: message.command, kind: name, payload }, now);
        else this.#note(`an answer (${name}) came for command ${message.command}, which the code does not ask for`);
        return;
      default:
        this.#note(`a message of unknown kind ${message.kind} was passed over`);
    }
  }

  #cancel(name: string, payload: Uint8Array, now: number): void {
    if (this.#cancelling) return;
    this.#cancelling = true;
    this.#feedOther("cancel_requested", name, payload, now);
  }

  #terminate(reason: string, now: number): void {
    const payload = toBytes({ type: "Terminated", message: reason, attempts: 1, traceback: "" });
    this.#fresh.push(this.#event("failed", "", TERMINATED, payload, now));
    this.#terminated = true;
    for (const command of this.interp.pending.values()) {
      const effect = command.effect; // none of its code runs, so nobody else would tell them
      const child = effect.kind === "child" && (effect.how.onParentClose ?? "cancel") === "cancel";
      if (child || (effect.kind === "step" && this.#isRemote(effect))) this.#callOff(command, "was terminated");
    }
  }

  /** The earliest timer, retry or deadline is due. */
  #time(now: number): void {
    const id = this.#timers.due(now) as string;
    if (id === DEADLINE) {
      this.#cancel("deadline", toBytes({ reason: "the deadline has passed" }), now);
      return;
    }
    const command = this.interp.pending.get(id);
    if (command === undefined) return;
    if (command.due !== undefined) this.#feed("timer_fired", command, EMPTY, now);
    else if (this.#retries.delete(id) && !this.paused) this.acting.push(command);
  }

  /** Note that an at-most-once step is about to begin. */
  beginStep(command: Command, now: number): void {
    this.intents.add(command.id);
    this.#feed("step_intent", command, EMPTY, now);
  }

  #event(kind: string, command: string, name: string, payload: Uint8Array, now: number): Event {
    const at = Math.max(now, this.interp.clock);
    const worker = this.lease.worker;
    return { seq: this.interp.seq + 1, kind, command, name, at, payload, check: 0, attempt: 0, duration: 0, line: "", worker };
  }

  /** Make the event that answers a command, feed it, and collect what it led to. */
  #feed(kind: string, command: Command, payload: Uint8Array, now: number, attempt = 0, duration = 0): void {
    const { id, effect } = command;
    const line = this.#lines.get(id) ?? "";
    this.#lines.delete(id);
    this.#take({ ...this.#event(kind, id, effect.name, payload, now), check: effect.check, attempt, duration, line });
  }

  #feedOther(kind: string, name: string, payload: Uint8Array, now: number): void {
    this.#take(this.#event(kind, "", name, payload, now));
  }

  #take(event: Event): void {
    this.interp.feed(event, ANSWER_BUDGET);
    this.#fresh.push(event);
    if (event.kind === "savepoint" && readResume(event.payload) !== undefined) this.#base = event.seq;
    this.#gatherIn();
  }

  /** Take what the interpreter said, and after which event. */
  #hear(): void {
    const { interp } = this;
    if (interp.outputs.length === 0) return;
    for (const [id, output] of interp.outputs) this.#outputs.push([id, output, interp.seq]);
    interp.outputs = [];
  }

  /** Collect what the interpreter said, withdrew and asked for. */
  #gatherIn(): void {
    const { interp } = this;
    this.#hear();
    if (interp.withdrawn.length > 0) this.#withdraw();
    if (interp.issued.length > 0) {
      const issued = interp.issued;
      interp.issued = [];
      this.#want(issued.filter((command) => interp.pending.has(command.id) || command.abandoned));
    }
    if (interp.outcome !== undefined) this.#close();
  }

  /** Sort commands by who answers them: a savepoint at once, a child by being created, a step by acting, a timer by time. */
  #want(commands: readonly Command[]): void {
    const lines = new Map<Fiber | undefined, string>(); // many branches may stand at one line
    for (const command of commands) {
      const { id, effect } = command;
      if (effect.kind === "savepoint") {
        this.answers.push({ command: id, kind: "savepoint", payload: bytesOf(savepointText(this.interp, command.fiber, effect)) });
      } else if (effect.kind === "step" && command.attempts > 0) {
        if (command.cancelled) this.#giveUp(command);
        else this.#retryLater(command);
      } else if (!this.paused) {
        this.#begin(command);
      }
      if (command.due !== undefined) this.#timers.set(command.due, id);
      if (effect.kind === "sleep" || effect.kind === "signal") continue;
      const writer = writerOf(command.fiber);
      if (!lines.has(writer)) lines.set(writer, lineOf(writer));
      this.#lines.set(id, lines.get(writer) ?? "");
    }
  }

  /** Something new that a paused run leaves alone: a child, a step elsewhere, a step here. */
  #begin(command: Command): void {
    const { effect } = command;
    if (effect.kind === "child") this.#children.push(this.#child(command, effect));
    else if (effect.kind === "step" && this.#isRemote(effect)) this.#children.push(this.#stepRun(command, effect));
    else if (effect.kind === "step") this.acting.push(command);
  }

  #isRemote(effect: Step<unknown>): boolean {
    return effect.how.queue !== undefined && effect.how.queue !== this.run.queue;
  }

  /** Children and remote steps get a message; what runs here is stopped after the commit. */
  #withdraw(): void {
    const gone = new Set<string>();
    for (const command of this.interp.withdrawn) {
      const { id, effect } = command;
      const waited = this.#retries.delete(id);
      this.#lines.delete(id);
      if (!command.cancelled) gone.add(id);
      if (effect.kind === "child" || (effect.kind === "step" && this.#isRemote(effect))) this.#callOff(command, "no longer waits for it");
      else if (command.cancelled && waited) this.#giveUp(command);
      else this.withdrawn.push(command);
    }
    this.interp.withdrawn = [];
    this.acting = this.acting.filter((command) => !gone.has(command.id));
  }

  /** Ask a child, or a step elsewhere, to stop. */
  #callOff(command: Command, why: string): void {
    const target = childId(this.interp, command.id, command.effect as Call<unknown> | Step<unknown>);
    const payload = toBytes({ reason: `its parent ${this.key.id} ${why}` });
    this.#posts.push(message(`${target}:cancel`, { ...this.key, id: target }, "cancel", "cancel", payload));
  }

  /** The workflow has ended: its closing event says how. */
  #close(): void {
    const { interp } = this;
    if (interp.outcome === undefined || CLOSING.has(this.#fresh.at(-1)?.kind ?? "")) return;
    let [kind, name, payload]: [string, string, Uint8Array] = [
      interp.outcome.kind,
      interp.started.workflow,
      bytesOf(interp.outcome.payload),
    ];
    if (kind === "completed" && payload.length > this.maxPayload) {
      const tooLarge = new PayloadTooLarge(`result of workflow ${name}`, payload.length, this.maxPayload);
      [kind, name, payload] = ["failed", TERMINATED, bytesOf(failureText(failureOf(tooLarge)))];
    }
    const event = this.#event(kind, "", name, payload, interp.clock);
    interp.feed(event);
    this.#fresh.push(event);
  }

  #note(text: string): void {
    this.#topics.push({ topic: NOTES + this.key.id, payload: toBytes({ text, fields: {} }) });
  }

  // ---- runs that this one asks for -------------------------------------------------------------------------------------------

  #child(command: Command, call: Call<unknown>): NewRun {
    const { how, spec } = call;
    const { started } = this.interp;
    const own = how.deadline === undefined ? Infinity : command.issuedAt + micros(how.deadline);
    const deadline = Math.min(own, started.deadline ?? Infinity);
    return this.#childRun(command, call, {
      workflow: call.name,
      version: spec.version,
      patches: [...spec.patches].sort(),
      deadline: deadline === Infinity ? undefined : deadline,
      tags: { ...how.tags },
    }, how.priority ?? 0, how.delay ? command.issuedAt + micros(how.delay) : 0);
  }

  #stepRun(command: Command, step: Step<unknown>): NewRun {
    const begin = { workflow: STEP_RUN + step.name, patches: [], deadline: this.interp.started.deadline, step: askedOtherwise(step) };
    return this.#childRun(command, step, begin, this.run.priority, 0);
  }

  #childRun(
    command: Command,
    asked: Call<unknown> | Step<unknown>,
    begin: Omit<Begin, "input">,
    priority: number,
    readyAt: number,
  ): NewRun {
    const seed = childId(this.interp, command.id, asked);
    const { namespace, id: parent } = this.key;
    const whole = { ...begin, input: asked.payload, seed, namespace, parent, parentCommand: command.id };
    const how = { queue: asked.how.queue ?? this.run.queue, fairnessKey: asked.how.key ?? this.run.fairnessKey, priority, readyAt };
    return newRun({ namespace, id: seed }, whole, command.issuedAt, how);
  }

  /** An answer in the place of a child whose id belongs to another run. */
  refusal(child: NewRun, problem: RunExists): Message {
    const isStep = child.workflow.startsWith(STEP_RUN);
    const failure = { ...failureOf(problem), traceback: "", args: isStep ? undefined : [child.key.id, "failed"] };
    const id = `${position(this.interp, child.parentCommand, ".")}:taken`;
    const kind = isStep ? "step_failed" : "child_failed";
    return message(id, this.key, "answer", kind, bytesOf(failureText(failure)), child.parentCommand);
  }

  // ---- the commit ------------------------------------------------------------------------------------------------------------

  /** When its next timer, retry or deadline is due, microseconds, or undefined. */
  get wakeAt(): number | undefined {
    const moment = this.#timers.next();
    return moment === Infinity ? undefined : moment;
  }

  /** Whether nothing is under way for it in this process. */
  get idle(): boolean {
    return this.interp.settled && !(this.tasks.size || this.answers.length || this.mail.length || this.acting.length);
  }

  /** Whether there is anything to commit. */
  get unsaid(): boolean {
    const parts = [this.#fresh, this.#outputs, this.#consumed, this.#posts, this.#children, this.#topics];
    return this.interp.settled && parts.some((part) => part.length > 0);
  }

  /** All of this turn, as one commit; afterwards the turn is empty. */
  commit(release: boolean): Commit {
    const { state, tags } = this.#sayOutputs();
    Object.assign(this.#state, state);
    this.#tags = Object.fromEntries(Object.entries({ ...this.#tags, ...tags }).filter(([, word]) => word !== ""));
    const last = this.#fresh.at(-1);
    const closing = last !== undefined && CLOSING.has(last.kind) ? last : undefined;
    let status = this.paused ? "paused" : release ? "waiting" : "running";
    let successor: NewRun | undefined;
    if (closing !== undefined) {
      status = this.#terminated ? TERMINATED : closing.kind;
      successor = this.#successor(closing);
      if (successor === undefined) this.#tellParent(closing, status);
    }
    const made: Commit = {
      lease: this.lease,
      expected: this.committed,
      events: this.#fresh,
      status,
      wakeAt: closing !== undefined || this.paused ? undefined : this.wakeAt,
      applied: this.committed + this.#fresh.length,
      base: this.#base,
      consumed: this.#consumed,
      posts: this.#posts,
      children: this.#children,
      topics: this.#topics,
      state,
      tags,
      result: closing?.payload,
      release: release || closing !== undefined,
      successor,
      note: "",
    };
    [this.#fresh, this.#outputs, this.#consumed, this.#posts, this.#children, this.#topics] = [[], [], [], [], [], []];
    this.#base = 0;
    return made;
  }

  #sayOutputs(): { state: Record<string, Uint8Array>; tags: Record<string, string> } {
    const state: Record<string, Uint8Array> = {};
    const tags: Record<string, string> = {};
    const chain = this.interp.started.chain || undefined;
    for (const [id, { name, target, label, payload }, seq] of this.#outputs) {
      if (name === "send_signal") {
        const key = { ...this.key, id: target };
        this.#posts.push(message(position(this.interp, id, ":"), key, "signal", label, bytesOf(payload)));
      } else if (name === "publish") {
        this.#topics.push({ topic: target, payload: bytesOf(payload) });
      } else if (name === "set_state") {
        state[target] = bytesOf(payload);
      } else if (name === "set_tags") {
        Object.assign(tags, fromText(payload));
      } else if (name === "reply") {
        this.#topics.push({ topic: REPLY + target, payload: bytesOf(`{"${label}":${payload || "null"}}`) });
      } else {
        const said = { text: label, level: target || "info", fields: fromText(payload), seq, chain };
        this.#topics.push({ topic: (name === "log" ? LOG : NOTES) + this.key.id, payload: toBytes(said) });
      }
    }
    return { state, tags };
  }

  #tellParent(closing: Event, status: string): void {
    const { started } = this.interp;
    if (!started.parent) return;
    const isStep = started.workflow.startsWith(STEP_RUN);
    const done = closing.kind === "completed";
    const kind = `${isStep ? "step" : "child"}_${done ? "completed" : "failed"}`;
    const payload = done ? closing.payload : this.#failureForParent(closing, status, isStep);
    const key = { ...this.key, id: started.parent };
    this.#posts.push(message(`${this.key.id}:answer`, key, "answer", kind, payload, started.parentCommand));
  }

  #failureForParent(closing: Event, status: string, isStep: boolean): Uint8Array {
    const failed = isStep ? this.#fresh.findLast((event) => event.kind === "step_failed") : undefined;
    if (failed !== undefined) return failed.payload;
    const data = fromBytes(closing.payload) as Record<string, Json>;
    const { traceback } = readFailure(data);
    return toBytes({
      type: data["type"] ?? "Cancelled",
      message: data["message"] ?? data["reason"] ?? "",
      attempts: 1,
      traceback,
      args: isStep ? undefined : [this.key.id, status],
    });
  }

  /**
   * The run that takes over the id: the next journal of `continueAsNew`, or the next attempt of a failed run. The first goes on, so it keeps
   * the state and tags that were set; the second begins again, with those that it was begun with.
   */
  #successor(closing: Event): NewRun | undefined {
    const { interp } = this;
    const { started, spec } = { started: interp.started, spec: interp.spec };
    const chain = started.chain + 1;
    const goesOn = closing.kind === "continued";
    const { namespace, parent, parentCommand, deadline } = started;
    const tags = goesOn ? this.#tags : started.tags;
    const common = { namespace, parent, parentCommand, tags, deadline, chain, seed: `${this.key.id}~${chain}` };
    let begin: Begin;
    let readyAt = 0;
    const next = interp.outcome?.call;
    if (goesOn && next !== undefined) {
      const { version, patches } = next.spec;
      begin = { ...common, workflow: next.name, version, input: next.payload, patches: [...patches].sort(), mail: interp.unread() };
    } else {
      const error = interp.error?.error;
      const { retry } = spec;
      if (closing.kind !== "failed" || this.#terminated || !retry || interp.error === undefined) return undefined;
      if (error instanceof NonDeterminismError || !allows(retry, error, started.attempt)) return undefined;
      readyAt = closing.at + micros(delay(retry, started.attempt, interp.chance.random("retry")));
      const { workflow, version, input } = started;
      begin = { ...common, workflow, version, input, patches: [...spec.patches].sort(), attempt: started.attempt + 1 };
    }
    const { queue, priority, fairnessKey, digest: same } = this.run;
    const made = newRun(this.key, begin, closing.at, { queue, priority, fairnessKey, readyAt });
    return { ...made, digest: same, state: goesOn ? this.#state : {} }; // to start it again is still to start the same
  }
}

/** What a call's options change of how its step is declared, for whoever does it elsewhere. */
function askedOtherwise({ how, spec }: Step<unknown>): Json | undefined {
  const asked: Record<string, Json> = {};
  const [retry, declared] = [spelt(how.retry ?? ONCE), spelt(spec.defaults.retry ?? ONCE)];
  if (toText(retry) !== toText(declared)) asked["retry"] = retry;
  if (how.timeout !== spec.defaults.timeout) asked["timeout"] = how.timeout ?? null;
  return Object.keys(asked).length > 0 ? asked : undefined;
}

/** A run that begins with one event. */
export function newRun(
  key: RunKey,
  begin: Begin,
  at: number,
  how: { queue?: string; priority?: number; readyAt?: number; fairnessKey?: string } = {},
): NewRun {
  const { workflow, input } = begin;
  const event = { seq: 1, kind: "started", command: "", name: workflow, at, payload: bytesOf(startedText(begin)) };
  return {
    key,
    workflow,
    version: begin.version ?? "",
    queue: how.queue ?? "default",
    digest: digestOf(workflow, input),
    events: [{ ...event, check: 0, attempt: 0, duration: 0, line: "", worker: "" }],
    priority: how.priority ?? 0,
    readyAt: how.readyAt ?? 0,
    fairnessKey: how.fairnessKey ?? "",
    parent: begin.parent ?? "",
    parentCommand: begin.parentCommand ?? "",
    tags: { ...begin.tags },
    state: {},
    status: "pending",
    base: 0,
    applied: 0,
    result: EMPTY,
    source: "",
  };
}

/** What tells two starts of one id apart. */
export function digestOf(workflow: string, input: string): string {
  return createHash("sha256").update(`${workflow}\n${input}`).digest("hex").slice(0, 16);
}

export function message(id: string, key: RunKey, kind: string, name: string, payload: Uint8Array, command = ""): Message {
  return { id, key, kind, name, payload, command, at: 0 };
}
