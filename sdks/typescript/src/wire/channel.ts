/**
 * One connection to a `replay serve`: calls with deadlines, retries where repeating is right, and errors as themselves.
 *
 * Rule 1: the trailer `replay-error-bin` says which error was raised at the store; only classes in a table are made of it.
 * Rule 2: an answer that was not heard leaves the outcome unknown: `StoreUnavailable`. Verbs that are idempotent by ids are asked again,
 * with back-off, until their deadline; so a server that is killed and started again is a pause and no failure.
 * Rule 3: what the server refused is refused: asking again does not help; nor does it where TLS does not fit.
 */

import { readFileSync } from "node:fs";
import {
  Client,
  Metadata,
  credentials,
  status,
  type ChannelCredentials,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import * as errors from "../errors.js";
import { InvalidRequest, StoreRefused, StoreUnavailable } from "../errors.js";
import { ErrorDetail } from "../generated/types.js";

/** What a client says of itself in `Hello`. */
export const PROTOCOL = 1;
export const CLIENT = "typescript/0.1.0";
/** Seconds that a call may take. */
export const DEADLINE = 30;
const TRAILER = "replay-error-bin";
const OPTIONS = new Set(["token", "max_message", "ca", "cert", "key"]);
/** Milliseconds before a call is asked again: the first time, and at most. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [50, 1_000];

/** A verb as the generated code describes it. */
export interface Method<Q, A> {
  readonly path: string;
  readonly requestSerialize: (request: Q) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => A;
}

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
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** `grpc://host:port` or `grpcs://host:port`; options `token`, `max_message`, and for grpcs the files `ca`, `cert`, `key`. */
  constructor(url: string) {
    const parts = parse(url);
    const options = Object.fromEntries(parts.searchParams);
    const unknown = Object.keys(options).filter((name) => !OPTIONS.has(name));
    const address = `${parts.hostname}:${parts.port || 7233}`;
    this.url = `${parts.protocol}//${address}`;
    if (unknown.length > 0) {
      throw new InvalidRequest(`URL ${this.url}`, `unknown options ${unknown.join(", ")}`, "write grpc://host:port?token=…");
    }
    const token = options["token"] || process.env["REPLAY_TOKEN"];
    if (token) this.#metadata.set("authorization", `Bearer ${token}`);
    const largest = Number(options["max_message"] ?? 64 * 1024 * 1024);
    if (!Number.isInteger(largest)) throw new InvalidRequest(`URL ${this.url}`, "max_message is no number", "give it in bytes");
    this.#client = new Client(address, credentialsOf(parts.protocol, options, this.url), {
      "grpc.max_receive_message_length": largest,
      "grpc.max_send_message_length": largest,
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 1_000,
      "grpc.enable_retries": 0,
    });
  }

  /** One request, one answer. */
  async call<Q, A>(method: Method<Q, A>, request: Q, options: CallOptions = {}): Promise<A> {
    const { deadline = DEADLINE, retry = true, signal } = options;
    const until = Date.now() + deadline * 1000;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        return await this.#once(method, request, until, signal);
      } catch (error) {
        const again = retry && error instanceof StoreUnavailable && hintOf(error.reason) === undefined;
        if (!again || Date.now() + pause >= until || signal?.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
        options.onRetry?.();
      }
    }
  }

  #once<Q, A>(method: Method<Q, A>, request: Q, deadline: number, signal: AbortSignal | undefined): Promise<A> {
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        this.#metadata,
        { deadline },
        (error: ServiceError | null, answer?: A) => {
          signal?.removeEventListener("abort", stop);
          if (error) reject(this.revive(error));
          else resolve(answer as A);
        },
      );
      const stop = () => call.cancel();
      signal?.addEventListener("abort", stop);
    });
  }

  /** One request, many answers; who stops reading ends it. */
  async *stream<Q, A>(method: Method<Q, A>, request: Q, signal?: AbortSignal): AsyncGenerator<A, void, void> {
    const { path, requestSerialize, responseDeserialize } = method;
    const call: ClientReadableStream<A> = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      this.#metadata,
    );
    const stop = () => call.cancel();
    signal?.addEventListener("abort", stop);
    try {
      for await (const answer of call) yield answer as A;
    } catch (error) {
      throw this.revive(error as ServiceError);
    } finally {
      signal?.removeEventListener("abort", stop);
      call.cancel();
    }
  }

  /** Requests and answers in turn, over one stream. */
  line<Q, A>(method: Method<Q, A>): Line<Q, A> {
    const { path, requestSerialize, responseDeserialize } = method;
    return new Line(
      () => this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata),
      (error) => this.revive(error),
    );
  }

  close(): void {
    this.#client.close();
  }

  /** The error that a call failed with: replay's own where the server says which, else by what a client should do. */
  revive(error: ServiceError): Error {
    const [detail] = error.metadata?.get(TRAILER) ?? [];
    if (detail !== undefined) {
      const found = revived(Buffer.from(detail), error.details);
      return found ?? new StoreRefused(this.url, `it failed unexpectedly: ${error.details}`);
    }
    const refused = REFUSALS.get(error.code);
    const said = `${status[error.code] ?? "UNKNOWN"}: ${error.details || error.message || "no answer"}`;
    return refused === undefined ? new StoreUnavailable(this.url, said, adviceFor(said, this.url)) : new StoreRefused(this.url, said, refused);
  }
}

/** One stream of requests and answers; one that broke is opened anew with the next request. */
export class Line<Q, A> {
  #call: ClientDuplexStream<Q, A> | undefined;
  #waiting: { resolve: (answer: A) => void; reject: (error: Error) => void } | undefined;

  constructor(
    readonly open: () => ClientDuplexStream<Q, A>,
    readonly revive: (error: ServiceError) => Error,
  ) {}

  /** The answer to a request; one at a time. A failure leaves open whether it took effect. */
  ask(request: Q, deadline = DEADLINE): Promise<A> {
    return new Promise<A>((resolve, reject) => {
      const call = (this.#call ??= this.#opened());
      const overdue = setTimeout(() => call.cancel(), deadline * 1000);
      const ended = <T>(tell: (told: T) => void) => (told: T) => {
        clearTimeout(overdue);
        this.#waiting = undefined;
        tell(told);
      };
      this.#waiting = { resolve: ended(resolve), reject: ended(reject) };
      call.write(request);
    });
  }

  close(): void {
    this.#call?.cancel();
    this.#call = undefined;
  }

  #opened(): ClientDuplexStream<Q, A> {
    const call = this.open();
    const drop = (error: Error) => {
      if (this.#call === call) this.#call = undefined;
      this.#waiting?.reject(error);
    };
    call.on("data", (answer: A) => this.#waiting?.resolve(answer));
    call.on("error", (error: ServiceError) => drop(this.revive(error)));
    call.on("end", () => drop(new StoreUnavailable("line", "the server closed while a request was under way", "try again")));
    return call;
  }
}

function parse(url: string): URL {
  const problem = (text: string) => new InvalidRequest(`URL ${url.split("?")[0]}`, text, "write grpc://host:port?token=…");
  let parts: URL;
  try {
    parts = new URL(url);
  } catch {
    throw problem("it is no URL");
  }
  if (parts.protocol !== "grpc:" && parts.protocol !== "grpcs:") throw problem(`this SDK speaks grpc and grpcs, not ${parts.protocol}`);
  if (!parts.hostname) throw problem("it names no host");
  return parts;
}

function credentialsOf(protocol: string, options: Record<string, string>, url: string): ChannelCredentials {
  if (protocol === "grpc:") return credentials.createInsecure();
  const file = (name: string) => (options[name] === undefined ? null : readFileSync(options[name]));
  try {
    return credentials.createSsl(file("ca"), file("key"), file("cert"));
  } catch (error) {
    throw new InvalidRequest(`URL ${url}`, String(error), "check the files that it names; cert and key go together");
  }
}

const REVIVED: ReadonlyMap<string, new (...facts: any[]) => Error> = new Map(
  Object.entries(errors).flatMap(([name, kind]) =>
    typeof kind === "function" && kind.prototype instanceof errors.ReplayError ? [[name, kind as new (...facts: any[]) => Error]] : [],
  ),
);

/** The error of a detail; its facts stand in the order in which its class takes them. */
function revived(bytes: Buffer, text: string): Error | undefined {
  const detail = ErrorDetail.decode(bytes);
  if (detail.error === "ValueError") return new InvalidRequest("request", text);
  const kind = REVIVED.get(detail.error);
  if (kind === undefined) return undefined;
  const facts = Object.values(JSON.parse(detail.facts || "{}") as Record<string, unknown>);
  return facts.length > 0 ? new kind(...facts) : new StoreRefused(detail.error, text);
}

const REFUSALS: ReadonlyMap<number, string> = new Map([
  [status.UNAUTHENTICATED, "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN"],
  [status.PERMISSION_DENIED, "use a token that has the scope and the namespace"],
  [status.RESOURCE_EXHAUSTED, "send less at once, or raise --max-message on the server and ?max_message= on the client"],
  [status.UNIMPLEMENTED, "the server speaks another protocol: check host and port, or upgrade it"],
  [status.INVALID_ARGUMENT, "client and server do not understand each other: upgrade the older of the two"],
  [status.OUT_OF_RANGE, "client and server do not understand each other: upgrade the older of the two"],
]);

const HINTS: readonly (readonly [word: string, advice: string])[] = [
  ["certificate", "look at the certificates: grpcs://host:port?ca=FILE, and on the server --tls-cert"],
  ["wrong version", "the server has no TLS: write grpc://"],
  ["handshake", "look at TLS: a server with TLS needs grpcs://, with mutual TLS also ?cert=FILE&key=FILE; certificates expire"],
  ["ssl", "look at TLS: a server with TLS needs grpcs://, one without needs grpc://"],
];

function adviceFor(text: string, url: string): string {
  const mutual = url.startsWith("grpcs:") ? ", and with mutual TLS add ?cert=FILE&key=FILE" : ""; // a server that misses one hangs up without a word
  return hintOf(text) ?? `check that the server runs and can be reached${mutual}, then try again`;
}

/** What to do about a connection that cannot be made as both sides are set up. */
function hintOf(text: string): string | undefined {
  const lowered = text.toLowerCase();
  return HINTS.find(([word]) => lowered.includes(word))?.[1];
}
