/**
 * One server: calls with deadlines, retries where repeating is right, and errors as themselves.
 *
 * Rule 1: the trailer `replay-error-bin` says which error was raised at the store; only classes in a table are made of it.
 * Rule 2: an answer that was not heard leaves the outcome unknown: `StoreUnavailable`. Verbs that are idempotent by ids are asked again,
 * with back-off, until their deadline; so a server that is killed and started again is a pause and no failure.
 * Rule 3: what the server refused is refused: asking again does not help; nor does it where TLS does not fit.
 */

import { readFileSync } from "node:fs";
import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import type { ChannelCredentials, ClientDuplexStream, MethodDefinition, ServiceError } from "@grpc/grpc-js";
import * as errors from "../errors.js";
import { InvalidRequest, StoreRefused, StoreUnavailable } from "../errors.js";
import { ClientServiceService } from "../generated/client.js";
import { ErrorDetail } from "../generated/types.js";
import { WorkerServiceService } from "../generated/worker.js";

/** A verb: its path, and how requests and answers become bytes. */
export type Method<Q, A> = Pick<MethodDefinition<Q, A>, "path" | "requestSerialize" | "responseDeserialize">;

/** What can be asked of a server. */
export const VERBS = { ...ClientServiceService, ...WorkerServiceService };
/** What a client says of itself in `hello`. */
export const HELLO = { protocol: 1, client: "typescript/0.1.0" };
/** Seconds that a call may take. */
export const DEADLINE = 30;
/** Milliseconds between two looks at whether a line is overdue. */
const WATCH = 1_000;
const TRAILER = "replay-error-bin";
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
}

export class Channel {
  /** The server's URL, without the token. */
  readonly url: string;
  readonly #client: Client;
  readonly #metadata = new Metadata();
  readonly #lines = new Set<ClientDuplexStream<never, unknown>>();

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
    const address = `${hostname}:${port || 7233}`;
    this.url = `${protocol}//${address}`;
    const bearer = token || process.env["REPLAY_TOKEN"];
    if (bearer) this.#metadata.set("authorization", `Bearer ${bearer}`);
    this.#client = new Client(address, protocol === "grpc:" ? credentials.createInsecure() : tls(plain, { ca, cert, key }), {
      "grpc.max_receive_message_length": Number(largest),
      "grpc.max_send_message_length": Number(largest),
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.initial_reconnect_backoff_ms": FIRST_PAUSE,
      "grpc.max_reconnect_backoff_ms": LONGEST_PAUSE,
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
      }
    }
  }

  #once<Q, A>(method: Method<Q, A>, request: Q, deadline: number, signal?: AbortSignal): Promise<A> {
    const { path, requestSerialize: encode, responseDeserialize: decode } = method;
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(path, encode, decode, request, this.#metadata, { deadline }, (error, answer) => {
        signal?.removeEventListener("abort", stop);
        if (error) reject(this.#revived(error));
        else resolve(answer as A);
      });
      const stop = () => call.cancel();
      signal?.addEventListener("abort", stop);
    });
  }

  /** One request, many answers; they come as fast as they are read, and who stops reading ends it. */
  async *stream<Q, A>(method: Method<Q, A>, request: Q, signal?: AbortSignal): AsyncGenerator<A, void, void> {
    const { path, requestSerialize: encode, responseDeserialize: decode } = method;
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request, this.#metadata);
    const stop = () => call.cancel();
    signal?.addEventListener("abort", stop);
    try {
      for await (const answer of call) yield answer as A;
    } catch (error) {
      throw this.#revived(error as ServiceError);
    } finally {
      signal?.removeEventListener("abort", stop);
      call.cancel();
    }
  }

  /** Requests and answers in turn, over one stream; one that broke is opened anew. A failure leaves open what the request did. */
  line<Q, A>({ path, requestSerialize: encode, responseDeserialize: decode }: Method<Q, A>): (request: Q) => Promise<A> {
    let call: ClientDuplexStream<Q, A> | undefined;
    let waiting: { resolve: (answer: A) => void; reject: (error: Error) => void; until: number } | undefined;
    const open = () => {
      const opened = this.#client.makeBidiStreamRequest(path, encode, decode, this.#metadata);
      const watch = setInterval(() => Date.now() > (waiting?.until ?? Infinity) && opened.cancel(), WATCH).unref();
      const drop = (error: Error) => {
        clearInterval(watch);
        this.#lines.delete(opened);
        if (call === opened) call = undefined;
        waiting?.reject(error);
      };
      opened.on("data", (answer: A) => {
        waiting?.resolve(answer);
        waiting = undefined;
      });
      opened.on("error", (error: ServiceError) => drop(this.#revived(error)));
      opened.on("end", () => drop(this.#unavailable("the server closed the stream")));
      this.#lines.add(opened);
      return opened;
    };
    return (request) => {
      const asked = (call ??= open());
      asked.write(request);
      return new Promise<A>((resolve, reject) => (waiting = { resolve, reject, until: Date.now() + DEADLINE * 1000 }));
    };
  }

  close(): void {
    for (const call of this.#lines) call.cancel(); // else the connection stays until the server ends it
    this.#client.close();
  }

  #unavailable(said: string): StoreUnavailable {
    const mutual = this.url.startsWith("grpcs:") ? ", and with mutual TLS add ?cert=FILE&key=FILE" : "";
    return new StoreUnavailable(this.url, said, hintOf(said) ?? `check that the server runs and can be reached${mutual}, then try again`);
  }

  /** The error that a call failed with: replay's own where the server says which, else by what a client should do. */
  #revived({ code, details, message, metadata }: ServiceError): Error {
    const [detail] = metadata?.get(TRAILER) ?? [];
    if (detail !== undefined) return this.failure(ErrorDetail.decode(Buffer.from(detail)), details);
    const said = `${status[code] ?? "UNKNOWN"}: ${details || message || "no answer"}`;
    const refused = REFUSALS[code];
    return refused === undefined ? this.#unavailable(said) : new StoreRefused(this.url, said, refused);
  }

  /** The error that the server told of; its facts stand in the order in which its class takes them. */
  failure({ error, facts }: ErrorDetail, said: string): Error {
    if (error === "ValueError") return new InvalidRequest("request", said);
    const kind = (errors as unknown as Record<string, new (...facts: unknown[]) => Error>)[error];
    if (!(kind?.prototype instanceof errors.ReplayError)) return new StoreRefused(this.url, `it failed unexpectedly: ${said}`);
    const given = Object.values(JSON.parse(facts || "{}") as Record<string, unknown>);
    return given.length > 0 ? new kind(...given) : new StoreRefused(error, said);
  }
}

function tls(url: string, files: Readonly<Record<"ca" | "cert" | "key", string | undefined>>): ChannelCredentials {
  const read = (file: string | undefined) => (file === undefined ? null : readFileSync(file));
  try {
    return credentials.createSsl(read(files.ca), read(files.key), read(files.cert));
  } catch (error) {
    throw new InvalidRequest(`URL ${url}`, String(error), "check the files that it names; cert and key go together");
  }
}

/** What to do about what is refused, by status. */
const REFUSALS: Readonly<Record<number, string>> = {
  [status.UNAUTHENTICATED]: "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN",
  [status.PERMISSION_DENIED]: "use a token that has the scope and the namespace",
  [status.RESOURCE_EXHAUSTED]: "send less at once, or raise --max-message on the server and ?max_message= on the client",
  [status.UNIMPLEMENTED]: "the server speaks another protocol: check host and port, or upgrade it",
  [status.INVALID_ARGUMENT]: "client and server do not understand each other: upgrade the older of the two",
  [status.OUT_OF_RANGE]: "client and server do not understand each other: upgrade the older of the two",
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
