/**
 * The engine of a worker: claims runs, feeds them, commits, and then does what their commands ask.
 *
 * Rule 1: one thing at a time. `pump` lets every run that heard something take a turn, commits all turns in one call (whatever arrived
 * during the last commit is committed together now: group commit without a timer), and only then acts. Claims, renewals and commits never
 * overlap, so no answer of the store is older than what is known here.
 * Rule 2: nothing is kept that the store does not know. A run that only waits is given back and costs a row; a few that may soon go on are
 * kept for `linger` seconds.
 * Rule 3: the store is asked to tell of changes only while there is nothing to do; who is busy commits, and its commits are changes, too.
 * Rule 4: time and hands are given: over the test kit's store and clock the same code runs a month in a moment.
 */

import { bytesOf, fromBytes, fromText, toBytes } from "../codec/json.js";
import { PayloadError, PayloadTooLarge, ReplayError, RunExists, StepInterrupted, StoreError, StoreRefused, type TimedOut } from "../errors.js";
import type { QueueLimits } from "../generated/worker.js";
import type { Command } from "../interpreter/fibers.js";
import { position } from "../interpreter/issue.js";
import type { Step, WorkflowSpec } from "../model/effects.js";
import { failureOf, typeOf } from "../model/failure.js";
import { LOG, LOST, SECOND, STEP_RUN, blank, keyText, micros } from "../model/records.js";
import type { Claimed, Commit, Fate, Lease, NewRun } from "../model/records.js";
import { ONCE, allows, delay } from "../model/retry.js";
import type { Store } from "../wire/store.js";
import { Alarms } from "./alarms.js";
import { Trouble, send } from "./committer.js";
import { stepRun } from "./family.js";
import { Live, type Answer } from "./live.js";
import type { Level, Log } from "./logger.js";
import { Line, reasonOf, warning } from "./recoveries.js";
import type { Queue, Settings } from "./settings.js";
import { Attempt, StepInfo, type Done } from "./steps.js";

/** Microseconds between two claims at the least: always, and while runs are under way here or others change the store for themselves only. */
const [BREATH, BUSY_BREATH] = [1_000, 20_000];
/** While runs are under way, claiming takes one part in so many of the time, however slow the store is. */
const CLAIM_SHARE = 20;
/** Runs taken in one claim at most. */
const CLAIM_LIMIT = 200;
/** Runs that only wait and are kept at most. */
const KEEP = 200;
/** Seconds that the store is asked to wait before it says that nothing has changed, and after which it is asked again when it fails. */
const [PATIENCE, DEAF] = [20, 1];
/** Seconds that a worker rests at most: timers count no further than some weeks. */
const LONGEST_REST = 3_600;
/** Microseconds until a run that is stuck is tried again; fitting code may have been deployed meanwhile. */
const STUCK_PAUSE = 30 * SECOND;
/** Old events fed per round, so that one long journal does not hold up the others. */
const REPLAY_BUDGET = 5_000;
/** Microseconds after its patience for steps at which a worker that leaves gives up commits, too. */
const LAST_TRIES = 5 * SECOND;

export class Engine {
  /** Runs in memory by key, those that heard something, and until when those rest that only wait. */
  readonly live = new Map<string, Live>();
  #touched = new Set<Live>();
  readonly #resting = new Map<Live, number>();
  /** Runs with steps that wait for room. */
  readonly #todo: Live[] = [];
  readonly #attempts = new Set<Attempt>();
  readonly #alarms = new Alarms<Live | Attempt>();
  readonly #specs: readonly WorkflowSpec[];
  readonly #names: readonly string[];
  readonly #queues: string[];
  readonly #ttl: number;
  readonly #trouble: Trouble;
  readonly #line: Line;
  #claimAt = 0;
  #claimedAt = 0;
  #breath = BUSY_BREATH;
  #idleBreath = BREATH;
  #hungry = false;
  #renewAt = 0;
  #latest = 0;
  #stopUntil: number | undefined;
  #wake: (() => void) | undefined;
  /** What the store has said of changes, and whether it is asked to tell of more. */
  #seen = 0;
  #listening = false;
  readonly #leaving = new AbortController();
  /** Whether everything has been given back. */
  stopped = false;

  constructor(readonly store: Store, readonly settings: Settings) {
    this.#specs = settings.workflows.map(({ spec }) => spec);
    this.#names = [...new Set([...this.#specs.map(({ name }) => name), ...settings.steps.map(({ spec }) => STEP_RUN + spec.name)])].sort();
    this.#queues = [...settings.queues];
    this.#ttl = micros(settings.ttl);
    this.#trouble = new Trouble(this.#log);
    this.#line = new Line(settings.maxRecoveries, this.#ttl);
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
    if (now >= this.#line.nextAt && this.#stopUntil === undefined) await this.#letIn(now);
    while (this.#touched.size > 0) {
      busy = true;
      const committed = await this.#round(this.store.now());
      this.#fill(this.store.now());
      if (!this.#listening && this.live.size > 0) this.woken(); // nobody would tell; who has nothing to do asks to be told
      if (this.store.now() >= this.#nextLook()) break;
      if (!committed) await new Promise((resolve) => setImmediate(resolve)); // others have their turn, too
    }
    this.#fill(this.store.now());
    if (this.#stopUntil !== undefined) await this.#drain(now);
    return busy;
  }

  /** Rest until something is due or comes in. */
  async rest(): Promise<void> {
    if (this.#touched.size > 0 || this.stopped) return;
    const patience = Math.min(LONGEST_REST, (this.#nextLook() - this.store.now()) / SECOND);
    if (patience <= 0) return;
    if (this.#claimAt > this.#mayClaimAt) void this.#listen(); // else it will claim soon in any case
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
    this.#claimBy(this.#mayClaimAt);
  }

  get #mayClaimAt(): number {
    return this.#claimedAt + (this.live.size > 0 ? this.#breath : this.#idleBreath);
  }

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
      if (!this.#leaving.signal.aborted) await this.settings.pause(DEAF); // claiming says what is wrong
    }
    this.#listening = false;
  }

  /** Take no more runs, let steps that run come to an end for so many seconds, and give everything back. */
  stop(grace: number): void {
    this.#stopUntil ??= this.store.now() + micros(grace);
    this.#leaving.abort();
    this.#wake?.();
  }

  /** When something is due, microseconds. */
  #nextLook(): number {
    const first = this.#stopUntil ?? Math.min(this.#claimAt, this.#line.nextAt); // who leaves begins nothing more
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

  /** How much it has in hand, and whether it takes no more. */
  get load() {
    return { runs: this.live.size, steps: this.#attempts.size, draining: this.#stopUntil !== undefined };
  }

  /** What was measured by the old time is done now, so that nobody is deaf until that time comes again. */
  #clockWentBack(now: number): void {
    this.#log("warning", "the store's clock went back", { seconds: (this.#latest - now) / SECOND });
    this.#claimAt = this.#claimedAt = this.#renewAt = now;
    this.#restNoMore();
  }

  // ---- claiming ------------------------------------------------------------------------------------------------------------

  #claimBy(moment: number): void {
    this.#claimAt = Math.min(this.#claimAt, moment);
  }

  async #claim(now: number): Promise<boolean> {
    const { name: worker, namespace, concurrency, poll } = this.settings;
    this.#queues.push(...this.#queues.splice(0, 1)); // each in turn is asked first
    const room = Math.max(0, concurrency - this.live.size);
    const limit = Math.min(room, CLAIM_LIMIT);
    this.#claimedAt = now;
    this.#claimAt = now + micros(poll);
    let claims;
    try {
      const asked = { worker, namespace, queues: [...this.#queues], workflows: [...this.#names], limit, ttl: this.#ttl };
      claims = await this.store.claim({ ...asked, limits: this.#limits() });
    } catch (error) {
      if (error instanceof StoreRefused) throw error; // asking again does not help
      this.#trouble.tell("claim", error);
      return false;
    }
    this.#trouble.over();
    this.#breath = Math.max(BUSY_BREATH, CLAIM_SHARE * (this.store.now() - now));
    if (claims.nextAt !== undefined) this.#claimBy(Math.max(claims.nextAt, now + BREATH));
    this.#idleBreath = claims.runs.length > 0 ? BREATH : Math.min(2 * this.#idleBreath, BUSY_BREATH);
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

  /** Limits of queues, with what is left of their room here. */
  #limits(): QueueLimits[] {
    const held = (name: string) => [...this.live.values()].filter(({ run }) => run.queue === name).length;
    const left = ({ name, here }: Queue) => (here === undefined ? undefined : Math.max(0, here - held(name)));
    return this.settings.limits.map((queue) => {
      const { rate, ...rest } = queue;
      return { ...rest, rateCount: rate?.count, ratePer: rate?.per ?? 0, here: left(queue) };
    });
  }

  /** Take a claimed run into memory. */
  async #take(claimed: Claimed): Promise<void> {
    const { run, lease, journal, mail } = claimed;
    const spec = this.#specFor(run.workflow, run.version, journal[0]?.payload);
    if (spec === undefined) return this.#giveBack([lease]);
    const known = this.live.get(keyText(run.key));
    if (known !== undefined && run.seq === known.committed && lease.fence === known.lease.fence + 1) {
      known.lease = lease; // it ended unnoticed, and nobody else was there before it was claimed anew
      known.deliver(mail);
      this.#touch(known);
      return;
    }
    if (known !== undefined) this.#drop(known);
    if (this.#line.isBeyond(claimed)) {
      const note = reasonOf(claimed);
      this.#log("error", "run is stuck", { run: run.key.id, error: note });
      return this.#layDown(lease, run.seq, run.applied, note, undefined);
    }
    const live = new Live(run, lease, spec, journal, mail, this.settings.maxPayload);
    this.live.set(keyText(run.key), live);
    this.#renewAt = Math.min(this.#renewAt || lease.until, lease.until - (this.#ttl * 2) / 3);
    if (!this.#line.enters(claimed, live)) this.#touch(live);
    this.#log("debug", "run claimed", { run: run.key.id, fence: lease.fence, seq: run.seq });
  }

  /** Drive the next run in doubt, once it is written down that it is to blame if this worker dies. */
  async #letIn(now: number): Promise<void> {
    for (let live = this.#line.next(now); live !== undefined; live = this.#line.next(now)) {
      const [fate = "fenced"] = await this.#send([warning(live)]);
      if (fate === "applied") return this.#touch(live);
      await this.#refused(live, fate);
    }
  }

  /** The version that a run began with when it is registered, else today's code: the one of no or the highest version. */
  #specFor(workflow: string, version: string, started: Uint8Array | undefined): WorkflowSpec | undefined {
    const step = this.settings.steps.find(({ spec }) => STEP_RUN + spec.name === workflow);
    if (step !== undefined) return stepRun(step.spec, started);
    const versions = this.#specs.filter(({ name }) => name === workflow).sort((one, other) => (one.version < other.version ? -1 : 1));
    return versions.find((spec) => spec.version === version) ?? versions.find((spec) => spec.version === "") ?? versions.at(-1);
  }

  /** Give back those that are kept although they only wait. */
  #restNoMore(): void {
    for (const live of [...this.#resting.keys()]) {
      live.parking = true;
      this.#touch(live);
    }
  }

  #touch(live: Live): void {
    this.#touched.add(live);
    this.#resting.delete(live);
    this.#wake?.();
  }

  // ---- a round -------------------------------------------------------------------------------------------------------------

  /** Wake what is due: timers of runs, attempts that take too long, runs that have rested long enough. */
  #ring(now: number): boolean {
    let rang = false;
    for (let whom = this.#alarms.due(now); whom !== undefined; whom = this.#alarms.due(now)) {
      rang = true;
      if (whom instanceof Attempt) {
        this.#look(whom, now);
      } else {
        whom.parking = (this.#resting.get(whom) ?? Infinity) <= now;
        this.#touch(whom);
      }
    }
    return rang;
  }

  /** Let every run that heard something take a turn, commit all turns at once, then act; whether there was anything to commit. */
  async #round(now: number): Promise<boolean> {
    const touched = this.#touched;
    this.#touched = new Set();
    const turns: [Live, Commit][] = [];
    let budget = REPLAY_BUDGET;
    for (const live of touched) {
      if (live.inLine) continue;
      try {
        if (!live.arrived) budget = live.replay(Math.max(budget, 1));
        if (live.arrived || live.over) live.turn(now);
        if (!live.over && !(live.arrived && live.interp.settled)) {
          this.#touch(live); // one that never rests may still be terminated
          continue;
        }
        const commit = this.#commitOf(live, now);
        if (commit === undefined) this.#act(live, now);
        else turns.push([live, commit]);
      } catch (error) {
        await this.#stuck(live, error); // today's code does not fit; the run is set aside, the others go on
      }
    }
    if (turns.length === 0) return false;
    const fates = await this.#send(turns.map(([, commit]) => commit));
    for (const [place, [live, commit]] of turns.entries()) {
      const fate = fates[place] ?? "fenced";
      try {
        if (fate !== "applied") await this.#refused(live, fate);
        else this.#settle(live, commit, now);
        if (fate === "applied" && commit.children.length > 0) await this.#greet(live, commit.children);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        this.#log("warning", "run is read again", { run: live.key.id, error: error.message }); // asking again would not tell
        this.#drop(live);
        await this.#giveBack([live.lease]);
        this.#claimAt = 0;
      }
    }
    return true;
  }

  /** What must become durable before anything else is done; undefined when there is nothing. */
  #commitOf(live: Live, now: number): Commit | undefined {
    const parking = live.parking;
    live.parking = false;
    if (live.over) return live.commit(true);
    let moment = Math.min(live.wakeAt, live.saveAt);
    if (live.idle) {
      const crowded = this.#hungry || this.#resting.size >= KEEP || this.settings.limits.some(({ name }) => name === live.run.queue);
      if (parking || live.paused || this.#stopUntil !== undefined || crowded) return live.commit(true);
      const rests = now + micros(this.settings.linger);
      this.#resting.set(live, rests);
      moment = Math.min(moment, rests);
    }
    if (moment < Infinity) this.#alarms.set(moment, live);
    const announces = live.lost > 0 && !live.doing && live.acting.length > 0;
    if (announces) live.sayDoing();
    return announces || live.isUnsaid(now) ? live.commit(false) : undefined;
  }

  #send(batch: readonly Commit[]): Promise<(Fate | Error)[]> {
    const givesUp = () => this.store.now() >= (this.#stopUntil ?? Infinity) + LAST_TRIES;
    return send(this.store, batch, this.#trouble, this.settings.pause, givesUp);
  }

  /** The commit counts for nothing: it does not fit, or another has the run. */
  async #refused(live: Live, fate: Fate | Error): Promise<void> {
    if (fate instanceof Error) return this.#stuck(live, fate);
    this.#log("warning", "commit refused, the turn is dropped", { run: live.key.id, fate });
    this.#drop(live);
    if (fate === "conflict") await this.#giveBack([live.lease]);
  }

  /** What follows from a commit that was applied. */
  #settle(live: Live, commit: Commit, now: number): void {
    live.applied = live.committed += commit.events.length;
    if (live.lost === 0 && LOST in commit.state) this.#line.leaves(live);
    for (const id of commit.consumed) live.known.delete(id);
    for (const { topic, payload } of commit.topics) if (topic === LOG + live.key.id) this.#say(live, payload);
    if (commit.posts.length > 0 || commit.children.length > 0) this.#claimBy(now);
    if (!commit.release) return this.#act(live, now);
    this.#drop(live);
    if (commit.wakeAt !== undefined) this.#claimBy(commit.wakeAt);
    if (commit.successor !== undefined) this.#claimBy(Math.max(now, commit.successor.readyAt));
  }

  /** A line of the workflow's log, once it is durable. */
  #say(live: Live, payload: Uint8Array): void {
    const said = fromBytes(payload) as unknown as { text: string; level: Level; fields: Record<string, unknown> };
    this.#log(said.level, said.text, { run: live.key.id, workflow: live.run.workflow, ...said.fields });
  }

  /** A child whose given id belongs to another run will never answer: say so in its place. */
  async #greet(live: Live, children: readonly NewRun[]): Promise<void> {
    const given = children.filter((child) => child.key.id !== position(live.interp, child.parentCommand, "."));
    const runs = given.length > 0 ? await this.store.get(given.map((child) => child.key)) : [];
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
    if (this.live.get(keyText(live.key)) === live) this.live.delete(keyText(live.key));
    this.#resting.delete(live);
    this.#touched.delete(live);
    this.#alarms.drop(live);
    this.#line.leaves(live);
    if (this.#hungry) this.#claimAt = 0;
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
    await this.#send([{ ...blank(), lease, expected, status: "stuck", applied, note, wakeAt, release: true }]);
  }

  // ---- acting --------------------------------------------------------------------------------------------------------------

  /** Do what is durable enough to be done: stop what was withdrawn, begin what was asked for. */
  #act(live: Live, now: number): void {
    const { withdrawn, acting } = live;
    live.withdrawn = [];
    live.acting = [];
    for (const command of withdrawn) {
      const attempt = live.tasks.get(command.id);
      if (!command.cancelled) live.tasks.delete(command.id);
      if (attempt !== undefined && attempt !== "waiting") attempt.abort();
    }
    for (const command of acting) {
      if (this.#stopUntil !== undefined && !live.intents.has(command.id)) live.acting.push(command);
      else this.#begin(live, command, now);
    }
    if (live.answers.length > 0 || live.mail.length > 0 || (live.idle && !this.#resting.has(live))) this.#touch(live);
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
      live.answers.push({ command: command.id, kind: "step_failed", payload: toBytes(lost), attempt: 1 });
    } else {
      live.beginStep(command, now);
      live.acting.push(command);
    }
    this.#touch(live);
  }

  /** Begin as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced. */
  #fill(now: number): void {
    if (now >= this.#renewAt) return; // after a long break: begin nothing for a run that another may hold by now
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
    const { name, how } = command.effect as Step<unknown>;
    const key = position(live.interp, how.id || command.id, "#");
    const progress = live.progress.get(command.id);
    const told = (text: string) => {
      attempt.heardAt = this.store.now();
      if (attempt.wanted && live.takeProgress(command.id, text, attempt.heardAt)) this.#touch(live);
    };
    const known = progress === undefined ? undefined : fromText(progress);
    const info = new StepInfo(live.key.id, live.run.workflow, name, command.id, command.attempts + 1, key, known, told);
    const attempt = new Attempt(live, command, info, now, (done, duration) => {
      this.#attempts.delete(attempt);
      this.#alarms.drop(attempt);
      if (attempt.wanted) this.#told(attempt, done, duration);
      else this.#wake?.(); // there is room again
    });
    if (attempt.limit !== undefined) this.#alarms.set(attempt.limit.moment, attempt);
    live.tasks.set(command.id, attempt);
    this.#attempts.add(attempt);
    if (command.cancelled) attempt.abort();
    attempt.begin(this.settings.perform);
  }

  /** An attempt may have taken too long, or been silent for too long: its step is told, its answer will be passed over. */
  #look(attempt: Attempt, now: number): void {
    const { moment, error } = attempt.limit as { moment: number; error: TimedOut };
    if (moment > now) return this.#alarms.set(moment, attempt); // it has been heard
    attempt.abort(error);
    if (attempt.wanted) this.#told(attempt, { error }, now - attempt.begunAt);
  }

  #told(attempt: Attempt, done: Done, duration: number): void {
    const { live, command } = attempt;
    live.tasks.delete(command.id);
    live.answers.push(this.#answerOf(attempt, done, duration));
    this.#touch(live);
  }

  #answerOf({ effect, info, command }: Attempt, done: Done, duration: number): Answer {
    const told = { command: command.id, attempt: info.attempt, duration };
    let error: unknown;
    if ("error" in done) {
      error = done.error;
    } else {
      const payload = bytesOf(done.text);
      const { maxPayload } = this.settings;
      if (payload.length <= maxPayload) return { ...told, kind: "step_completed", payload };
      error = new PayloadTooLarge(`result of step ${effect.name}`, payload.length, maxPayload);
    }
    const failure = failureOf(error, info.attempt);
    const retry = effect.how.retry ?? ONCE;
    const hopeless = command.cancelled || error instanceof PayloadError || error instanceof PayloadTooLarge;
    if (hopeless || !allows(retry, error, info.attempt)) return { ...told, kind: "step_failed", payload: toBytes(failure) };
    const pause = delay(retry, info.attempt, this.settings.chance());
    return { ...told, kind: "step_attempt_failed", payload: toBytes({ ...failure, retry_in: pause }) };
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
      this.#trouble.tell("renew", error);
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
    if (now < (this.#stopUntil ?? 0) && this.working) return this.#leaveEarly();
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
    const isBusy = ({ tasks, acting, queued, intents }: Live) =>
      [...tasks.values()].some((task) => task !== "waiting") || [...acting, ...queued].some(({ id }) => intents.has(id));
    const leaving = [...this.live.values()].filter((live) => !this.#touched.has(live) && !isBusy(live));
    const dropped = leaving.filter((live) => !live.idle || live.inLine);
    for (const live of leaving) {
      if (live.idle && !live.inLine) this.#touch(live); // parked by its next commit, with its wake-up
      else this.#drop(live);
    }
    await this.#giveBack(dropped.map((live) => live.lease));
  }

  /** Drop every run, unharmed, and give it back; after an error that nobody expected they are read again. */
  async forgetAll(): Promise<void> {
    const held = [...this.live.values()];
    for (const live of held) this.#drop(live);
    await this.#giveBack(held.map((live) => live.lease));
    this.#claimAt = this.store.now() + BUSY_BREATH;
  }

  async #giveBack(leases: readonly Lease[]): Promise<void> {
    try {
      if (leases.length > 0) await this.store.release(leases);
    } catch (error) {
      this.#trouble.tell("release", error); // what cannot be given back ends by itself
    }
  }

  readonly #log: Log = (level, message, facts) => this.settings.logger.log(level, message, { worker: this.settings.name, ...facts });
}
