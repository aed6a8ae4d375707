/**
 * The engine of a worker: claims runs, feeds them, commits, and then does what their commands ask.
 *
 * Rule 1: one thing at a time. `pump` lets every run that heard something take a turn, commits all turns in one call (whatever arrived
 * during the last commit is committed together now: group commit without a timer), and only then acts. Claims, renewals and commits never
 * overlap, so no answer of the store is older than what is known here.
 * Rule 2: nothing is kept that the store does not know. A run that only waits is given back and costs a row; a few that may soon go on are
 * kept for `linger` seconds.
 * Rule 3: a store that does not answer leaves the outcome of a commit unknown. The same batch is sent again; what was applied the first
 * time comes back as a conflict, and the journal's last events say whether they are ours. Nothing is guessed.
 * Rule 4: time and hands are given: over the test kit's store and clock the same code runs a month in a moment.
 */

import { bytesOf, fromBytes, toBytes } from "../codec/json.js";
import {
  PayloadError,
  PayloadTooLarge,
  ReplayError,
  RunExists,
  StepInterrupted,
  StoreError,
  StoreRefused,
  StoreUnavailable,
  TimedOut,
} from "../errors.js";
import type { Command } from "../interpreter/fibers.js";
import { position } from "../interpreter/issue.js";
import { Step, type StepOptions, type StepSpec, type WorkflowSpec } from "../model/effects.js";
import { failureOf, failureText, typeOf } from "../model/failure.js";
import {
  LOG,
  SECOND,
  STEP_RUN,
  keyText,
  micros,
  sameBytes,
  type Claimed,
  type Commit,
  type Event,
  type Fate,
  type Lease,
  type NewRun,
} from "../model/records.js";
import { ONCE, allows, delay, type Retry } from "../model/retry.js";
import type { Store } from "../wire/store.js";
import { Alarms } from "./alarms.js";
import { Live, type Answer } from "./live.js";
import type { Logger } from "./logger.js";
import { Attempt, StepInfo, type Done, type Perform } from "./steps.js";

/** Microseconds between two claims at the least: always, when the store says that something changed, and while runs are under way here. */
const [BREATH, IDLE_BREATH, BUSY_BREATH] = [1_000, 5_000, 20_000];
/** While runs are under way, claiming takes one part in so many of the time, however slow the store is. */
const CLAIM_SHARE = 20;
/** Seconds that the store is asked to wait before it says that nothing has changed, and after which it is asked again when it fails. */
const [PATIENCE, DEAF] = [20, 1];
/** Runs taken in one claim at most. */
const CLAIM_LIMIT = 200;
/** Microseconds until a run that is stuck is tried again; fitting code may have been deployed meanwhile. */
const STUCK_PAUSE = 30 * SECOND;
/** Messages after which a run that was set aside is driven again. */
const PUTS_BACK: ReadonlySet<string> = new Set(["resume", "cancel", "terminate"]);
/** Old events fed per pump, so that one long journal does not hold up the others. */
const REPLAY_BUDGET = 5_000;

export interface Settings {
  /** Its name, unique among the workers of the store. */
  readonly name: string;
  readonly namespace: string;
  readonly queues: readonly string[];
  readonly workflows: readonly WorkflowSpec[];
  readonly steps: readonly StepSpec[];
  /** How many runs it holds, and how many attempts of steps are under way, at most. */
  readonly concurrency: number;
  readonly stepConcurrency: number;
  /** Length of a lease, how often to ask the store without being told to, how long a run that only waits is kept; seconds. */
  readonly ttl: number;
  readonly poll: number;
  readonly linger: number;
  /** How many such runs are kept at most. */
  readonly keep: number;
  /** The largest payload allowed in a journal, bytes. */
  readonly maxPayload: number;
  /** How many workers in a row a run may lose before it is set aside. */
  readonly maxRecoveries: number;
  readonly logger: Logger;
  /** Spreads retries; a number from 0 to 1. */
  readonly chance: () => number;
  readonly perform: Perform;
  /** Waits between tries when the store does not answer, seconds. */
  readonly pause: (seconds: number) => Promise<void>;
}

export class Engine {
  /** Runs in memory, those that heard something, and those that rest, until a moment. */
  readonly live = new Map<string, Live>();
  #touched = new Map<string, Live>();
  readonly #resting = new Map<string, number>();
  /** Runs with steps that wait for room. */
  readonly #todo: Live[] = [];
  readonly #attempts = new Set<Attempt>();
  readonly #alarms = new Alarms<Live | Attempt>();
  readonly #specs = new Map<string, Map<string, WorkflowSpec>>();
  readonly #steps: ReadonlyMap<string, StepSpec>;
  readonly #names: string[];
  readonly #ttl: number;
  #claimAt = 0;
  #claimedAt = 0;
  #breath = BUSY_BREATH;
  #hungry = false;
  #renewAt = 0;
  #latest = 0;
  #failures = 0;
  #stopUntil: number | undefined;
  #leaveAt = Infinity;
  #wake: (() => void) | undefined;
  /** What the store has said of changes, and whether it is asked to tell of more. */
  #seen = 0;
  #listening = false;
  readonly #leaving = new AbortController();
  /** Whether everything has been given back. */
  stopped = false;

  constructor(
    readonly store: Store,
    readonly settings: Settings,
  ) {
    for (const spec of settings.workflows) {
      const versions = this.#specs.get(spec.name) ?? new Map<string, WorkflowSpec>();
      this.#specs.set(spec.name, versions.set(spec.version, spec));
    }
    this.#steps = new Map(settings.steps.map((spec) => [STEP_RUN + spec.name, spec]));
    this.#names = [...this.#specs.keys(), ...this.#steps.keys()].sort();
    this.#ttl = micros(settings.ttl);
  }

  // ---- the pump ------------------------------------------------------------------------------------------------------------

  /** One round: take what is due, turn, commit, act. Whether anything happened. */
  async pump(): Promise<boolean> {
    const now = this.store.now();
    if (this.#latest - now > SECOND) this.#clockWentBack(now);
    this.#latest = now;
    let busy = this.#ring(now);
    if (now >= this.#renewAt) await this.#renew(now); // first: what has merely ended is still ours until someone claims it
    if (now >= this.#claimAt && this.#stopUntil === undefined) busy = (await this.#claim(now)) || busy;
    while (this.#touched.size > 0) {
      busy = true;
      const committed = await this.#round(this.store.now());
      await this.#fill();
      if (!this.#listening) this.woken(); // nobody would tell
      if (this.store.now() >= this.#nextLook()) break;
      if (!committed) await immediate(); // others have their turn, too
    }
    await this.#fill();
    if (this.#stopUntil !== undefined) await this.#drain(now);
    return busy;
  }

  /** Rest until something is due, comes in, or `seconds` are over. */
  async rest(seconds: number): Promise<void> {
    if (this.#touched.size > 0 || this.stopped) return;
    const patience = Math.min(seconds, (this.#nextLook() - this.store.now()) / SECOND);
    if (patience <= 0) return;
    if (this.#claimAt > this.#claimedAt + this.#breath) void this.#listen(); // else it will claim soon in any case
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patience * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  /** Something may have changed in the store: claim, but not too often. */
  woken(): void {
    const breath = this.live.size > 0 ? this.#breath : IDLE_BREATH;
    this.#claimAt = Math.min(this.#claimAt, this.#claimedAt + breath);
  }

  /** Have the store tell when something changes. Asked while there is nothing to do only: commits of one's own are changes, too. */
  async #listen(): Promise<void> {
    if (this.#listening || this.#leaving.signal.aborted) return;
    this.#listening = true;
    try {
      const seen = await this.store.wait(this.#seen, PATIENCE, this.#leaving.signal);
      if (seen !== this.#seen) {
        this.woken();
        this.#wake?.();
      }
      this.#seen = seen;
    } catch {
      await this.settings.pause(DEAF); // claiming says what is wrong
    }
    this.#listening = false;
  }

  /** Take no more runs, let steps that run come to an end for so many seconds, and give everything back. */
  stop(grace: number): void {
    const now = this.store.now();
    this.#stopUntil ??= now + micros(grace);
    this.#leaveAt = this.#stopUntil + 5 * SECOND;
    this.#leaving.abort();
    this.#wake?.();
  }

  /** When something is due, microseconds. */
  #nextLook(): number {
    const first = this.#stopUntil ?? this.#claimAt; // who leaves claims nothing more
    return Math.min(first, this.#alarms.next(), this.live.size > 0 ? this.#renewAt : Infinity);
  }

  /** When the next timer or retry of a run here is due, microseconds: for virtual time. */
  get nextAlarm(): number {
    return this.#alarms.next();
  }

  /** Whether a step is under way here. */
  get working(): boolean {
    return [...this.#attempts].some((attempt) => attempt.wanted);
  }

  /** What was measured by the old time is done now, so that nobody is deaf until that time comes again. */
  #clockWentBack(now: number): void {
    this.#log("warning", "the store's clock went back", { seconds: (this.#latest - now) / SECOND });
    this.#claimAt = this.#claimedAt = this.#renewAt = now;
    this.#restNoMore();
  }

  // ---- claiming ------------------------------------------------------------------------------------------------------------

  async #claim(now: number): Promise<boolean> {
    const { name, namespace, queues, concurrency, poll } = this.settings;
    const room = Math.max(0, concurrency - this.live.size);
    const limit = Math.min(room, CLAIM_LIMIT);
    this.#claimedAt = now;
    this.#claimAt = now + micros(poll);
    let claims;
    try {
      const asked = { worker: name, namespace, queues: [...queues], workflows: this.#names, limit, ttl: this.#ttl };
      claims = await this.store.claim(asked);
    } catch (error) {
      if (error instanceof StoreRefused) throw error; // asking again does not help
      this.#unavailable("claim", error);
      return false;
    }
    this.#failures = 0;
    this.#breath = Math.max(BUSY_BREATH, CLAIM_SHARE * (this.store.now() - now));
    if (claims.nextAt !== undefined) this.#claimAt = Math.min(this.#claimAt, Math.max(claims.nextAt, now + BREATH));
    this.#hungry = claims.runs.length === room;
    if (room === 0) this.#restNoMore();
    if (!this.#hungry && claims.runs.length === limit) this.#claimAt = now;
    for (const claimed of claims.runs) await this.#take(claimed);
    for (const message of claims.mail) {
      const live = this.live.get(keyText(message.key));
      if (live?.deliver([message])) this.#touch(live);
    }
    return claims.runs.length > 0;
  }

  /** The version that the run began with when it is registered, else today's code: the one of no or the highest version. */
  #spec(name: string, version: string): WorkflowSpec | undefined {
    const versions = this.#specs.get(name);
    return versions?.get(version) ?? versions?.get("") ?? versions?.get([...versions.keys()].sort().at(-1) ?? "");
  }

  /** Take a claimed run into memory. */
  async #take({ run, lease, journal, mail }: Claimed): Promise<void> {
    const step = this.#steps.get(run.workflow);
    const spec = step === undefined ? this.#spec(run.workflow, run.version) : stepRun(step, journal[0]);
    if (spec === undefined) {
      await this.#giveBack([lease]);
      return;
    }
    if (run.recoveries >= this.settings.maxRecoveries && !mail.some(({ kind }) => PUTS_BACK.has(kind))) {
      const note = `it was set aside after ${run.recoveries} workers in a row died while they drove it; resume puts it back`;
      this.#log("error", "run is stuck", { run: run.key.id, error: note });
      await this.#layDown(lease, run.seq, run.applied, note, undefined);
      return;
    }
    const known = this.live.get(keyText(run.key));
    if (known !== undefined && run.seq === known.committed && lease.fence === known.lease.fence + 1) {
      known.lease = lease; // it ended unnoticed, and nobody else was there before it was claimed anew
      known.deliver(mail);
      this.#touch(known);
      return;
    }
    if (known !== undefined) this.#drop(known);
    const live = new Live(run, lease, spec, journal, mail, this.settings.maxPayload);
    this.live.set(keyText(run.key), live);
    this.#renewAt = Math.min(this.#renewAt || lease.until, lease.until - (this.#ttl * 2) / 3);
    this.#touch(live);
    this.#log("debug", "run claimed", { run: run.key.id, fence: lease.fence, seq: run.seq });
  }

  /** Give back those that are kept although they only wait. */
  #restNoMore(): void {
    for (const key of [...this.#resting.keys()]) {
      const live = this.live.get(key);
      if (live === undefined) continue;
      live.parking = true;
      this.#touch(live);
    }
  }

  #touch(live: Live): void {
    const key = keyText(live.key);
    this.#touched.set(key, live);
    this.#resting.delete(key);
    this.#wake?.();
  }

  // ---- a round -------------------------------------------------------------------------------------------------------------

  /** Wake what is due: timers of runs, attempts that take too long, runs that have rested long enough. */
  #ring(now: number): boolean {
    let rang = false;
    for (let whom = this.#alarms.due(now); whom !== undefined; whom = this.#alarms.due(now)) {
      rang = true;
      if (whom instanceof Attempt) {
        this.#tooLate(whom);
      } else {
        whom.alarm = undefined;
        whom.parking = (this.#resting.get(keyText(whom.key)) ?? Infinity) <= now;
        this.#touch(whom);
      }
    }
    return rang;
  }

  /** Let every run that heard something take a turn, commit all turns at once, then act; whether there was anything to commit. */
  async #round(now: number): Promise<boolean> {
    const touched = this.#touched;
    this.#touched = new Map();
    const batch: Commit[] = [];
    const turned: Live[] = [];
    let budget = REPLAY_BUDGET;
    for (const live of touched.values()) {
      try {
        if (!live.arrived) {
          budget = live.replay(Math.max(budget, 1));
          if (!live.over && !live.arrived) {
            this.#touch(live);
            continue;
          }
        }
        live.turn(now);
        if (!live.interp.settled && !live.over) {
          this.#touch(live); // one that never rests may still be terminated
          continue;
        }
        const commit = this.#commitOf(live, now);
        if (commit === undefined) await this.#act(live, now);
        else {
          batch.push(commit);
          turned.push(live);
        }
      } catch (error) {
        await this.#stuck(live, error); // today's code does not fit; the run is set aside, the others go on
      }
    }
    if (batch.length === 0) return false;
    const fates = await this.#send(batch);
    for (const [place, live] of turned.entries()) {
      try {
        await this.#settle(live, batch[place] as Commit, fates[place] ?? "fenced", now);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        await this.#forgetTurn(live, error);
      }
    }
    return true;
  }

  /** What must become durable before anything else is done; undefined when there is nothing. */
  #commitOf(live: Live, now: number): Commit | undefined {
    const parking = live.parking;
    live.parking = false;
    if (live.over) return live.commit(true);
    let moment = live.wakeAt ?? Infinity;
    if (live.idle) {
      const crowded = this.#hungry || this.#resting.size >= this.settings.keep;
      if (parking || live.paused || this.#stopUntil !== undefined || crowded) return live.commit(true);
      const rests = now + micros(this.settings.linger);
      this.#resting.set(keyText(live.key), rests);
      moment = Math.min(moment, rests);
    }
    if (moment < Infinity) {
      this.#alarms.drop(live.alarm);
      live.alarm = this.#alarms.set(moment, live);
    }
    return live.unsaid ? live.commit(false) : undefined;
  }

  /** Commit, again and again until the store answers; what was applied unheard is recognised. */
  async #send(batch: readonly Commit[]): Promise<(Fate | Error)[]> {
    for (let unsure = false; ; unsure = true) {
      try {
        const fates = await this.store.commit(batch);
        this.#failures = 0;
        if (!unsure) return fates;
        return await Promise.all(fates.map((fate, place) => this.#recognise(batch[place] as Commit, fate)));
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) {
          if (batch.length === 1) return [error as Error]; // whose commit it is shows when each is sent alone
          const fates: (Fate | Error)[] = [];
          for (const commit of batch) fates.push(...(await this.#send([commit])));
          return fates;
        }
        this.#unavailable("commit", error);
        if (this.store.now() >= this.#leaveAt) return batch.map(() => "fenced");
        await this.settings.pause(Math.min(1, 0.01 * 2 ** Math.min(this.#failures, 7)));
      }
    }
  }

  /** A refusal after an unheard answer may be our own commit: the events in the journal tell. */
  async #recognise(commit: Commit, fate: Fate): Promise<Fate> {
    if (fate === "applied") return fate;
    const { lease, events, successor, expected } = commit;
    if (events.length === 0) {
      const [run] = await this.store.get([lease.key]); // it only gave the run back, and nobody has taken it since
      return run?.fence === lease.fence && run.worker === "" ? "applied" : fate;
    }
    const ours = successor?.events ?? events; // a successor has taken over the name
    const written = await this.store.journal(lease.key, successor === undefined ? expected : 0, ours.length);
    return written.length === ours.length && ours.every((event, place) => sameEvent(event, written[place])) ? "applied" : fate;
  }

  /** What follows from a commit's fate. */
  async #settle(live: Live, commit: Commit, fate: Fate | Error, now: number): Promise<void> {
    if (fate instanceof Error) {
      await this.#stuck(live, fate);
      return;
    }
    if (fate !== "applied") {
      this.#log("warning", "commit refused, the turn is dropped", { run: live.key.id, fate });
      this.#drop(live);
      if (fate === "conflict") await this.#giveBack([live.lease]);
      return;
    }
    live.committed += commit.events.length;
    live.applied = live.committed;
    for (const id of commit.consumed) live.known.delete(id);
    this.#say(live, commit);
    await this.#greet(live, commit.children);
    if (commit.posts.length > 0 || commit.children.length > 0) this.#claimAt = Math.min(this.#claimAt, now);
    if (!commit.release) {
      await this.#act(live, now);
      return;
    }
    this.#drop(live);
    if (commit.wakeAt !== undefined) this.#claimAt = Math.min(this.#claimAt, commit.wakeAt);
    if (commit.successor !== undefined) this.#claimAt = Math.min(this.#claimAt, Math.max(now, commit.successor.readyAt));
  }

  /** Lines of the workflow's log, once they are durable. */
  #say(live: Live, commit: Commit): void {
    for (const { topic, payload } of commit.topics) {
      if (topic !== LOG + live.key.id) continue;
      const said = fromBytes(payload) as { text: string; level: string; fields: Record<string, unknown> };
      const known = ["debug", "info", "warning", "error"] as const;
      const level = known.find((each) => each === said.level) ?? "info";
      this.#log(level, said.text, { run: live.key.id, workflow: live.run.workflow, ...said.fields });
    }
  }

  /** A child whose given id belongs to another run will never answer: say so in its place. */
  async #greet(live: Live, children: readonly NewRun[]): Promise<void> {
    const given = children.filter((child) => child.key.id !== position(live.interp, child.parentCommand, "."));
    if (given.length === 0) return;
    const runs = await this.store.get(given.map((child) => child.key));
    for (const [place, child] of given.entries()) {
      const run = runs[place];
      if (run === undefined || (run.parent === child.parent && run.parentCommand === child.parentCommand)) continue;
      const problem = new RunExists(run.key.id, `${run.workflow} ${run.digest}`, `${child.workflow} ${child.digest}`);
      await this.store.post([live.refusal(child, problem)]);
      this.#claimAt = 0;
    }
  }

  /** Forget a run: its generators are closed, what runs for it is abandoned. */
  #drop(live: Live): void {
    const key = keyText(live.key);
    if (this.live.get(key) === live) {
      this.live.delete(key);
      this.#resting.delete(key);
      this.#touched.delete(key);
    }
    if (this.#hungry) this.#claimAt = 0;
    this.#alarms.drop(live.alarm);
    for (const attempt of live.tasks.values()) {
      if (attempt !== "waiting") attempt.abort();
    }
    live.tasks.clear();
    live.acting = [];
    live.queued.length = 0;
    live.interp.close();
  }

  /** Today's code cannot go on: leave the journal as it is, say why, and try again later or with other code. */
  async #stuck(live: Live, error: unknown): Promise<void> {
    const known = error instanceof ReplayError;
    this.#log("error", "run is stuck", { run: live.key.id, error: known ? error.message : error });
    const note = (known ? "" : `${typeOf(error)}: `) + failureOf(error).message;
    this.#drop(live);
    await this.#layDown(live.lease, live.committed, live.applied, note, this.store.now() + STUCK_PAUSE);
  }

  /** Mark a run as stuck, and give it back. */
  async #layDown(lease: Lease, expected: number, applied: number, note: string, wakeAt: number | undefined): Promise<void> {
    const empty = { events: [], base: 0, consumed: [], posts: [], children: [], topics: [], state: {}, tags: {}, successor: undefined };
    await this.#send([{ ...empty, lease, expected, status: "stuck", applied, note, wakeAt, release: true }]);
  }

  // ---- acting --------------------------------------------------------------------------------------------------------------

  /** Do what is durable enough to be done: stop what was withdrawn, begin what was asked for. */
  async #act(live: Live, now: number): Promise<void> {
    for (const command of live.withdrawn) {
      const attempt = live.tasks.get(command.id);
      if (attempt === undefined) continue;
      if (!command.cancelled) live.tasks.delete(command.id);
      if (attempt !== "waiting") attempt.abort();
    }
    live.withdrawn = [];
    const acting = live.acting;
    live.acting = [];
    for (const command of acting) {
      if (this.#stopUntil !== undefined && !live.intents.has(command.id)) live.acting.push(command);
      else this.#begin(live, command, now);
    }
    if (live.answers.length > 0 || live.mail.length > 0 || (live.idle && !this.#resting.has(keyText(live.key)))) this.#touch(live);
  }

  #begin(live: Live, command: Command, now: number): void {
    const effect = command.effect as Step<unknown>;
    if (!effect.how.atMostOnce || live.intents.has(command.id)) {
      live.tasks.set(command.id, "waiting");
      if (live.queued.push(command) === 1) this.#todo.push(live);
      return;
    }
    if (command.intent) {
      const lost = { ...failureOf(new StepInterrupted(effect.name)), message: `step ${effect.name} was begun in an earlier life` };
      live.answers.push({ command: command.id, kind: "step_failed", payload: bytesOf(failureText(lost)), attempt: 1 });
    } else {
      live.beginStep(command, now);
      live.acting.push(command);
    }
    this.#touch(live);
  }

  /** Begin as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced. */
  async #fill(): Promise<void> {
    if (this.#todo.length === 0) return;
    const now = this.store.now();
    if (now >= this.#renewAt) await this.#renew(now); // after a long break: begin nothing for a run that another may hold by now
    while (this.#attempts.size < this.settings.stepConcurrency) {
      const live = this.#todo.shift();
      if (live === undefined) return;
      const command = live.queued.shift();
      if (live.queued.length > 0) this.#todo.push(live);
      if (command === undefined || live.tasks.get(command.id) !== "waiting") continue;
      const announced = live.intents.has(command.id);
      if (this.#stopUntil !== undefined && !announced) continue;
      if (live.paused && !announced) {
        live.tasks.delete(command.id);
        this.#touch(live);
        continue;
      }
      this.#attempt(live, command, now);
    }
  }

  #attempt(live: Live, command: Command, now: number): void {
    const effect = command.effect as Step<unknown>;
    const key = position(live.interp, effect.how.id || command.id, "#");
    const info = new StepInfo(live.key.id, live.run.workflow, effect.name, command.id, command.attempts + 1, key);
    const attempt = new Attempt(live, command, info, (ended, done, duration) => this.#done(ended, done, duration));
    const seconds = effect.how.timeout;
    if (seconds !== undefined) attempt.alarm = this.#alarms.set(now + micros(seconds), attempt);
    live.tasks.set(command.id, attempt);
    this.#attempts.add(attempt);
    if (command.cancelled) attempt.abort();
    attempt.begin(this.settings.perform);
  }

  /** An attempt has ended; one that nobody waits for any more is only counted. */
  #done(attempt: Attempt, done: Done, duration: number): void {
    this.#attempts.delete(attempt);
    this.#alarms.drop(attempt.alarm);
    if (attempt.wanted) this.#told(attempt, done, duration);
    else this.#wake?.(); // there is room again
  }

  /** An attempt has taken too long: its step is told, its answer will be passed over. */
  #tooLate(attempt: Attempt): void {
    const seconds = attempt.effect.how.timeout ?? 0;
    const error = new TimedOut(`step ${attempt.effect.name}`, seconds);
    attempt.abort(error);
    if (attempt.wanted) this.#told(attempt, { error }, micros(seconds));
  }

  #told(attempt: Attempt, done: Done, duration: number): void {
    const { live, command } = attempt;
    live.tasks.delete(command.id);
    live.answers.push(this.#answerOf(attempt, done, duration));
    this.#touch(live);
  }

  #answerOf({ effect, info, command }: Attempt, done: Done, duration: number): Answer {
    const { maxPayload } = this.settings;
    const { attempt } = info;
    let error: unknown;
    if ("error" in done) {
      error = done.error;
    } else {
      const payload = bytesOf(done.text);
      if (payload.length <= maxPayload) return { command: command.id, kind: "step_completed", payload, attempt, duration };
      error = new PayloadTooLarge(`result of step ${effect.name}`, payload.length, maxPayload);
    }
    const failure = failureOf(error, attempt);
    const retry = effect.how.retry ?? ONCE;
    const hopeless = command.cancelled || error instanceof PayloadError || error instanceof PayloadTooLarge;
    if (hopeless || !allows(retry, error, attempt)) {
      return { command: command.id, kind: "step_failed", payload: bytesOf(failureText(failure)), attempt, duration };
    }
    const payload = toBytes({ ...failure, retry_in: delay(retry, attempt, this.settings.chance()) });
    return { command: command.id, kind: "step_attempt_failed", payload, attempt, duration };
  }

  /** The store failed where its answer cannot be asked for again: drop the run and read it anew. */
  async #forgetTurn(live: Live, error: StoreError): Promise<void> {
    this.#log("warning", "run is read again", { run: live.key.id, error: error.message });
    this.#drop(live);
    await this.#giveBack([live.lease]);
    this.#claimAt = 0;
  }

  // ---- leases --------------------------------------------------------------------------------------------------------------

  async #renew(now: number): Promise<void> {
    this.#renewAt = now + this.#ttl / 3;
    const held = [...this.live.values()];
    if (held.length === 0) return;
    let kept: boolean[];
    try {
      kept = await this.store.renew(held.map((live) => live.lease), this.#ttl);
    } catch (error) {
      this.#unavailable("renew", error);
      this.#renewAt = now + this.#ttl / 10;
      return;
    }
    for (const [place, live] of held.entries()) {
      if (kept[place] || this.live.get(keyText(live.key)) !== live) continue;
      this.#log("warning", "the lease has moved on, the turn is dropped", { run: live.key.id, fence: live.lease.fence });
      this.#drop(live);
    }
  }

  /** Wait for steps that run, as long as there is patience; what has none is given back at once, in the end everything. */
  async #drain(now: number): Promise<void> {
    if (now < (this.#stopUntil ?? 0) && this.working) {
      await this.#leaveEarly();
      return;
    }
    for (const live of this.live.values()) {
      live.parking = true;
      if (live.arrived && live.tasks.size === 0) this.#touch(live);
    }
    if (this.#touched.size > 0) await this.#round(now);
    await this.forgetAll();
    this.stopped = true;
  }

  /** Others need not wait for this worker's steps to go on with runs that have none under way here. */
  async #leaveEarly(): Promise<void> {
    const isBusy = (live: Live) =>
      [...live.tasks.values()].some((task) => task !== "waiting") || [...live.acting, ...live.queued].some(({ id }) => live.intents.has(id));
    const leaving = [...this.live.values()].filter((live) => !this.#touched.has(keyText(live.key)) && !isBusy(live));
    const dropped = leaving.filter((live) => !live.idle);
    for (const live of leaving) {
      if (live.idle) this.#touch(live); // parked by its next commit, with its wake-up
      else this.#drop(live);
    }
    await this.#giveBack(dropped.map((live) => live.lease));
  }

  /** Drop every run, unharmed, and give it back; after an error that nobody expected they are read again. */
  async forgetAll(): Promise<void> {
    const leases = [...this.live.values()].map((live) => live.lease);
    for (const live of [...this.live.values()]) this.#drop(live);
    await this.#giveBack(leases);
    this.#claimAt = this.store.now() + BUSY_BREATH;
  }

  async #giveBack(leases: readonly Lease[]): Promise<void> {
    try {
      if (leases.length > 0) await this.store.release(leases);
    } catch (error) {
      this.#unavailable("release", error); // what cannot be given back ends by itself
    }
  }

  #unavailable(verb: string, error: unknown): void {
    this.#failures++;
    if (this.#failures === 1 || this.#failures === 10 || this.#failures % 100 === 0) {
      this.#log("warning", "the store does not answer", { verb, times: this.#failures, error });
    }
  }

  #log(level: "debug" | "info" | "warning" | "error", message: string, facts: Readonly<Record<string, unknown>>): void {
    this.settings.logger.log(level, message, { worker: this.settings.name, ...facts });
  }
}

function sameEvent(ours: Event, theirs: Event | undefined): boolean {
  if (theirs === undefined || !sameBytes(ours.payload, theirs.payload)) return false;
  return (["seq", "kind", "command", "name", "at", "worker"] as const).every((field) => ours[field] === theirs[field]);
}

/** A step sent to another queue is a run of kind step: a workflow of one command. Its result passes through as it is spelt. */
function stepRun(step: StepSpec, started: Event | undefined): WorkflowSpec {
  return {
    name: STEP_RUN + step.name,
    version: "",
    patches: new Set(),
    retry: undefined,
    takesState: false,
    answers: new Map(),
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
function asked(declared: Retry, started: Event | undefined): StepOptions {
  const { step } = (started === undefined ? {} : fromBytes(started.payload)) as { step?: Record<string, any> };
  const { max_attempts: maxAttempts, max_delay: maxDelay, ...rest } = step?.["retry"] ?? {};
  const given = Object.entries({ ...rest, maxAttempts, maxDelay }).filter(([, value]) => value !== undefined);
  const retry = given.length > 0 ? { retry: { ...declared, ...Object.fromEntries(given) } } : {};
  return step !== undefined && "timeout" in step ? { ...retry, timeout: step["timeout"] ?? undefined } : retry;
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
