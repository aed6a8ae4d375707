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
export { fromBytes, fromText, toText } from "./codec/json.js";
export type { Json } from "./codec/json.js";
export { Effect } from "./model/effects.js";
export type { Branch, Call, ChildHandle, Spawned, Step, StepOptions, RunOptions, Workflow } from "./model/effects.js";
export type { Retry } from "./model/retry.js";
export type { Moment, RunInfo } from "./interpreter/ambient.js";
export { Client, Handle } from "./client/client.js";
export type { ClientOptions, FollowOptions, RunFilter, RunView, SavepointInfo, StartOptions, TopicEntry } from "./client/client.js";
export { Worker } from "./worker/worker.js";
export type { WorkerOptions } from "./worker/settings.js";
export { jsonLogger } from "./worker/logger.js";
export type { Logger } from "./worker/logger.js";
export { stepInfo } from "./worker/steps.js";
export type { StepInfo } from "./worker/steps.js";
export type { Event, Status } from "./model/records.js";
