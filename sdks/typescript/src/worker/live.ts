/**
 * One run in memory: what it has been told, what it wants, and the commit that makes a turn durable.
 *
 * Rule 1: a turn feeds first. Answers, messages and timers become events, the interpreter takes them at once, and all that they led to is
 * collected; nothing of it is done before the commit that this module builds has been applied.
 * Rule 2: no I/O. A `Live` takes facts and a moment, and returns a commit and a list of commands to act on.
 * Rule 3: what an interpreter says while it is driven over old events has been said: only outputs of events after `applied` count.
 */

import { bytesOf, fromBytes, fromText, textOf, toBytes, toText, type Json } from "../codec/json.js";
import { PayloadTooLarge, RunExists } from "../errors.js";
import { lineOf, writerOf } from "../interpreter/determinism.js";
import type { Command, Fiber } from "../interpreter/fibers.js";
import { Interpreter } from "../interpreter/interpreter.js";
import { childId, position, savepointText } from "../interpreter/issue.js";
import type { Call, Output, Step, WorkflowSpec } from "../model/effects.js";
import { failureOf } from "../model/failure.js";
import { readResume } from "../model/journal.js";
import { CLOSING, EMPTY, LOG, LOST, NOTES, PROGRESS, REPLY, SECOND, STEP_RUN, TERMINATED, blank, micros, takesOn } from "../model/records.js";
import type { Commit, Event, Lease, Message, NewRun, Run, RunKey } from "../model/records.js";
import { Alarms } from "./alarms.js";
import { answerTo, message, runFor, successorOf } from "./family.js";
import type { Attempt } from "./steps.js";

/** Events that one commit of one run holds at most; the rest follows in the next. */
const TURN_LIMIT = 2_000;
/** After so many answers in a row a run hears a timer or a message: one that answers itself for ever can be cancelled. */
const HEED = 100;
/** Immediate answers that a workflow gives itself before other runs have their turn. */
const ANSWER_BUDGET = 20_000;
/** Steps that a run in doubt names at most. */
const SHOWN = 5;
/** The name of a deadline among the timers of commands. */
const DEADLINE = "";

/** What the world told about a command, not yet an event. */
export interface Answer {
  readonly command: string;
  readonly kind: string;
  readonly payload: Uint8Array;
  readonly attempt?: number;
  readonly duration?: number;
}

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
  /** What steps have told of how far they have come, as texts by command, and when that is to be saved, microseconds. */
  readonly progress: Map<string, string>;
  saveAt = Infinity;
  #savedAt = 0;
  /** Whether it is in doubt and waits for its turn, how many workers it will have cost if this one dies now, and what it is about to do. */
  inLine = false;
  lost = 0;
  doing = "";
  /** Whether it has rested long enough and its next commit gives the lease back. */
  parking = false;
  readonly #said: number;
  #journal: readonly Event[];
  #fed = 0;
  /** Moments of timers, of further attempts, and of the deadline. */
  readonly #timers = new Alarms<string>((id) => id === DEADLINE || this.interp.pending.has(id));
  readonly #lines = new Map<string, string>();
  #cancelling = false;
  #terminated = false;
  /** What the next commit holds so far. */
  #turn = blank();
  #outputs: [id: string, output: Output, seq: number][] = [];
  /** What it shows, and the words that it is found by. */
  readonly #state: Record<string, Uint8Array>;
  readonly #tags: Record<string, string>;

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
    this.#tags = { ...run.tags };
    const told = PROGRESS in run.state ? (fromBytes(run.state[PROGRESS] as Uint8Array) as Record<string, Json>) : {};
    this.progress = new Map(Object.entries(told).map(([command, progress]) => [command, toText(progress)]));
    this.deliver(mail);
  }

  // ---- what comes in -------------------------------------------------------------------------------------------------------

  /** Take in messages; those seen before are passed over. */
  deliver(mail: readonly Message[]): boolean {
    const fresh = mail.filter((each) => !this.known.has(each.id));
    for (const each of fresh) this.known.add(each.id);
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
    for (; interp.settled && budget > 0 && this.#fed < journal.length; budget--) {
      interp.feed(journal[this.#fed++] as Event, ANSWER_BUDGET);
      this.#forgetSaid();
      this.#hear();
    }
    if (this.#fed === journal.length) {
      if (interp.settled) this.#arrive();
      else this.#terminateBusy();
    }
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
    const abandoned = interp.issued;
    interp.issued = [];
    interp.withdrawn = [];
    this.#journal = [];
    this.arrived = true;
    this.#cancelling = interp.root.cancel !== undefined;
    if (interp.started.deadline !== undefined && !this.#cancelling) this.#timers.set(interp.started.deadline, DEADLINE);
    this.#want([...interp.pending.values(), ...abandoned]);
    this.#gatherIn(); // the closing event itself may have been lost with its worker
  }

  // ---- a turn --------------------------------------------------------------------------------------------------------------

  /** Feed what has come in, until nothing more has or the turn is long enough. */
  turn(now: number): void {
    if (this.#terminated) return;
    if (!this.interp.settled) {
      const settled = this.interp.advance(ANSWER_BUDGET);
      this.#gatherIn();
      if (!settled) return this.#terminateBusy();
    }
    for (let streak = 1; this.#turn.events.length < TURN_LIMIT && !this.over && this.interp.settled; streak++) {
      if (this.answers.length > 0 && streak % HEED) this.#takeAnswer(this.answers.shift() as Answer, now);
      else if (this.#timers.next() <= Math.min(now, this.mail[0]?.at || now)) this.#time(now);
      else if (this.mail.length > 0) this.#takeMessage(this.mail.shift() as Message, now);
      else if (this.answers.length === 0) break;
    }
  }

  /** Code that never rests, such as a long loop over `random()`, hears no message; it can be ended from outside all the same. */
  #terminateBusy(): void {
    const place = this.mail.findIndex((each) => each.kind === "terminate");
    const [found] = place < 0 ? [] : this.mail.splice(place, 1);
    if (found !== undefined) this.#takeMessage(found, found.at);
  }

  /** Whether the run has ended, as far as this turn knows. */
  get over(): boolean {
    return this.interp.outcome !== undefined || this.#terminated;
  }

  /** A step has told how far it has come; whether the worker should look at this run for it. */
  takeProgress(command: string, text: string, now: number): boolean {
    const first = this.saveAt === Infinity;
    this.progress.set(command, text);
    if (first) this.saveAt = Math.max(now, this.#savedAt + SECOND);
    return first;
  }

  #takeAnswer(answer: Answer, now: number): void {
    const command = this.interp.pending.get(answer.command);
    if (command === undefined) return; // withdrawn meanwhile
    this.#timers.drop(answer.command);
    if (answer.kind !== "step_attempt_failed" && this.progress.delete(answer.command)) this.saveAt = now;
    this.#answer(answer.kind, command, answer.payload, now, answer);
    if (answer.kind === "step_attempt_failed") this.#retryLater(command);
  }

  /** The next attempt follows when the pause that the failed one recorded is over. */
  #retryLater(command: Command): void {
    const { retry_in: pause = 0 } = fromBytes(command.failure ?? bytesOf("{}")) as { retry_in?: number };
    this.#timers.set(command.failedAt + micros(pause), command.id);
  }

  /** Its end is awaited by a cancellation, and no other attempt will follow. */
  #giveUp(command: Command): void {
    this.answers.push({ command: command.id, kind: "step_failed", payload: command.failure ?? EMPTY, attempt: command.attempts });
  }

  #takeMessage({ id, kind, name, payload, command }: Message, now: number): void {
    this.#turn.consumed.push(id);
    const { interp } = this;
    switch (kind) {
      case "signal": {
        const refused = interp.refusesSignal(name, payload);
        if (refused) this.#note(`signal '${name}' was refused: ${refused}`);
        else this.#take(this.#event("signal_received", "", name, payload, now));
        return;
      }
      case "update": {
        const refused = interp.refusesUpdate(name, payload);
        if (refused) this.#turn.topics.push({ topic: REPLY + id, payload: toBytes({ refused }) });
        else this.#take(this.#event("update_received", "", name, toBytes({ id, value: fromBytes(payload) }), now));
        return;
      }
      case "query":
        this.#reply(id, interp.query(name, textOf(payload)));
        return;
      case "cancel":
        return this.#cancel("cancel", payload, now);
      case "terminate":
        return this.#terminate((fromBytes(payload) as { reason?: string } | null)?.reason ?? "terminated", now);
      case "pause":
        this.paused = true;
        this.acting = this.acting.filter((each) => this.intents.has(each.id)); // those count as begun
        return;
      case "resume":
        if (!this.paused) return;
        this.paused = false;
        return this.#want([...interp.pending.values()].filter((each) => !this.tasks.has(each.id)));
      case "answer":
        if (interp.expects(command, name)) this.#takeAnswer({ command, kind: name, payload }, now);
        else this.#note(`an answer (${name}) came for command ${command}, which the code does not ask for`);
        return;
      default:
        this.#note(`a message of unknown kind ${kind} was passed over`);
    }
  }

  #cancel(name: string, payload: Uint8Array, now: number): void {
    if (this.#cancelling) return;
    this.#cancelling = true;
    this.#take(this.#event("cancel_requested", "", name, payload, now));
  }

  #terminate(reason: string, now: number): void {
    const payload = toBytes({ type: "Terminated", message: reason, attempts: 1, traceback: "" });
    this.#turn.events.push(this.#event("failed", "", TERMINATED, payload, now));
    this.#terminated = true;
    for (const command of this.interp.pending.values()) {
      const { effect } = command; // none of its code runs, so nobody else would tell them
      const child = effect.kind === "child" && (effect.how.onParentClose ?? "cancel") === "cancel";
      if (child || this.#isRemote(command)) this.#callOff(command, "was terminated");
    }
  }

  /** The earliest timer, retry or deadline is due. */
  #time(now: number): void {
    const id = this.#timers.due(now) as string;
    if (id === DEADLINE) return this.#cancel("deadline", toBytes({ reason: "the deadline has passed" }), now);
    const command = this.interp.pending.get(id);
    if (command?.due !== undefined) this.#answer("timer_fired", command, EMPTY, now);
    else if (command !== undefined && !this.paused) this.acting.push(command);
  }

  /** Note that an at-most-once step is about to begin. */
  beginStep(command: Command, now: number): void {
    this.intents.add(command.id);
    this.#answer("step_intent", command, EMPTY, now);
  }

  #event(kind: string, command: string, name: string, payload: Uint8Array, now: number, told: Partial<Event> = {}): Event {
    const at = Math.max(now, this.interp.clock);
    const { check = 0, attempt = 0, duration = 0, line = "" } = told;
    return { seq: this.interp.seq + 1, kind, command, name, at, payload, check, attempt, duration, line, worker: this.lease.worker };
  }

  /** Make the event that answers a command, feed it, and collect what it led to. */
  #answer(kind: string, { id, effect }: Command, payload: Uint8Array, now: number, { attempt = 0, duration = 0 }: Partial<Answer> = {}): void {
    const line = this.#lines.get(id) ?? "";
    this.#lines.delete(id);
    this.#take(this.#event(kind, id, effect.name, payload, now, { check: effect.check, attempt, duration, line }));
  }

  #take(event: Event): void {
    this.interp.feed(event, ANSWER_BUDGET);
    this.#turn.events.push(event);
    if (event.kind === "savepoint" && readResume(event.payload) !== undefined) this.#turn.base = event.seq;
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
      } else if ((effect.kind === "step" || effect.kind === "child") && !this.paused) {
        if (effect.kind === "step" && !this.#isRemote(command)) this.acting.push(command);
        else this.#turn.children.push(runFor(command, effect, this.interp, this.run));
      }
      if (command.due !== undefined) this.#timers.set(command.due, id);
      if (effect.kind === "sleep" || effect.kind === "signal") continue;
      const writer = writerOf(command.fiber);
      if (!lines.has(writer)) lines.set(writer, lineOf(writer));
      this.#lines.set(id, lines.get(writer) ?? "");
    }
  }

  #isRemote({ effect }: Command): boolean {
    return effect.kind === "step" && effect.how.queue !== undefined && effect.how.queue !== this.run.queue;
  }

  /** Children and remote steps get a message; what runs here is stopped after the commit. */
  #withdraw(): void {
    const gone = new Set<string>();
    for (const command of this.interp.withdrawn) {
      const waited = this.#timers.drop(command.id);
      this.#lines.delete(command.id);
      this.progress.delete(command.id);
      if (!command.cancelled) gone.add(command.id);
      if (command.effect.kind === "child" || this.#isRemote(command)) this.#callOff(command, "no longer waits for it");
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
    this.#turn.posts.push(message(`${target}:cancel`, { ...this.key, id: target }, "cancel", "cancel", payload));
  }

  /** The workflow has ended: its closing event says how. */
  #close(): void {
    const { outcome, started, clock } = this.interp;
    if (outcome === undefined || CLOSING.has(this.#turn.events.at(-1)?.kind ?? "")) return;
    let closing = this.#event(outcome.kind, "", started.workflow, bytesOf(outcome.payload), clock);
    if (closing.kind === "completed" && closing.payload.length > this.maxPayload) {
      const tooLarge = new PayloadTooLarge(`result of workflow ${closing.name}`, closing.payload.length, this.maxPayload);
      closing = { ...closing, kind: "failed", name: TERMINATED, payload: toBytes(failureOf(tooLarge)) };
    }
    this.interp.feed(closing);
    this.#turn.events.push(closing);
  }

  /** Reply to an update or a query; what is too large for a journal is too large for whoever asked. */
  #reply(id: string, said: string): void {
    let payload = bytesOf(said);
    if (payload.length > this.maxPayload) payload = toBytes({ error: failureOf(new PayloadTooLarge("a reply", payload.length, this.maxPayload)) });
    this.#turn.topics.push({ topic: REPLY + id, payload });
  }

  #note(text: string): void {
    this.#turn.topics.push({ topic: NOTES + this.key.id, payload: toBytes({ text, fields: {} }) });
  }

  /** An answer in the place of a child whose id belongs to another run. */
  refusal(child: NewRun, problem: RunExists): Message {
    const isStep = child.workflow.startsWith(STEP_RUN);
    const failure = { ...failureOf(problem), traceback: "", args: isStep ? undefined : [child.key.id, "failed"] };
    const id = `${position(this.interp, child.parentCommand, ".")}:taken`;
    return message(id, this.key, "answer", isStep ? "step_failed" : "child_failed", toBytes(failure), child.parentCommand);
  }

  // ---- the commit ------------------------------------------------------------------------------------------------------------

  /** When its next timer, retry or deadline is due, microseconds, or Infinity. */
  get wakeAt(): number {
    return this.#timers.next();
  }

  /** Whether nothing is under way for it in this process. */
  get idle(): boolean {
    return this.interp.settled && !(this.tasks.size || this.answers.length || this.mail.length || this.acting.length);
  }

  /** Whether there is anything to commit. */
  isUnsaid(now: number): boolean {
    if (this.saveAt <= now && this.interp.settled) return true;
    const { events, consumed, posts, children, topics } = this.#turn;
    return this.interp.settled && [events, this.#outputs, consumed, posts, children, topics].some((part) => part.length > 0);
  }

  /** All of this turn, as one commit; afterwards the turn is empty. */
  commit(release: boolean): Commit {
    this.#sayOutputs();
    const turn = this.#turn;
    this.#turn = blank();
    Object.assign(this.#state, turn.state);
    for (const [tag, word] of Object.entries(turn.tags)) {
      if (word === "") delete this.#tags[tag];
      else this.#tags[tag] = word;
    }
    if (this.saveAt < Infinity) {
      turn.state[PROGRESS] = bytesOf(`{${[...this.progress].map(([command, text]) => `"${command}":${text}`).join(",")}}`);
      this.#savedAt = this.saveAt;
      this.saveAt = Infinity;
    }
    const closing = turn.events.at(-1);
    const isOver = closing !== undefined && CLOSING.has(closing.kind);
    let status = this.paused ? "paused" : release ? "waiting" : "running";
    let successor: NewRun | undefined;
    if (isOver) {
      status = this.#terminated ? TERMINATED : closing.kind;
      const { started } = this.interp;
      const shown = { state: this.#state, tags: this.#tags };
      successor = this.#terminated ? undefined : successorOf(this.interp, this.run, closing, shown);
      if (successor === undefined && started.parent) {
        const isStep = started.workflow.startsWith(STEP_RUN) && closing.kind !== "completed";
        const failed = isStep ? turn.events.findLast((event) => event.kind === "step_failed") : undefined;
        turn.posts.push(answerTo(started, this.key, closing, status, failed));
      }
    }
    const { events, base, consumed, posts, children, topics, state, tags, note } = turn;
    const wakeAt = isOver || this.paused || this.wakeAt === Infinity ? undefined : this.wakeAt;
    const [expected, applied] = [this.committed, this.committed + events.length];
    const [result, gone] = [isOver ? closing.payload : undefined, release || isOver];
    // one literal, for V8's sake: with a spread in it a step would cost half as much again
    const made: Commit = {
      lease: this.lease, expected, events, status, wakeAt, applied, base, consumed, posts, children, topics, state, tags,
      result, release: gone, successor, note,
    };
    if (this.lost > 0) this.#sayLost(made);
    return made;
  }

  /** A run in doubt tells what it is about to do; one that has moved is in doubt no more. */
  #sayLost(made: Commit): void {
    if (takesOn(made)) this.lost = 0;
    if (this.lost === 0) made.state[LOST] = toBytes([]);
    else if (this.doing) made.state[LOST] = toBytes([this.lost, this.run.recoveries, this.doing]);
  }

  /** Say what it is about to do here, for whoever finds this worker dead. */
  sayDoing(): void {
    const steps = [...this.interp.pending.values()].filter((command) => command.effect.kind === "step" && !this.#isRemote(command));
    const line = (id: string) => (this.#lines.get(id) ? `, ${this.#lines.get(id)}` : "");
    const named = steps.slice(0, SHOWN).map(({ id, effect }) => `step ${effect.name} (command ${id}${line(id)})`);
    if (steps.length > SHOWN) named.push(`${steps.length - SHOWN} more`);
    this.doing = `under way on ${this.lease.worker}: ${named.join(", ")}`;
  }

  #sayOutputs(): void {
    const { posts, topics, state, tags } = this.#turn;
    const chain = this.interp.started.chain || undefined;
    for (const [id, { name, of }, seq] of this.#outputs) {
      const { target, label, payload } = of;
      if (name === "send_signal") {
        posts.push(message(position(this.interp, id, ":"), { ...this.key, id: target }, "signal", label, bytesOf(payload)));
      } else if (name === "publish") {
        topics.push({ topic: target, payload: bytesOf(payload) });
      } else if (name === "set_state") {
        state[target] = bytesOf(payload);
      } else if (name === "set_tags") {
        Object.assign(tags, fromText(payload));
      } else if (name === "reply") {
        this.#reply(target, `{"${label}":${payload || "null"}}`);
      } else {
        const said = { text: label, level: target || "info", fields: fromText(payload), seq, chain };
        topics.push({ topic: (name === "log" ? LOG : NOTES) + this.key.id, payload: bytesOf(toText(said)) });
      }
    }
    this.#outputs = [];
  }
}
