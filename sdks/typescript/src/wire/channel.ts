/**
 * One server: calls with deadlines, retries where repeating is right, and errors as themselves.
 *
 * Rule 1: the trailer `replay-error-bin` says which error was raised at the store; only classes in a table are made of it.
 * Rule 2: an answer that was not heard leaves the outcome unknown: `StoreUnavailable`. Verbs that are idempotent by ids are asked again,
 * with back-off, until their deadline; so a server that is killed and started again is a pause and no failure.
 * Rule 3: what the server refused is refused: asking again does not help; nor does it where TLS does not fit.
 */

import { readFileSync } from "node:fs";
import type { SecureContextOptions } from "node:tls";
import * as errors from "../errors.js";
import { InvalidRequest, StoreRefused, StoreUnavailable } from "../errors.js";
import { ClientServiceDefinition } from "../generated/client.js";
import { ErrorDetail } from "../generated/types.js";
import { WorkerServiceDefinition } from "../generated/worker.js";
import { Connection, DEADLINE_EXCEEDED, methodsOf, type Broken, type Call, type Method } from "./http2.js";

/** What can be asked of a server. */
export const VERBS = { ...methodsOf(ClientServiceDefinition), ...methodsOf(WorkerServiceDefinition) };
/** What a client says of itself in `hello`. */
export const HELLO = { protocol: 1, client: "typescript/0.1.0" };
/** Seconds that a call may take. */
export const DEADLINE = 30;
/** Milliseconds before a call is asked again: the first time, and at most. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [50, 1_000];
const PLAIN_ADVICE = "write grpc://host:port?token=…";

export interface CallOptions {
  /** Seconds, all tries together. */
  readonly deadline?: number;
  /** Whether it may be asked again when its answer was not heard; default true. */
  readonly retry?: boolean;
  /** Ends the call, and the asking. */
  readonly signal?: AbortSignal;
  /** Told when it is asked again: from then on it may have taken effect before. */
  readonly onRetry?: () => void;
}

export class Channel {
  /** The server's URL, without the token. */
  readonly url: string;
  readonly #address: string;
  readonly #tls: SecureContextOptions;
  readonly #headers: Record<string, string> = {};
  readonly #largest: number;
  #connection: Connection | undefined;
  #closed = false;

  /** `grpc://host:port` or `grpcs://host:port`; options `token`, `max_message`, and for grpcs the files `ca`, `cert`, `key`. */
  constructor(url: string) {
    const plain = url.split("?")[0] ?? "";
    if (!URL.canParse(url)) throw new InvalidRequest(`URL ${plain}`, "it is no URL", PLAIN_ADVICE);
    const { protocol, hostname, port, searchParams } = new URL(url);
    const given = Object.fromEntries(searchParams);
    const { token, max_message: largest = 64 * 1024 * 1024, ca, cert, key, ...unknown } = given;
    const problem =
      (protocol !== "grpc:" && protocol !== "grpcs:" && `this SDK speaks grpc and grpcs, not ${protocol}`) ||
      (!hostname && "it names no host") ||
      (Object.keys(unknown).length > 0 && `unknown options ${Object.keys(unknown).join(", ")}`);
    if (problem) throw new InvalidRequest(`URL ${plain}`, problem, PLAIN_ADVICE);
    if (!Number.isInteger(Number(largest))) throw new InvalidRequest(`URL ${plain}`, "max_message is no number", "give it in bytes");
    this.#largest = Number(largest);
    this.url = `${protocol}//${hostname}:${port || 7233}`;
    this.#address = this.url.replace("grpc", "http");
    const bearer = token || process.env["REPLAY_TOKEN"];
    if (bearer) this.#headers["authorization"] = `Bearer ${bearer}`;
    try {
      const files = Object.entries({ ca, cert, key }).filter(([, file]) => file);
      this.#tls = Object.fromEntries(files.map(([name, file]) => [name, readFileSync(file as string)]));
      if (!cert !== !key) throw new Error("one of cert and key is missing");
    } catch (error) {
      throw new InvalidRequest(`URL ${plain}`, String(error), "check the files that it names; cert and key go together");
    }
  }

  /** One request, one answer. */
  async call<Q, A>(method: Method<Q, A>, request: Q, options: CallOptions = {}): Promise<A> {
    const { deadline = DEADLINE, retry = true, signal } = options;
    const until = Date.now() + deadline * 1000;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        return await this.#once(method, request, until, signal);
      } catch (error) {
        const again = retry && error instanceof StoreUnavailable && hintOf(error.reason) === undefined && !this.#closed;
        if (!again || Date.now() + pause >= until || signal?.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
        options.onRetry?.();
      }
    }
  }

  #once<Q, A>(method: Method<Q, A>, request: Q, until: number, signal?: AbortSignal): Promise<A> {
    return new Promise((resolve, reject) => {
      const patience = Math.max(1, Math.ceil(until - Date.now()));
      const headers = { "grpc-timeout": `${Math.min(patience, 99_999_999)}m` };
      let answer: A | undefined;
      const call = this.#begin(method, headers, (heard) => (answer = heard), (error) => {
        clearTimeout(overdue);
        if (answer !== undefined && error === undefined) resolve(answer);
        else reject(error ?? this.#unavailable("the call ended without an answer"));
      }, signal);
      const overdue = setTimeout(() => call.cancel(tooLate(patience)), patience);
      call.send(request);
      call.stream.end();
    });
  }

  /** One request, many answers; they come as fast as they are read, and who stops reading ends it. */
  async *stream<Q, A>(method: Method<Q, A>, request: Q, signal?: AbortSignal): AsyncGenerator<A, void, void> {
    const heard: A[] = [];
    let over: { readonly error: Error | undefined } | undefined;
    let wake: (() => void) | undefined;
    const hear = (answer: A) => {
      heard.push(answer);
      call.stream.pause();
      wake?.();
    };
    const call = this.#begin(method, {}, hear, (error) => {
      over = { error };
      wake?.();
    }, signal);
    call.send(request);
    call.stream.end();
    try {
      for (;;) {
        for (let answer = heard.shift(); answer !== undefined; answer = heard.shift()) yield answer;
        if (over?.error !== undefined) throw over.error;
        if (over !== undefined) return;
        call.stream.resume();
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      call.cancel();
    }
  }

  /** Requests and answers in turn, over one stream; one that broke is opened anew. A failure leaves open what the request did. */
  line<Q, A>(method: Method<Q, A>): (request: Q) => Promise<A> {
    let call: Call<Q> | undefined;
    let waiting: { resolve: (answer: A) => void; reject: (error: Error) => void } | undefined;
    const open = () => {
      const opened = this.#begin(method, {}, (answer) => waiting?.resolve(answer), (error) => {
        if (call === opened) call = undefined;
        waiting?.reject(error ?? this.#unavailable("the server closed the stream"));
      });
      return opened;
    };
    return async (request) => {
      const asked = (call ??= open());
      const answer = new Promise<A>((resolve, reject) => (waiting = { resolve, reject }));
      const overdue = setTimeout(() => asked.cancel(tooLate(DEADLINE * 1000)), DEADLINE * 1000);
      asked.send(request);
      try {
        return await answer;
      } finally {
        clearTimeout(overdue);
        waiting = undefined;
      }
    };
  }

  #begin<Q, A>(
    method: Method<Q, A>,
    headers: object,
    hear: (answer: A) => void,
    ended: (error?: Error) => void,
    signal?: AbortSignal,
  ): Call<Q> {
    if (this.#closed) throw this.#unavailable("it was closed here");
    if (!this.#connection?.usable) this.#connection = new Connection(this.#address, this.#tls);
    const stop = () => call.cancel();
    const call = this.#connection.call(method, { ...this.#headers, ...headers }, this.#largest, hear, (broken) => {
      signal?.removeEventListener("abort", stop);
      ended(broken && this.#revived(broken));
    });
    signal?.addEventListener("abort", stop);
    return call;
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  #unavailable(said: string): StoreUnavailable {
    const mutual = this.url.startsWith("grpcs:") ? ", and with mutual TLS add ?cert=FILE&key=FILE" : "";
    return new StoreUnavailable(this.url, said, hintOf(said) ?? `check that the server runs and can be reached${mutual}, then try again`);
  }

  /** The error that a call failed with: replay's own where the server says which, else by what a client should do. */
  #revived({ code, text, detail }: Broken): Error {
    if (detail !== undefined) return revived(detail, text) ?? new StoreRefused(this.url, `it failed unexpectedly: ${text}`);
    const status = STATUS[code] ?? "UNKNOWN";
    const said = `${status}: ${text || "no answer"}`;
    const refused = REFUSALS[status];
    return refused === undefined ? this.#unavailable(said) : new StoreRefused(this.url, said, refused);
  }
}

function tooLate(milliseconds: number): Broken {
  return { code: DEADLINE_EXCEEDED, text: `no answer within ${milliseconds / 1000} s` };
}

/** The error of a detail; its facts stand in the order in which its class takes them. */
function revived(bytes: Uint8Array, text: string): Error | undefined {
  const { error, facts } = ErrorDetail.decode(bytes);
  if (error === "ValueError") return new InvalidRequest("request", text);
  const kind = (errors as unknown as Record<string, new (...facts: unknown[]) => Error>)[error];
  if (!(kind?.prototype instanceof errors.ReplayError)) return undefined;
  const given = Object.values(JSON.parse(facts || "{}") as Record<string, unknown>);
  return given.length > 0 ? new kind(...given) : new StoreRefused(error, text);
}

/** Statuses by number, as they are shown. */
const STATUS = (
  "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED " +
  "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split(" ");

/** What to do about what is refused, by status. */
const REFUSALS: Readonly<Record<string, string>> = {
  UNAUTHENTICATED: "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN",
  PERMISSION_DENIED: "use a token that has the scope and the namespace",
  RESOURCE_EXHAUSTED: "send less at once, or raise --max-message on the server and ?max_message= on the client",
  UNIMPLEMENTED: "the server speaks another protocol: check host and port, or upgrade it",
  INVALID_ARGUMENT: "client and server do not understand each other: upgrade the older of the two",
  OUT_OF_RANGE: "client and server do not understand each other: upgrade the older of the two",
};

const HINTS: readonly (readonly [word: string, advice: string])[] = [
  ["certificate", "look at the certificates: grpcs://host:port?ca=FILE, and on the server --tls-cert"],
  ["wrong version", "the server has no TLS: write grpc://"],
  ["handshake", "look at TLS: a server with TLS needs grpcs://, with mutual TLS also ?cert=FILE&key=FILE; certificates expire"],
  ["ssl", "look at TLS: a server with TLS needs grpcs://, one without needs grpc://"],
];

/** What to do about a connection that cannot be made as both sides are set up. */
function hintOf(text: string): string | undefined {
  const lowered = text.toLowerCase();
  return HINTS.find(([word]) => lowered.includes(word))?.[1];
}
