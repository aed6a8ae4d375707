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
import { Effect, type AnyEffect, type Asked, type Branch, type Workflow } from "../model/effects.js";
import { SECOND } from "../model/records.js";
import type { Interpreter } from "./interpreter.js";

/** How often a generator is closed that yields while it is closed. */
const CLOSINGS = 2_000;

/** An effect as issued: what the world is asked to answer. */
export class Command {
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
    /** Moment at which its timer fires, microseconds. */
    readonly due?: number,
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
    /** Who hears of its end. */
    readonly scope: { readonly owner: Fiber; ended(fiber: Fiber): void } | undefined = undefined,
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

export function isGenerator(value: unknown): value is Workflow<unknown> {
  const generator = value as Partial<Workflow<unknown>> | null | undefined;
  return typeof generator?.next === "function" && typeof generator.throw === "function";
}

/** A branch must be an effect or a generator of effects. */
export function requireBranch(branch: unknown, combinator: string): void {
  if (branch instanceof Effect || isGenerator(branch)) return;
  const got = `${combinator} was given a branch that is no effect: ${describe(branch)}`;
  throw new EffectError(got, "give it step calls, other effects, or generators that yield effects");
}

/** What a scope needs of the interpreter. */
type Loom = Pick<Interpreter, "weave" | "cancelFiber" | "resume">;

/** A combinator at work: it starts branches, hears of their ends, and answers its owner. */
export class Scope {
  readonly fibers: Fiber[] = [];
  live = 0;
  succeeded = 0;
  /** The first failure of a branch. */
  failed: End = undefined;
  closing = false;
  value: unknown = undefined;
  end: End = undefined;

  constructor(
    readonly loom: Loom,
    readonly owner: Fiber,
    readonly path: string,
    readonly effect: Combinator,
    readonly branches: readonly Branch<unknown>[],
  ) {
    if (effect.kind === "gather") this.value = new Array<unknown>(branches.length).fill(null);
    this.fill(effect.kind === "gather" ? effect.of.how.limit : undefined);
  }

  /** Start branches as far as the limit allows. */
  fill(limit = Infinity): void {
    for (let index = this.fibers.length; index < this.branches.length && this.live < limit; index++) {
      const fiber = new Fiber(`${this.path}/${index}/`, this.branches[index] as Branch<unknown>, this, index);
      this.fibers.push(fiber);
      this.live++;
      this.loom.weave(fiber);
    }
  }

  /** One branch has ended. */
  ended(fiber: Fiber): void {
    this.live--;
    if (fiber.end === undefined) this.succeeded++;
    else this.failed ??= fiber.end;
    if (!this.closing) (SETTLE[this.effect.kind] as Settle<Combinator>)(this, fiber, this.effect);
    if (this.live === 0) this.#answer();
  }

  /** The answer is known, or nobody wants it: cancel what still runs, in order. */
  close(reason: string): void {
    this.closing = true;
    for (const fiber of this.fibers) {
      if (!fiber.done) this.loom.cancelFiber(fiber, reason);
    }
  }

  /** The last branch has ended: tell the owner. */
  #answer(): void {
    const { owner } = this;
    if (owner.cancel && !owner.delivered && this.effect.kind !== "shield") {
      owner.delivered = true;
      this.loom.resume(owner, undefined, { error: owner.cancel });
    } else {
      this.loom.resume(owner, this.value, this.end);
    }
  }
}

/** An effect that waits for branches. */
export type Combinator = Extract<AnyEffect, { kind: "gather" | "race" | "timeout" | "shield" }>;
type Settle<C> = (scope: Scope, fiber: Fiber, effect: C) => void;

/** What the end of a branch means to each combinator. */
const SETTLE: { readonly [K in Combinator["kind"]]: Settle<Extract<Combinator, { kind: K }>> } = {
  gather(scope, { index, value, end }, { of: { how } }) {
    const { limit, minSuccessful, returnErrors } = how;
    const results = scope.value as unknown[];
    if (end === undefined) results[index] = value;
    else if (returnErrors) results[index] = end.error;
    const failures = scope.fibers.length - scope.live - scope.succeeded;
    const hopeless = minSuccessful === undefined ? failures > 0 && !returnErrors : scope.branches.length - failures < minSuccessful;
    if (hopeless) {
      scope.end = scope.failed;
      scope.close("another branch of gather failed");
    } else if (minSuccessful !== undefined && scope.succeeded >= minSuccessful) {
      scope.close("gather has enough results");
    } else {
      scope.fill(limit);
    }
  },

  race(scope, { index, value, end }) {
    if (end === undefined) {
      scope.value = [index, value];
      scope.close("another branch won the race");
    } else if (scope.live === 0) {
      scope.end = scope.failed;
    }
  },

  /** The second branch is the timer. */
  timeout(scope, { index, value, end }, { of: { span } }) {
    scope.value = value;
    scope.end = index === 0 ? end : { error: new TimedOut("the branch", span / SECOND) };
    scope.close(index === 0 ? "the branch has ended" : "the branch took too long");
  },

  shield(scope, { value, end }) {
    scope.value = value;
    scope.end = end;
  },
};

/** Whether cancelling leaves this command in place until its end is known. */
export function waitsToEnd(command: Command): boolean {
  return command.effect.kind === "step" && command.effect.how.onCancel === "wait";
}
