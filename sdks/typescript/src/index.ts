/** The public names of replay. */

export * from "./errors.js";
export {
  annotate,
  cancel,
  continueAsNew,
  gather,
  info,
  join,
  log,
  now,
  onUpdate,
  patched,
  publish,
  race,
  random,
  savepoint,
  sendSignal,
  setState,
  setTags,
  shield,
  signal,
  sleep,
  spawn,
  startChild,
  timeout,
  uuid,
} from "./authoring/effects.js";
export type { Level, SavepointOptions, SignalOptions, Span, UpdateOptions } from "./authoring/effects.js";
export { resumable, step, workflow } from "./authoring/definitions.js";
export type { Decoded, Schema, StepFunction, WorkflowFunction } from "./authoring/definitions.js";
export { fromText, toText } from "./codec/json.js";
export type { Json } from "./codec/json.js";
export { Effect } from "./model/effects.js";
export type { Branch, Call, ChildHandle, Spawned, Step, StepOptions, RunOptions, Workflow } from "./model/effects.js";
export type { Retry } from "./model/retry.js";
export type { Moment, RunInfo } from "./interpreter/ambient.js";
