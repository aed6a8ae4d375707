/**
 * One attempt of one step: call the author's function, and bring a fact back, whatever happens.
 *
 * This is the border where anything may be thrown: it becomes a failure, bounded and plain.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { toText } from "../codec/json.js";
import { Cancelled, PayloadTooLarge, TimedOut } from "../errors.js";
import type { Command } from "../interpreter/fibers.js";
import type { Step, StepSpec } from "../model/effects.js";
import { micros } from "../model/records.js";
import type { Live } from "./live.js";

/** Characters of one step's progress at most. */
const PROGRESS_LIMIT = 64 * 1024;

/** What a step's body may know of itself. */
export class StepInfo {
  #controller: AbortController | undefined;
  #reason: Error | undefined;

  constructor(
    readonly runId: string,
    readonly workflow: string,
    readonly step: string,
    readonly command: string,
    /** From 1. */
    readonly attempt: number,
    /** What a step sends outside, so that twice is once: the same in every attempt and after every crash. */
    readonly idempotencyKey: string,
    /** What its last heartbeat told, in this attempt or the one before, on whichever worker; undefined before the first. */
    public progress: any,
    /** @internal */
    readonly told: (progress: string) => void,
  ) {}

  /** Tell how far it has come: about once a second that is saved, and the next attempt reads it. Throws when nobody wants it any more. */
  heartbeat(progress: unknown): void {
    if (this.#reason !== undefined) throw this.#reason;
    const where = `progress of step ${this.step}`;
    const text = toText(progress, where);
    if (text.length > PROGRESS_LIMIT) throw new PayloadTooLarge(where, text.length, PROGRESS_LIMIT);
    this.progress = progress;
    this.told(text);
  }

  /** Aborted when nobody wants the answer any more: it was cancelled, took too long, or its worker lost the run. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    return this.#controller.signal;
  }

  /** Whether the answer is not wanted any more, or its end is merely awaited. */
  get cancelled(): boolean {
    return this.#reason !== undefined;
  }

  /** @internal */
  abort(reason: Error): void {
    this.#reason ??= reason;
    this.#controller?.abort(reason);
  }
}

const CURRENT = new AsyncLocalStorage<StepInfo>();

/** What the step that is running may know of itself. */
export function stepInfo(): StepInfo {
  const info = CURRENT.getStore();
  if (info === undefined) throw new Error("stepInfo() is for the body of a step while a worker runs it");
  return info;
}

/** How a step is done: the author's function, or the test kit's stub of it. */
export type Perform = (spec: StepSpec, input: string) => unknown;

/** What became of an attempt: the result's text, or an error. */
export type Done = { readonly text: string } | { readonly error: unknown };

/** One attempt that is under way. */
export class Attempt {
  readonly effect: Step<unknown>;
  /** Moments by the store's clock: its beginning, and its last heartbeat. */
  heardAt: number;

  /** `report` hears of the body's end, in any case, once. */
  constructor(
    readonly live: Live,
    readonly command: Command,
    readonly info: StepInfo,
    readonly begunAt: number,
    readonly report: (done: Done, microseconds: number) => void,
  ) {
    this.effect = command.effect as Step<unknown>;
    this.heardAt = begunAt;
  }

  /** When it will have taken too long or been silent for too long, and what is said of it then. */
  get limit(): { moment: number; error: TimedOut } | undefined {
    const { name, how } = this.effect;
    const { timeout = Infinity, heartbeat = Infinity } = how;
    const [late, silent] = [this.begunAt + micros(timeout), this.heardAt + micros(heartbeat)];
    if (silent < late) return { moment: silent, error: new TimedOut(`the silence of step ${name}`, heartbeat) };
    return late < Infinity ? { moment: late, error: new TimedOut(`step ${name}`, timeout) } : undefined;
  }

  /** Have it done: what answers at once is reported at once, what is promised later. */
  begin(perform: Perform): void {
    const began = performance.now();
    const tell = (done: Done) => this.report(done, Math.round((performance.now() - began) * 1000));
    const fail = (error: unknown) => tell({ error });
    const spell = (value: unknown) => {
      let done: Done;
      try {
        done = { text: this.effect.spec.encodeResult(value) };
      } catch (error) {
        done = { error };
      }
      tell(done);
    };
    let value: unknown;
    try {
      value = CURRENT.run(this.info, perform, this.effect.spec, this.effect.payload);
    } catch (error) {
      return fail(error);
    }
    const promise = value as Partial<PromiseLike<unknown>> | null | undefined;
    if (typeof promise?.then === "function") void promise.then(spell, fail);
    else spell(value);
  }

  /** Whether its run waits for its end. */
  get wanted(): boolean {
    return this.live.tasks.get(this.command.id) === this;
  }

  /** Nobody wants the answer, or its end is merely awaited: the step sees it in its signal. */
  abort(reason: Error = new Cancelled("no longer wanted")): void {
    CURRENT.run(this.info, () => this.info.abort(reason)); // listeners may ask for stepInfo(), too
  }
}
