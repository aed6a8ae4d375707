/** The public names of replay. */

export * from "./errors.js";
export * from "./authoring/effects.js";
export { resumable, step, workflow, type Decoded, type Schema, type StepFunction, type WorkflowFunction } from "./authoring/definitions.js";
export { fromBytes, fromText, toText, type Json } from "./codec/json.js";
export { Effect, type Branch, type Call, type ChildHandle, type RunOptions, type Spawned, type Step } from "./model/effects.js";
export type { StepOptions, Workflow } from "./model/effects.js";
export type { Event, Span, Status } from "./model/records.js";
export type { Retry } from "./model/retry.js";
export type { Moment, RunInfo } from "./interpreter/ambient.js";
export { Client, Handle } from "./client/client.js";
export type { ClientOptions, FollowOptions, ForkOptions, RunFilter, RunView, SavepointInfo, StartOptions, TopicEntry } from "./client/client.js";
export { Worker } from "./worker/worker.js";
export type { Queue, WorkerOptions } from "./worker/settings.js";
export { jsonLogger, type Level, type Logger } from "./worker/logger.js";
export { stepInfo, type StepInfo } from "./worker/steps.js";
