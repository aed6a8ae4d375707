/**
 * What each effect does when it is yielded: one row per effect, each a straight line.
 *
 * A row answers at once with a value, or says `WAIT` after it has put the fiber where its answer will find it. What it throws is thrown at
 * the yield.
 */

import { fromText, toText, type Json } from "../codec/json.js";
import { DefinitionError, EffectError, TimedOut, describe } from "../errors.js";
import { Ask, Call, ChildHandle, Effect, Request, Spawned, readBy, type AnyEffect, type Branch, type Step } from "../model/effects.js";
import { resumeText } from "../model/journal.js";
import { SECOND } from "../model/records.js";
import { Moment, type RunInfo } from "./ambient.js";
import { Fiber, Scope, closeGenerator, requireBranch, type Combinator } from "./fibers.js";
import type { Interpreter } from "./interpreter.js";

/** The fiber waits; an event or another fiber will resume it. */
export const WAIT = Symbol("wait");

type Of<K extends AnyEffect["kind"]> = Extract<AnyEffect, { kind: K }>;
type Row<K extends AnyEffect["kind"]> = (run: Interpreter, fiber: Fiber, effect: Of<K>) => unknown;
type AnyRow = (run: Interpreter, fiber: Fiber, effect: AnyEffect) => unknown;

const ROWS: { readonly [K in AnyEffect["kind"]]: Row<K> } = {
  step: (run, fiber, effect) => run.issue(fiber, effect),
  child: (run, fiber, effect) => run.issue(fiber, effect),
  sleep: (run, fiber, effect) => run.issue(fiber, effect, effect.of.until ?? run.clock + (effect.of.span ?? 0)),

  signal(run, fiber, effect) {
    const letters = run.mail.get(effect.name);
    const text = letters?.shift();
    if (letters === undefined || text === undefined) {
      return run.issue(fiber, effect, effect.of.span === undefined ? undefined : run.clock + effect.of.span);
    }
    fiber.nextCommand();
    if (letters.length === 0) run.mail.delete(effect.name);
    return readSignal(effect, fromText(text));
  },

  savepoint(run, fiber, effect) {
    if (effect.of.state === undefined) return run.issue(fiber, effect);
    if (fiber !== run.root || run.pending.size > 0 || run.beside.size > 0) {
      const got = `savepoint '${effect.name}' with state while something else is in flight`;
      throw new EffectError(got, "take it in the root fiber, with nothing pending and no spawned fiber alive; or leave state out");
    }
    if (!run.spec.takesState) {
      const problem = "a savepoint has state, but the workflow cannot be begun again with it";
      throw new DefinitionError(`workflow ${run.spec.name}`, problem, "declare it with resumable(…), whose first parameter is the state");
    }
    return run.issue(fiber, effect);
  },

  gather: (run, fiber, effect) => (effect.of.branches.length > 0 ? scope(run, fiber, effect, effect.of.branches) : (fiber.nextCommand(), [])),
  race(run, fiber, effect) {
    if (effect.of.branches.length > 0) return scope(run, fiber, effect, effect.of.branches);
    fiber.nextCommand();
    throw new EffectError("race was given no branch", "give it at least one");
  },
  timeout: (run, fiber, effect) =>
    scope(run, fiber, effect, [effect.of.branch, new Request("sleep", "timeout", { span: effect.of.span })]),
  shield: (run, fiber, effect) => scope(run, fiber, effect, [effect.of.branch]),

  spawn(run, fiber, { of: { branch } }) {
    requireBranch(branch, "spawn");
    const path = `${fiber.nextCommand()}/0`;
    const spawned = new Fiber(`${path}/`, branch);
    run.weave(spawned);
    run.runBeside(spawned);
    return new Spawned(path, spawned);
  },

  /** A fiber of one command, begun at once, so that the child is asked for even when its parent ends in the same breath. */
  start_child(run, fiber, { of: { call } }) {
    const path = `${fiber.nextCommand()}/0`;
    const spawned = new Fiber(`${path}/`, call);
    spawned.begin().next();
    run.issue(spawned, call);
    run.runBeside(spawned);
    return new ChildHandle(path, spawned, childId(run, `${path}/0`, call));
  },

  join(_run, fiber, { of: { handle } }) {
    const target = fiberOf(handle, "join");
    if (target === fiber) throw new EffectError("a fiber joins itself", "it would wait for ever");
    if (target.done) {
      if (target.end !== undefined) throw target.end.error;
      return target.value;
    }
    if (waitsFor(target, fiber)) {
      throw new EffectError("fibers join each other in a ring", "none of them could ever end; let one of them go on without the others");
    }
    (target.joiners ??= new Set()).add(fiber);
    fiber.waits = target;
    return WAIT;
  },

  cancel: (run, _fiber, { of: { handle, reason } }) => run.cancelFiber(fiberOf(handle, "cancel"), reason),

  ambient: (run, fiber, effect) => AMBIENT[effect.name]?.(run, fiber),

  patched(run, _fiber, effect) {
    if (!run.spec.patches.has(effect.name)) {
      const got = `patched('${effect.name}') is not declared by workflow ${run.spec.name}`;
      throw new EffectError(got, `declare it: { patches: ["${effect.name}"] }`);
    }
    return run.patches.has(effect.name);
  },

  on_update: (run, _fiber, effect) => void run.updates.set(effect.name, effect),

  on_query: (run, _fiber, effect) => void run.queries.set(effect.name, effect),

  continue_as_new(run, fiber, effect) {
    if (fiber !== run.root) {
      throw new EffectError("continue_as_new in a branch", "yield it in the workflow's own body, after its branches ended");
    }
    if (fiber.cancel !== undefined && !fiber.delivered) return WAIT;
    const { next } = effect.of;
    const call = next instanceof Call ? next : run.spec.call(next);
    fiber.done = true;
    if (fiber.generator !== undefined) closeGenerator(fiber.generator);
    const payload = `{"input":${call.payload},"workflow":${toText(call.name)}}`;
    run.closeRun({ kind: "continued", payload, call });
    return WAIT;
  },

  output: (run, fiber, effect) => void run.outputs.push([`${fiber.path}o${fiber.outs++}`, effect]),
};

const AMBIENT: Readonly<Record<string, (run: Interpreter, fiber: Fiber) => unknown>> = {
  now: (run) => new Moment(run.clock),
  random: (run, fiber) => run.chance.random(fiber.path),
  uuid: (run, fiber) => run.chance.uuid(fiber.path),
  info({ run, seq, started }): RunInfo {
    const { workflow, version, namespace, attempt, parent, deadline, chain } = started;
    const moment = deadline === undefined ? null : new Moment(deadline);
    return { runId: run, workflow, version, namespace, attempt, parent, journalLength: seq, deadline: moment, chain };
  },
};

/** What came out of a generator, carried out: a value, or `WAIT`. */
export function carryOut(run: Interpreter, fiber: Fiber, yielded: unknown): unknown {
  if (!(yielded instanceof Ask)) throw noEffect(yielded);
  return (ROWS[yielded.effect.kind] as AnyRow)(run, fiber, yielded.effect);
}

function scope(run: Interpreter, fiber: Fiber, effect: Combinator, branches: readonly Branch<unknown>[]): symbol {
  for (const branch of branches) requireBranch(branch, effect.name);
  fiber.waits = new Scope(run, fiber, fiber.nextCommand(), effect, branches);
  return WAIT;
}

/** A message's value, as the wait for it wants it. */
export function readSignal({ name, of }: Request<"signal">, value: Json): unknown {
  return readBy(of.reader, value, `signal '${name}'`);
}

/** The answer when nothing came in time. */
export function signalTimedOut({ name, of: { fallback, span = 0 } }: Request<"signal">): unknown {
  if (fallback === undefined) throw new TimedOut(`signal ${name}`, span / SECOND);
  return fallback.value;
}

/** Whether a fiber cannot end before another one has: it joins it, gathers it, or waits so for one that does. */
function waitsFor(target: Fiber, fiber: Fiber): boolean {
  const met = new Set<Fiber>();
  const waiting = [target];
  for (let here = waiting.pop(); here !== undefined; here = waiting.pop()) {
    if (here === fiber) return true;
    if (met.has(here)) continue;
    met.add(here);
    const { waits } = here;
    if (waits instanceof Fiber) waiting.push(waits);
    else if (waits instanceof Scope && (waits.effect.kind === "gather" || waits.effect.kind === "shield")) {
      waiting.push(...waits.fibers.filter((branch) => !branch.done)); // a race would free the others
    }
  }
  return false;
}

function fiberOf(handle: unknown, what: string): Fiber {
  if (handle instanceof Spawned && handle.fiber instanceof Fiber) return handle.fiber;
  throw new EffectError(`${what} was given ${describe(handle)}`, "give it what `yield* spawn(…)` answered");
}

/** What the event of a pending savepoint holds: its notes, and with state all that recovery needs. */
export function savepointText(run: Interpreter, fiber: Fiber, { of: { state, notes } }: Request<"savepoint">): string {
  if (state === undefined) return `{"notes":${notes}}`;
  return resumeText({
    state,
    next: fiber.commands,
    outs: fiber.outs,
    updates: run.updated,
    patches: [...run.spec.patches].sort(),
    mail: run.unread(),
    notes: fromText(notes),
  });
}

/** A name for what a command brings about, the same in every replay and in no other journal of this run: `run.3/0/1`. */
export function position(run: Interpreter, command: string, mark: string): string {
  const chain = run.started.chain;
  return `${run.run}${chain ? `~${chain}` : ""}${mark}${command}`;
}

/** A child's id: the one it was given, or its parent's and its command's; position is identity. */
export function childId(run: Interpreter, command: string, call: Call<unknown> | Step<unknown>): string {
  return call.how.id || position(run, command, ".");
}

function noEffect(got: unknown): EffectError {
  const [, advice] = ADVICE.find(([fits]) => fits(got)) ?? [undefined, "yield* what a step, a workflow or a function of replay returns"];
  return new EffectError(`a workflow yielded ${describe(got)}, which is no effect`, advice);
}

const ADVICE: readonly (readonly [(got: unknown) => boolean, string])[] = [
  [(got) => got instanceof Effect, "write the star: `yield* effect`"],
  [(got) => got instanceof Promise, "make the async function a step and `yield*` its call"],
  [(got) => typeof (got as Iterator<unknown> | null)?.next === "function", "write `yield* helper(…)` for a generator of effects"],
  [Array.isArray, "write `yield* gather([a, b, …])` for several effects"],
  [(got) => got === undefined || got === null, "a bare `yield` waits for nothing; leave it out, or `yield* sleep(0)`"],
  [(got) => got instanceof Spawned, "write `yield* join(handle)`"],
  [(got) => typeof got === "function", "call it: a step or workflow is called to make an effect"],
];
