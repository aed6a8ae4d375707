/**
 * Every error of replay: one root, three families by who must act, facts as fields.
 *
 * Rule 1: the family says who must act. `WorkflowError`: the author of the workflow or step. `StoreError`: the operator of a server
 * or its store. `RequestError`: the caller of a client.
 * Rule 2: names and messages are those of the Python library, so that a failure reads the same whoever recorded it.
 * Rule 3: an error's fields are its facts, in the order in which its constructor takes them: what a journal keeps of it, and what makes it
 * again.
 */

/** The root of every error that replay raises, but `Cancelled`. */
export class ReplayError extends Error {
  constructor(message: string) {
    super(message);
    Object.defineProperty(this, "name", { value: new.target.name });
  }

  /** The facts, in order. */
  get args(): readonly unknown[] {
    return Object.values(this);
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
  override readonly name = "Cancelled";

  constructor(readonly reason: string = "cancelled") {
    super(reason);
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
    super(`step ${step} failed ${attempts === 1 ? "once" : `${attempts} times`}: ${errorType}: ${reason}`);
    if (traceback) Object.defineProperty(this, "cause", { value: traceback });
  }
}

/** An at-most-once step was begun and its end is unknown: it is not run again; find out what it did. */
export class StepInterrupted extends WorkflowError {
  constructor(readonly step: string) {
    super(
      `step ${step} was begun, then its worker died before the answer was recorded; as it is at_most_once it is ` +
        "not run again: ask the outside world what happened, then go on or compensate",
    );
  }
}

/** A wait, a step, a branch or a run took longer than it was allowed to. */
export class TimedOut extends WorkflowError {
  constructor(readonly what: string, readonly seconds: number) {
    super(`${what} did not end within ${general(seconds)} s`);
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
    super(`child ${run} (${workflow}) ${status}: ${errorType}: ${reason}`);
  }
}

// ---- author: misuse --------------------------------------------------------------------------------------------------------

/** A workflow or step is declared in a way that cannot work. */
export class DefinitionError extends WorkflowError {
  constructor(readonly what: string, readonly problem: string, readonly advice: string) {
    super(`${what}: ${problem}; ${advice}`);
  }
}

/** A workflow yielded something that is no effect, or an effect where it may not stand. */
export class EffectError extends WorkflowError {
  constructor(readonly got: string, readonly advice: string) {
    super(`${got}; ${advice}`);
  }
}

/** A value cannot be spelt as JSON, or does not fit what was declared. */
export class PayloadError extends WorkflowError {
  constructor(readonly where: string, readonly expected: string, readonly got: string, readonly path = "$") {
    super(`${where}${path === "$" ? "" : ` at ${path}`}: expected ${expected}, got ${got}`);
  }
}

/** An encoded value is larger than a journal may hold; keep it elsewhere and pass its name. */
export class PayloadTooLarge extends WorkflowError {
  constructor(readonly where: string, readonly size: number, readonly limit: number) {
    super(
      `${where}: ${size.toLocaleString("en")} bytes encoded, ${limit.toLocaleString("en")} are allowed; ` +
        "store the data elsewhere and pass a reference, or raise maxPayload of the worker",
    );
  }
}

/** The code, driven over its journal, asks for something else than it did when the journal was written. */
export class NonDeterminismError extends WorkflowError {
  constructor(
    readonly run: string,
    readonly seq: number,
    readonly recorded: string,
    readonly asked: string,
    readonly recordedLine = "",
    readonly askedLine = "",
    /** The last events before it, as text, oldest first. */
    readonly before: readonly string[] = [],
  ) {
    const at = (line: string) => (line ? `   (${line})` : "");
    const report = [
      `run ${run} does not fit its journal at event #${seq}`,
      `  recorded:  ${recorded}${at(recordedLine)}`,
      `  now asks:  ${asked}${at(askedLine)}`,
      ...before.map((text) => `  before it: ${text}`),
      "  what to do: restore the old order of effects, guard the new code with `if (yield* patched(name))`, " +
        "or fork the run before this event",
    ];
    super(report.join("\n"));
  }
}

// ---- operator --------------------------------------------------------------------------------------------------------------

/** A server cannot be reached, or its answer was not heard: whether the call took effect is unknown; asking again is right. */
export class StoreUnavailable extends StoreError {
  constructor(readonly store: string, readonly reason: string, readonly advice = "try again, or check that it exists and may be written") {
    super(`store ${store}: ${reason}; ${advice}`);
  }
}

/** A server was reached and does not do this: a missing right, a message too large, another protocol; asking again does not help. */
export class StoreRefused extends StoreError {
  constructor(readonly store: string, readonly reason: string, readonly advice = "look at the server's log") {
    super(`store ${store} refused: ${reason}; ${advice}`);
  }
}

/** A journal cannot be trusted: a gap, a checksum that does not fit, an event of an unknown kind or version. */
export class JournalDamaged extends StoreError {
  constructor(readonly run: string, readonly seq: number, readonly problem: string) {
    super(
      `journal of ${run} is damaged at event #${seq}: ${problem}; it is not replayed: ` +
        "restore it from a backup, or fork the run before this event",
    );
  }
}

// ---- caller ----------------------------------------------------------------------------------------------------------------

/** There is no run of that id in that namespace. */
export class UnknownRun extends RequestError {
  constructor(readonly run: string, readonly namespace = "default") {
    super(`no run '${run}' in namespace '${namespace}'; \`replay list\` shows what there is`);
  }
}

/** A workflow, savepoint, update or event of that name is not known here. */
export class UnknownName extends RequestError {
  constructor(readonly what: string, readonly asked: string, readonly known: readonly string[] = []) {
    super(`no ${what} '${asked}'; known: ${known.join(", ") || "none"}`);
  }
}

/** The id is taken by a run of another workflow or with other input. */
export class RunExists extends RequestError {
  constructor(readonly run: string, readonly existing: string, readonly asked: string) {
    super(
      `run '${run}' exists as ${existing}, asked was ${asked}: starting is idempotent only for the same workflow and input; ` +
        "choose another id",
    );
  }
}

/** The run has ended and takes no more messages. */
export class RunClosed extends RequestError {
  constructor(readonly run: string, readonly status: string) {
    super(`run '${run}' is ${status} and takes no more messages`);
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
    super(`run ${run} ${status}: ${errorType}: ${reason}`);
  }
}

/** The workflow's validator refused an update, or nothing handles it; the journal holds no trace of it. */
export class UpdateRefused extends RequestError {
  constructor(readonly run: string, readonly update: string, readonly reason: string) {
    super(`run ${run} refused update '${update}': ${reason}`);
  }
}

/** An argument of a call does not fit. */
export class InvalidRequest extends RequestError {
  constructor(readonly what: string, readonly problem: string, readonly advice = "") {
    super(`${what}: ${problem}${advice ? `; ${advice}` : ""}`);
  }
}

/** The caller's patience ended before the run did; the run goes on. */
export class WaitTimedOut extends RequestError {
  constructor(readonly run: string, readonly seconds: number, readonly status: string) {
    super(`run ${run} is still ${status} after ${general(seconds)} s; it goes on, ask again later`);
  }
}

/** A number as C's `%g` prints it: six digits, no needless zeros. */
export function general(value: number): string {
  const [digits = "", exponent = "0"] = value.toExponential(5).split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(value.toFixed(5 - power)));
  return `${Number(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
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
  return `${kind} ${text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text}`;
}
