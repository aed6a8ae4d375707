/**
 * Every error of replay: one root, three families by who must act, facts as fields.
 *
 * Rule 1: the family says who must act. `WorkflowError`: the author of the workflow or step. `StoreError`: the operator of a server
 * or its store. `RequestError`: the caller of a client.
 * Rule 2: names and messages are those of the Python library, so that a failure reads the same whoever recorded it.
 * Rule 3: `args` holds the facts in order: what a journal keeps of an error, and what makes it again.
 */

/** The root of every error that replay raises, but `Cancelled`. */
export class ReplayError extends Error {
  /** The facts, in the order in which the constructor takes them. */
  declare readonly args: readonly unknown[];

  constructor(message: string, args: readonly unknown[]) {
    super(message);
    Object.defineProperty(this, "args", { value: args }); // not shown beside the facts themselves
    this.name = new.target.name;
  }
}

/** The author must act: a workflow or a step did what cannot be made durable, or an effect failed. */
export class WorkflowError extends ReplayError {}

/** The operator must act: a server or store cannot be reached, refuses, or is damaged. */
export class StoreError extends ReplayError {}

/** The caller must act: a client asked for something that does not exist or does not fit. */
export class RequestError extends ReplayError {}

// ---- author: what an effect can answer with --------------------------------------------------------------------------------

/**
 * Thrown at the current yield of a fiber that is cancelled: clean up, then let it pass.
 *
 * JavaScript has one kind of `catch`: where failures are caught to go on, throw this again (`if (error instanceof Cancelled) throw error`).
 */
export class Cancelled extends Error {
  constructor(readonly reason: string = "cancelled") {
    super(reason);
    this.name = "Cancelled";
  }
}

/** A step gave up: its last attempt failed and its retry policy allows no other. */
export class StepFailed extends WorkflowError {
  constructor(
    readonly step: string,
    readonly errorType: string,
    readonly reason: string,
    readonly attempts = 1,
    readonly traceback = "",
  ) {
    super(`step ${step} failed ${attempts === 1 ? "once" : `${attempts} times`}: ${errorType}: ${reason}`, [
      step,
      errorType,
      reason,
      attempts,
      traceback,
    ]);
  }
}

/** An at-most-once step was begun and its end is unknown: it is not run again; find out what it did. */
export class StepInterrupted extends WorkflowError {
  constructor(readonly step: string) {
    super(
      `step ${step} was begun, then its worker died before the answer was recorded; as it is at_most_once it is ` +
        "not run again: ask the outside world what happened, then go on or compensate",
      [step],
    );
  }
}

/** A wait, a step, a branch or a run took longer than it was allowed to. */
export class TimedOut extends WorkflowError {
  constructor(
    readonly what: string,
    readonly seconds: number,
  ) {
    super(`${what} did not end within ${general(seconds)} s`, [what, seconds]);
  }
}

/** A child run ended without a result. */
export class ChildFailed extends WorkflowError {
  constructor(
    readonly run: string,
    readonly workflow: string,
    readonly errorType: string,
    readonly reason: string,
    readonly status = "failed",
  ) {
    super(`child ${run} (${workflow}) ${status}: ${errorType}: ${reason}`, [run, workflow, errorType, reason, status]);
  }
}

// ---- author: misuse --------------------------------------------------------------------------------------------------------

/** A workflow or step is declared in a way that cannot work. */
export class DefinitionError extends WorkflowError {
  constructor(
    readonly what: string,
    readonly problem: string,
    readonly advice: string,
  ) {
    super(`${what}: ${problem}; ${advice}`, [what, problem, advice]);
  }
}

/** A workflow yielded something that is no effect, or an effect where it may not stand. */
export class EffectError extends WorkflowError {
  constructor(
    readonly got: string,
    readonly advice: string,
  ) {
    super(`${got}; ${advice}`, [got, advice]);
  }
}

/** A value cannot be spelt as JSON, or does not fit what was declared. */
export class PayloadError extends WorkflowError {
  constructor(
    readonly where: string,
    readonly expected: string,
    readonly got: string,
    readonly path = "$",
  ) {
    super(`${where}${path === "$" ? "" : ` at ${path}`}: expected ${expected}, got ${got}`, [where, expected, got, path]);
  }
}

/** An encoded value is larger than a journal may hold; keep it elsewhere and pass its name. */
export class PayloadTooLarge extends WorkflowError {
  constructor(
    readonly where: string,
    readonly size: number,
    readonly limit: number,
  ) {
    super(
      `${where}: ${size.toLocaleString("en")} bytes encoded, ${limit.toLocaleString("en")} are allowed; ` +
        "store the data elsewhere and pass a reference, or raise maxPayload of the worker",
      [where, size, limit],
    );
  }
}

/** The code, driven over its journal, asks for something else than it did when the journal was written. */
export class NonDeterminismError extends WorkflowError {
  /** The last events before it, as text, oldest first. */
  before: readonly string[] = [];

  constructor(
    readonly run: string,
    readonly seq: number,
    readonly recorded: string,
    readonly asked: string,
    readonly recordedLine = "",
    readonly askedLine = "",
  ) {
    super("", [run, seq, recorded, asked, recordedLine, askedLine]);
    Object.defineProperty(this, "message", { get: () => this.#report() });
  }

  #report(): string {
    const at = (line: string) => (line ? `   (${line})` : "");
    return [
      `run ${this.run} does not fit its journal at event #${this.seq}`,
      `  recorded:  ${this.recorded}${at(this.recordedLine)}`,
      `  now asks:  ${this.asked}${at(this.askedLine)}`,
      ...this.before.map((text) => `  before it: ${text}`),
      "  what to do: restore the old order of effects, guard the new code with `if (yield* patched(name))`, " +
        "or fork the run before this event",
    ].join("\n");
  }
}

// ---- operator --------------------------------------------------------------------------------------------------------------

/** A server cannot be reached, or its answer was not heard: whether the call took effect is unknown; asking again is right. */
export class StoreUnavailable extends StoreError {
  constructor(
    readonly store: string,
    readonly reason: string,
    readonly advice = "try again, or check that it exists and may be written",
  ) {
    super(`store ${store}: ${reason}; ${advice}`, [store, reason, advice]);
  }
}

/** A server was reached and does not do this: a missing right, a message too large, another protocol; asking again does not help. */
export class StoreRefused extends StoreError {
  constructor(
    readonly store: string,
    readonly reason: string,
    readonly advice = "look at the server's log",
  ) {
    super(`store ${store} refused: ${reason}; ${advice}`, [store, reason, advice]);
  }
}

/** A journal cannot be trusted: a gap, a checksum that does not fit, an event of an unknown kind or version. */
export class JournalDamaged extends StoreError {
  constructor(
    readonly run: string,
    readonly seq: number,
    readonly problem: string,
  ) {
    super(
      `journal of ${run} is damaged at event #${seq}: ${problem}; it is not replayed: ` +
        "restore it from a backup, or fork the run before this event",
      [run, seq, problem],
    );
  }
}

// ---- caller ----------------------------------------------------------------------------------------------------------------

/** There is no run of that id in that namespace. */
export class UnknownRun extends RequestError {
  constructor(
    readonly run: string,
    readonly namespace = "default",
  ) {
    super(`no run '${run}' in namespace '${namespace}'; \`replay list\` shows what there is`, [run, namespace]);
  }
}

/** A workflow, savepoint, update or event of that name is not known here. */
export class UnknownName extends RequestError {
  constructor(
    readonly what: string,
    readonly asked: string,
    readonly known: readonly string[] = [],
  ) {
    super(`no ${what} '${asked}'; known: ${known.join(", ") || "none"}`, [what, asked, known]);
  }
}

/** The id is taken by a run of another workflow or with other input. */
export class RunExists extends RequestError {
  constructor(
    readonly run: string,
    readonly existing: string,
    readonly asked: string,
  ) {
    super(
      `run '${run}' exists as ${existing}, asked was ${asked}: starting is idempotent only for the same workflow and input; ` +
        "choose another id",
      [run, existing, asked],
    );
  }
}

/** The run has ended and takes no more messages. */
export class RunClosed extends RequestError {
  constructor(
    readonly run: string,
    readonly status: string,
  ) {
    super(`run '${run}' is ${status} and takes no more messages`, [run, status]);
  }
}

/** A run has no result: it failed, was cancelled or terminated, or is stuck. */
export class RunFailed extends RequestError {
  constructor(
    readonly run: string,
    readonly status: string,
    readonly errorType: string,
    readonly reason: string,
    readonly traceback = "",
  ) {
    super(`run ${run} ${status}: ${errorType}: ${reason}`, [run, status, errorType, reason, traceback]);
  }
}

/** The workflow's validator refused an update, or nothing handles it; the journal holds no trace of it. */
export class UpdateRefused extends RequestError {
  constructor(
    readonly run: string,
    readonly update: string,
    readonly reason: string,
  ) {
    super(`run ${run} refused update '${update}': ${reason}`, [run, update, reason]);
  }
}

/** An argument of a call does not fit. */
export class InvalidRequest extends RequestError {
  constructor(
    readonly what: string,
    readonly problem: string,
    readonly advice = "",
  ) {
    super(`${what}: ${problem}${advice ? `; ${advice}` : ""}`, [what, problem, advice]);
  }
}

/** The caller's patience ended before the run did; the run goes on. */
export class WaitTimedOut extends RequestError {
  constructor(
    readonly run: string,
    readonly seconds: number,
    readonly status: string,
  ) {
    super(`run ${run} is still ${status} after ${general(seconds)} s; it goes on, ask again later`, [run, seconds, status]);
  }
}

/** A number as C's `%g` prints it: six digits, no needless zeros. */
export function general(value: number): string {
  if (value === 0) return "0";
  const [digits = "", power = "0"] = value.toExponential(5).split("e");
  const exponent = Number(power);
  const trimmed = digits.replace(/\.?0+$/, "");
  if (exponent >= -4 && exponent < 6) return value.toFixed(5 - exponent).replace(/\.?0+$/, "");
  return `${trimmed}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** Show a value in an error: its type and a bounded text; what cannot be shown is named, not thrown. */
export function describe(value: unknown, limit = 200): string {
  const kind = value === null || typeof value !== "object" ? typeof value : (value.constructor?.name ?? "object");
  let text: string;
  try {
    text = typeof value === "function" ? value.name || "(anonymous)" : (JSON.stringify(value) ?? String(value));
  } catch (error) {
    text = `<unprintable: ${error instanceof Error ? error.name : typeof error}>`;
  }
  const cut = text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text;
  return `${kind} ${cut}`;
}
