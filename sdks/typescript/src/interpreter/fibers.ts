/**
 * Fibers, and the scopes that wait for them.
 *
 * Rule 1: a fiber is a generator with a path. The root's path is empty and its commands are 0, 1, 2 …; a combinator takes one number n,
 * and its branches are the fibers `n/0/`, `n/1/` …
 * Rule 2: nothing here recurses over fibers by calling them. A fiber that can go on is put at the end of one queue, first ready first;
 * that queue is the only source of order.
 * Rule 3: no branch outlives its combinator. A scope that has its answer cancels the branches that still run, in order, and answers when
 * the last of them has ended.
 * Rule 4: a fiber is cancelled once. `Cancelled` is thrown at its current yield; one that has an answer waiting receives the answer first
 * and `Cancelled` at its next wait; one that never ran never runs.
 */

import { Cancelled, EffectError, TimedOut, describe } from "../errors.js";
import {
  Effect,
  Sleep,
  type Asked,
  type Branch,
  type Gather,
  type Race,
  type Timeout,
  type Workflow,
} from "../model/effects.js";
import { SECOND } from "../model/records.js";

/** How often a generator is closed that yields while it is closed. */
const CLOSINGS = 2_000;

/** An effect as issued: what the world is asked to answer. */
export class Command {
  /** Moment at which its timer fires, microseconds. */
  due: number | undefined = undefined;
  /** Attempts that have failed so far. */
  attempts = 0;
  /** Payload of the last failed attempt, and when that was recorded. */
  failure: Uint8Array | undefined = undefined;
  failedAt = 0;
  /** Whether an at-most-once step was begun. */
  intent = false;
  /** Whether a cancellation waits for its end. */
  cancelled = false;
  /** Whether it is a child that goes on by itself, its parent having ended. */
  abandoned = false;

  constructor(
    readonly id: string,
    readonly effect: Asked,
    readonly fiber: Fiber,
    readonly issuedAt: number,
  ) {}
}

/** How a branch ended: with a value, or with an error. */
export type End = { readonly error: unknown } | undefined;

/** One concurrent branch inside a workflow. */
export class Fiber {
  generator: Workflow<unknown> | undefined = undefined;
  /** Numbers of its next command and of its next output. */
  commands = 0;
  outs = 0;
  waits: Command | Scope | Fiber | undefined = undefined;
  /** The cancellation that was asked for, and whether it was thrown. */
  cancel: Cancelled | undefined = undefined;
  delivered = false;
  done = false;
  value: unknown = undefined;
  end: End = undefined;
  joiners: Set<Fiber> | undefined = undefined;

  constructor(
    readonly path: string,
    readonly branch: Branch<unknown>,
    readonly scope: Scope | undefined = undefined,
    readonly index = 0,
  ) {}

  /** Its generator, made when it first runs. */
  begin(): Workflow<unknown> {
    if (this.branch instanceof Effect) {
      this.generator = single(this.branch);
    } else if (BEGUN.has(this.branch)) {
      throw new EffectError("a branch that was begun before", "call the generator function once for each branch");
    } else {
      BEGUN.add(this.branch);
      this.generator = this.branch;
    }
    return this.generator;
  }

  nextCommand(): string {
    return `${this.path}${this.commands++}`;
  }
}

/** Generators that are somebody's fiber already. */
const BEGUN = new WeakSet<object>();

function* single(effect: Effect<unknown>): Workflow<unknown> {
  return yield* effect;
}

/** Close a generator whose run is not over; what its `finally` blocks yield or throw is refused. */
export function closeGenerator(generator: Workflow<unknown>): void {
  for (let times = 0; times < CLOSINGS; times++) {
    try {
      if (generator.return(undefined).done) return;
    } catch {
      return; // the author's finally blocks may throw anything
    }
  }
}

/** A branch must be an effect or a generator of effects. */
export function requireBranch(branch: unknown, combinator: string): void {
  if (branch instanceof Effect) return;
  const generator = branch as Partial<Workflow<unknown>> | null;
  if (typeof generator?.next === "function" && typeof generator.throw === "function") return;
  const got = `${combinator} was given a branch that is no effect: ${describe(branch)}`;
  throw new EffectError(got, "give it step calls, other effects, or generators that yield effects");
}

/** What a scope needs of the interpreter. */
export interface Loom {
  /** Put a new fiber at the end of the queue. */
  weave(fiber: Fiber): void;
  /** Cancel a fiber, once. */
  cancelFiber(fiber: Fiber, reason: string): void;
  /** Put a waiting fiber at the end of the queue, with its answer. */
  resume(fiber: Fiber, value: unknown, end: End): void;
}

/** A combinator at work: it starts branches, hears of their ends, and answers its owner. */
export abstract class Scope {
  readonly fibers: Fiber[] = [];
  live = 0;
  closing = false;
  value: unknown = undefined;
  end: End = undefined;
  readonly shields: boolean = false;

  constructor(
    readonly loom: Loom,
    readonly owner: Fiber,
    readonly path: string,
  ) {}

  /** Begin one more branch. */
  start(branch: Branch<unknown>): void {
    const index = this.fibers.length;
    const fiber = new Fiber(`${this.path}/${index}/`, branch, this, index);
    this.fibers.push(fiber);
    this.live++;
    this.loom.weave(fiber);
  }

  /** One branch has ended. */
  ended(fiber: Fiber): void {
    this.live--;
    if (!this.closing) this.settle(fiber);
    if (this.live === 0) this.answer();
  }

  /** What this branch's end means; the policy of the combinator. */
  abstract settle(fiber: Fiber): void;

  /** The answer is known, or nobody wants it: cancel what still runs, in order. */
  close(reason: string): void {
    this.closing = true;
    for (const fiber of this.fibers) {
      if (!fiber.done) this.loom.cancelFiber(fiber, reason);
    }
  }

  /** The last branch has ended: tell the owner. */
  answer(): void {
    const owner = this.owner;
    if (owner.cancel && !owner.delivered && !this.shields) {
      owner.delivered = true;
      this.loom.resume(owner, undefined, { error: owner.cancel });
    } else {
      this.loom.resume(owner, this.value, this.end);
    }
  }
}

/** All branches; `limit` of them at a time. */
export class GatherScope extends Scope {
  readonly #results: unknown[];
  #next = 0;
  #succeeded = 0;
  #failures = 0;
  #first: End = undefined;

  constructor(
    loom: Loom,
    owner: Fiber,
    path: string,
    readonly effect: Gather<unknown>,
  ) {
    super(loom, owner, path);
    this.value = this.#results = new Array<unknown>(effect.branches.length).fill(null);
    this.#fill();
  }

  /** Start branches as far as the limit allows. */
  #fill(): void {
    const { branches, how } = this.effect;
    const limit = how.limit ?? branches.length;
    while (this.#next < branches.length && this.live < limit) this.start(branches[this.#next++] as Branch<unknown>);
  }

  settle(fiber: Fiber): void {
    const { branches, how } = this.effect;
    const { minSuccessful, returnErrors } = how;
    if (fiber.end === undefined) {
      this.#results[fiber.index] = fiber.value;
      this.#succeeded++;
    } else {
      this.#failures++;
      this.#first ??= fiber.end;
      if (returnErrors) this.#results[fiber.index] = fiber.end.error;
    }
    const hopeless =
      minSuccessful === undefined ? this.#failures > 0 && !returnErrors : branches.length - this.#failures < minSuccessful;
    if (hopeless) {
      this.end = this.#first;
      this.close("another branch of gather failed");
    } else if (minSuccessful !== undefined && this.#succeeded >= minSuccessful) {
      this.close("gather has enough results");
    } else {
      this.#fill();
    }
  }
}

/** The first branch that ends well. */
export class RaceScope extends Scope {
  #first: End = undefined;

  constructor(loom: Loom, owner: Fiber, path: string, effect: Race<unknown>) {
    super(loom, owner, path);
    for (const branch of effect.branches) this.start(branch);
  }

  settle(fiber: Fiber): void {
    if (fiber.end === undefined) {
      this.value = [fiber.index, fiber.value];
      this.close("another branch won the race");
    } else {
      this.#first ??= fiber.end;
      if (this.live === 0) this.end = this.#first;
    }
  }
}

/** A branch beside a timer. */
export class TimeoutScope extends Scope {
  constructor(
    loom: Loom,
    owner: Fiber,
    path: string,
    readonly effect: Timeout<unknown>,
  ) {
    super(loom, owner, path);
    this.start(effect.branch);
    this.start(new Sleep(effect.span, 0, "timeout"));
  }

  settle(fiber: Fiber): void {
    if (fiber.index === 0) {
      this.value = fiber.value;
      this.end = fiber.end;
      this.close("the branch has ended");
    } else {
      this.end = { error: new TimedOut("the branch", this.effect.span / SECOND) };
      this.close("the branch took too long");
    }
  }
}

/** One branch that cancellation of its owner does not enter. */
export class ShieldScope extends Scope {
  override readonly shields = true;

  constructor(loom: Loom, owner: Fiber, path: string, branch: Branch<unknown>) {
    super(loom, owner, path);
    this.start(branch);
  }

  settle(fiber: Fiber): void {
    this.value = fiber.value;
    this.end = fiber.end;
  }
}

/** Whether cancelling leaves this command in place until its end is known. */
export function waitsToEnd(command: Command): boolean {
  return command.effect.kind === "step" && command.effect.how.onCancel === "wait";
}
