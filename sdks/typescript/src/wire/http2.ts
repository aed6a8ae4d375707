/**
 * gRPC as it is on the wire: messages with a length before them, over one HTTP/2 connection of Node's own, and a status at the end.
 *
 * Rule 1: a connection is of no use any more when it has broken or the server has said that it leaves; whoever calls next makes another.
 * Rule 2: a call ends once: with the status that the server gave, or with what broke.
 */

import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import type { SecureContextOptions } from "node:tls";

/** A verb as the generated code describes it. */
export interface Method<Q, A> {
  readonly path: string;
  readonly encode: (request: Q) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => A;
}

interface Coder<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}
type Verb<Q, A> = { readonly name: string; readonly requestType: Coder<Q>; readonly responseType: Coder<A> };
type Verbs<V> = { readonly [K in keyof V]: V[K] extends Verb<infer Q, infer A> ? Method<Q, A> : never };

/** The verbs of a service, ready to be asked. */
export function methodsOf<V extends object>({ fullName, methods }: { readonly fullName: string; readonly methods: V }): Verbs<V> {
  const ready = ([key, { name, requestType, responseType }]: [string, Verb<unknown, unknown>]) => {
    const method: Method<unknown, unknown> = {
      path: `/${fullName}/${name}`,
      encode: (request) => requestType.encode(request).finish(),
      decode: (bytes) => responseType.decode(bytes),
    };
    return [key, method];
  };
  return Object.fromEntries(Object.entries(methods).map(ready));
}

/** How a call ended, where the server did not say that all is well: its status, or 14 (unavailable) with what broke. */
export interface Broken {
  readonly code: number;
  readonly text: string;
  /** The trailer in which the server says which error it was. */
  readonly detail?: Buffer;
}
const [CANCELLED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE] = [1, 8, 12, 14] as const;
export const DEADLINE_EXCEEDED = 4;

const TRAILER = "replay-error-bin";
/** Bytes on the way before the other side waits. */
const WINDOW = 4 * 1024 * 1024;
/** Milliseconds between two signs of life that are asked for; one that is not given by then ends the connection. */
const PING = 20_000;
/** Bytes before a message: one says whether it is compressed, four how long it is. */
const HEAD = 5;

export class Connection {
  readonly #session: ClientHttp2Session;
  /** Whether TLS is made and nothing was heard yet: a server that misses a certificate hangs up then, without a word. */
  #mute = false;
  #fault = "";
  #calls = 0;

  constructor(address: string, tls: SecureContextOptions) {
    const settings = { initialWindowSize: WINDOW, enablePush: false };
    const session = connect(address, { ...tls, settings, maxSessionMemory: Number.MAX_SAFE_INTEGER });
    let silent = false;
    const ping = () => {
      if (silent) session.destroy(new Error("nothing was heard for too long"));
      else if (!session.destroyed) silent = session.ping(() => (silent = false));
    };
    const pings = setInterval(ping, PING).unref();
    session.once("connect", () => {
      this.#mute = address.startsWith("https:");
      session.setLocalWindowSize(WINDOW);
    });
    session.once("remoteSettings", () => (this.#mute = false));
    session.on("error", (error: Error) => (this.#fault ||= error.message));
    session.once("close", () => clearInterval(pings));
    session.unref();
    this.#session = session;
  }

  /** Whether calls can be begun: it has not broken, and the server has not said that it leaves. */
  get usable(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  /** Begin a call. `hear` is told each answer, `ended` once how it came to its end: undefined when all is well. */
  call<Q, A>(method: Method<Q, A>, headers: object, largest: number, hear: (answer: A) => void, ended: (broken?: Broken) => void): Call<Q> {
    const stream = this.#session.request({
      ...headers,
      ...{ ":method": "POST", ":path": method.path, te: "trailers", "content-type": "application/grpc" },
    });
    const call = new Call(stream, method.encode);
    const cut = cutter(largest);
    let status: IncomingHttpHeaders | undefined;
    let fault = "";
    if (this.#calls++ === 0) this.#session.ref();
    stream.once("response", (told) => {
      if (told["grpc-status"] !== undefined || told[":status"] !== 200) status = told;
    });
    stream.once("trailers", (told) => (status = told));
    stream.on("data", (chunk: Buffer) => {
      try {
        for (const message of cut(chunk)) hear(method.decode(message));
      } catch (error) {
        call.cancel({ code: RESOURCE_EXHAUSTED, text: (error as Error).message });
      }
    });
    stream.on("error", (error: Error) => (fault = error.message));
    stream.once("close", () => {
      if (--this.#calls === 0) this.#session.unref();
      ended(call.broken ?? this.#end(status, fault));
    });
    return call;
  }

  #end(status: IncomingHttpHeaders | undefined, fault: string): Broken | undefined {
    if (status === undefined) {
      const text = this.#mute ? "the server hung up after the TLS handshake" : this.#fault || fault || "the connection was closed";
      return { code: UNAVAILABLE, text };
    }
    const { "grpc-status": code, "grpc-message": text = "", ":status": http, [TRAILER]: detail } = status;
    if (code === "0") return undefined;
    if (code === undefined) return { code: Number(http) >= 429 ? UNAVAILABLE : UNIMPLEMENTED, text: `HTTP status ${http}` };
    const broken = { code: Number(code), text: plainOf(String(text)) };
    return detail === undefined ? broken : { ...broken, detail: Buffer.from(String(detail), "base64") };
  }

  close(): void {
    this.#session.destroy();
  }
}

/** A status message without its escapes. */
function plainOf(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // whoever wrote it did not escape it
  }
}

/** A call under way. */
export class Call<Q> {
  /** How it ended here, before the server said anything. */
  broken: Broken | undefined;

  constructor(
    readonly stream: ClientHttp2Stream,
    readonly encode: (request: Q) => Uint8Array,
  ) {}

  send(request: Q): void {
    const message = this.encode(request);
    const frame = Buffer.allocUnsafe(HEAD + message.length);
    frame[0] = 0;
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, HEAD);
    this.stream.write(frame);
  }

  cancel(broken: Broken = { code: CANCELLED, text: "it was given up" }): void {
    this.broken ??= broken;
    this.stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** Cuts what comes in into messages. */
function cutter(largest: number): (chunk: Buffer) => Buffer[] {
  let chunks: Buffer[] = [];
  let size = 0;
  let length = -1;
  const joined = () => (chunks = [chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)])[0] as Buffer;
  return (chunk) => {
    const found: Buffer[] = [];
    chunks.push(chunk);
    for (size += chunk.length; size >= HEAD; size -= HEAD + length, length = -1) {
      if (length < 0) length = joined().readUInt32BE(1);
      if (length > largest) throw new Error(`a message of ${length} bytes, ${largest} are allowed`);
      if (size < HEAD + length) break;
      const bytes = joined();
      found.push(bytes.subarray(HEAD, HEAD + length));
      chunks = [bytes.subarray(HEAD + length)];
    }
    return found;
  };
}
