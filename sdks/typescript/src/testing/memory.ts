/** A store in memory with a clock of its own: the shortest code that keeps the contract. Time stands still until it is moved. */

import { CLOSED, keyText, takesOn, type Claims, type Commit, type Event, type Fate, type Lease } from "../model/records.js";
import type { Message, NewRun, Posted, Run, RunKey } from "../model/records.js";
import type { ClaimRequest } from "../generated/worker.js";
import type { Store } from "../wire/store.js";

interface Held {
  run: Run;
  events: Event[];
  mail: Message[];
  /** Ids of all messages that ever came. */
  seen: Set<string>;
}

export class MemoryStore implements Store {
  readonly url = "memory://";
  readonly #runs = new Map<string, Held>();
  readonly topics = new Map<string, Uint8Array[]>();

  constructor(public clock: number) {}

  now(): number {
    return this.clock;
  }

  create(run: NewRun): { run: Run; new: boolean } {
    const text = keyText(run.key);
    const known = this.#runs.get(text);
    if (known !== undefined) return { run: known.run, new: false };
    const { events, ...rest } = run;
    const made: Run = {
      ...rest,
      ...{ seq: events.length, createdAt: this.clock, updatedAt: this.clock, fence: 0, worker: "", recoveries: 0, note: "" },
      readyAt: Math.max(run.readyAt, this.clock),
      wakeAt: undefined,
    };
    this.#runs.set(text, { run: made, events: [...events], mail: [], seen: new Set() });
    return { run: made, new: true };
  }

  /** When the next run may be claimed, microseconds, or Infinity. */
  get nextAt(): number {
    return Math.min(Infinity, ...[...this.#runs.values()].map(({ run }) => run.readyAt ?? Infinity));
  }

  async claim({ worker, namespace, queues, workflows, limit, ttl }: ClaimRequest): Promise<Claims> {
    const fits = ({ run }: Held) => run.key.namespace === namespace && queues.includes(run.queue) && workflows.includes(run.workflow);
    const all = [...this.#runs.values()].filter(fits);
    const due = (held: Held) => held.run.readyAt !== undefined && held.run.readyAt <= this.clock;
    const first = (one: Run, other: Run) => other.priority - one.priority || (one.readyAt ?? 0) - (other.readyAt ?? 0);
    const ready = all.filter(due).sort((one, other) => first(one.run, other.run));
    const runs = ready.slice(0, limit).map((held) => {
      const { run } = held;
      if (run.worker) run.recoveries++;
      Object.assign(run, { fence: run.fence + 1, worker, readyAt: this.clock + ttl });
      if (run.status !== "paused") run.status = "running";
      const journal = run.base > 1 ? [...held.events.slice(0, 1), ...held.events.slice(run.base - 1)] : [...held.events];
      return { run: { ...run }, lease: { key: run.key, fence: run.fence, worker, until: this.clock + ttl }, journal, mail: [...held.mail] };
    });
    const mail = all.filter(({ run }) => run.worker === worker && run.readyAt !== undefined).flatMap((held) => held.mail);
    const later = all.map(({ run }) => run.readyAt ?? Infinity).filter((moment) => moment > this.clock);
    return { runs, mail, nextAt: later.length > 0 ? Math.min(...later) : undefined };
  }

  #held(lease: Lease): Held | undefined {
    const held = this.#runs.get(keyText(lease.key));
    return held?.run.fence === lease.fence && held.run.worker === lease.worker && !CLOSED.has(held.run.status) ? held : undefined;
  }

  async renew(leases: readonly Lease[], ttl: number): Promise<boolean[]> {
    return leases.map((lease) => {
      const held = this.#held(lease);
      if (held !== undefined) held.run.readyAt = this.clock + ttl;
      return held !== undefined;
    });
  }

  async release(leases: readonly Lease[]): Promise<void> {
    for (const lease of leases) {
      const held = this.#held(lease);
      if (held !== undefined) Object.assign(held.run, { worker: "", readyAt: this.clock });
    }
  }

  async commit(batch: readonly Commit[]): Promise<Fate[]> {
    return batch.map((commit) => this.#commit(commit));
  }

  #commit(commit: Commit): Fate {
    const held = this.#held(commit.lease);
    if (held === undefined) return "fenced";
    const { run } = held;
    if (run.seq !== commit.expected) return "conflict";
    held.events.push(...commit.events);
    held.mail = held.mail.filter((message) => !commit.consumed.includes(message.id));
    Object.assign(run.state, commit.state);
    Object.assign(run.tags, commit.tags);
    for (const [tag, word] of Object.entries(commit.tags)) if (word === "") delete run.tags[tag];
    const { status, note, wakeAt } = commit;
    if (takesOn(commit)) run.recoveries = 0;
    Object.assign(run, { seq: held.events.length, status, note, wakeAt, updatedAt: this.clock });
    run.applied = Math.max(run.applied, commit.applied);
    if (commit.base) run.base = commit.base;
    if (commit.result !== undefined) Object.assign(run, { result: commit.result, readyAt: undefined, worker: "" });
    else if (commit.release) Object.assign(run, { worker: "", readyAt: held.mail.some((each) => wakes(run, each)) ? this.clock : wakeAt });
    if (commit.successor !== undefined) this.#succeed(held, commit.successor);
    for (const child of commit.children) this.create(child);
    for (const message of commit.posts) this.#post(message);
    for (const { topic, payload } of commit.topics) this.topics.set(topic, [...(this.topics.get(topic) ?? []), payload]);
    return "applied";
  }

  /** The name passes on, with the messages that were not consumed. */
  #succeed(held: Held, successor: NewRun): void {
    const { key, fence } = held.run;
    let number = 1;
    while (this.#runs.has(keyText({ ...key, id: `${key.id}~${number}` }))) number++;
    const old = { ...key, id: `${key.id}~${number}` };
    this.#runs.delete(keyText(key));
    this.#runs.set(keyText(old), { ...held, run: { ...held.run, key: old, parent: "" } });
    this.create(successor);
    const next = this.#runs.get(keyText(key)) as Held;
    Object.assign(next, { mail: held.mail, seen: held.seen });
    next.run.fence = fence;
    if (held.mail.length > 0) next.run.readyAt = this.clock;
  }

  async post(messages: readonly Message[]): Promise<Posted[]> {
    return messages.map((message) => this.#post(message));
  }

  #post(message: Message): Posted {
    const held = this.#runs.get(keyText(message.key));
    if (held === undefined) return "unknown";
    if (held.seen.has(message.id)) return "duplicate";
    if (CLOSED.has(held.run.status)) return "closed";
    held.seen.add(message.id);
    held.mail.push({ ...message, at: this.clock });
    if (!held.run.worker && wakes(held.run, message)) held.run.readyAt = Math.min(held.run.readyAt ?? Infinity, this.clock);
    return "delivered";
  }

  async journal(key: RunKey, after: number, limit: number): Promise<Event[]> {
    return this.#runs.get(keyText(key))?.events.slice(after, after + limit) ?? [];
  }

  async get(keys: readonly RunKey[]): Promise<(Run | undefined)[]> {
    return keys.map((key) => this.#runs.get(keyText(key))?.run);
  }

  /** Nobody waits here: who moves the time asks again. */
  async wait(seen: number): Promise<number> {
    return seen;
  }

  close(): void {}
}

/** A paused run hears only what may end its pause. */
function wakes(run: Run, message: Message): boolean {
  return run.status !== "paused" || message.kind === "terminate" || message.kind === "resume";
}
