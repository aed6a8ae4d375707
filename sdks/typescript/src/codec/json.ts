/**
 * Canonical JSON: one value, one spelling, so that checksums agree between languages.
 *
 * Rule 1: keys by code point, no spaces, the shortest digits of a double in Python's spelling, `-0.0` for negative zero.
 * Rule 2: a whole number beyond 2^53 is a `bigint`; written back as digits. Whole doubles below are spelt as whole numbers.
 * Rule 3: what JSON cannot say (NaN, functions, lone surrogates, cycles) is refused where it is, with its path.
 */

import { PayloadError, describe } from "../errors.js";

/** What a journal can hold. */
export type Json = null | boolean | number | bigint | string | readonly Json[] | { readonly [key: string]: Json };

/** How deep a value may be nested. */
const MAX_DEPTH = 100;
const SAFE = Number.MAX_SAFE_INTEGER;
/** What `JSON.parse` may read otherwise than other languages: a long number, a whole zero with a minus. */
const UNUSUAL = /\d{16}|-0(?![.\deE])/;

/** The canonical text of a value; `where` names it in an error. */
export function toText(value: unknown, where = "value"): string {
  return spell(value, where, "$", MAX_DEPTH);
}

function spell(value: unknown, where: string, path: string, depth: number): string {
  switch (typeof value) {
    case "string":
      return spellText(value, where, path);
    case "number":
      return spellNumber(value, where, path);
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return value.toString();
    case "undefined":
      return "null";
    case "object":
      return value === null ? "null" : spellObject(value, where, path, depth);
    default:
      throw new PayloadError(where, "JSON", describe(value), path);
  }
}

function spellText(text: string, where: string, path: string): string {
  if (!text.isWellFormed()) throw new PayloadError(where, "text", "a lone surrogate", path);
  return JSON.stringify(text);
}

/** A number as Python's `repr` spells it, but for whole doubles below 2^53, which are whole numbers. */
function spellNumber(value: number, where: string, path: string): string {
  if (Number.isInteger(value) && value <= SAFE && value >= -SAFE) return Object.is(value, -0) ? "-0.0" : String(value);
  if (!Number.isFinite(value)) throw new PayloadError(where, "a finite number", String(value), path);
  const sign = value < 0 ? "-" : "";
  const [mantissa = "", power = "0"] = Math.abs(value).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const rest = digits.length > 1 ? `.${digits.slice(1)}` : "";
    return `${sign}${digits[0]}${rest}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const padded = digits.padEnd(exponent + 1, "0");
  return `${sign}${padded.slice(0, exponent + 1)}.${padded.slice(exponent + 1) || "0"}`;
}

function spellObject(value: object, where: string, path: string, depth: number): string {
  if (depth === 0) throw new PayloadError(where, `at most ${MAX_DEPTH} levels of nesting`, "more", path);
  if (Array.isArray(value)) {
    const parts = value.map((item, place) => spell(item, where, `${path}[${place}]`, depth - 1));
    return `[${parts.join(",")}]`;
  }
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("base64"));
  if ("toJSON" in value && typeof value.toJSON === "function") return spell(value.toJSON(), where, path, depth - 1);
  if (value instanceof Map || value instanceof Set || value instanceof Promise) {
    throw new PayloadError(where, "JSON", `${describe(value)}; spell it as an object or an array`, path);
  }
  const entries: string[] = [];
  for (const key of sortedKeys(value)) {
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined) entries.push(`${spellText(key, where, path)}:${spell(item, where, `${path}.${key}`, depth - 1)}`);
  }
  return `{${entries.join(",")}}`;
}

function sortedKeys(value: object): string[] {
  const keys = Object.keys(value);
  if (keys.length < 2) return keys;
  keys.sort();
  return keys.some((key) => /[\ud800-\uffff]/.test(key)) ? keys.sort(byCodePoint) : keys;
}

function byCodePoint(left: string, right: string): number {
  const [ours, theirs] = [Array.from(left), Array.from(right)];
  for (let place = 0; place < ours.length && place < theirs.length; place++) {
    const difference = (ours[place]?.codePointAt(0) ?? 0) - (theirs[place]?.codePointAt(0) ?? 0);
    if (difference) return difference;
  }
  return ours.length - theirs.length;
}

/** A value from its text; the usual spellings of JSON are all taken. */
export function fromText(text: string, where = "value"): Json {
  try {
    return UNUSUAL.test(text) ? new Reader(text).read() : (JSON.parse(text) as Json);
  } catch (error) {
    if (error instanceof PayloadError) throw error;
    throw new PayloadError(where, "JSON", describe(text));
  }
}

/** Bytes as text. */
export function textOf(payload: Uint8Array): string {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString("utf8");
}

/** Text as bytes. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

/** A value from bytes. */
export function fromBytes(payload: Uint8Array, where = "value"): Json {
  return fromText(textOf(payload), where);
}

/** The canonical bytes of a value. */
export function toBytes(value: unknown, where = "value"): Uint8Array {
  return bytesOf(toText(value, where));
}

const TOKEN = /\s*(?:([[\]{}:,])|("(?:[^"\\\u0000-\u001f]|\\.)*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null))/y;

/** A reader for texts with long numbers: as `JSON.parse`, but whole numbers beyond 2^53 become `bigint`. */
class Reader {
  #token = "";
  #place = 0;

  constructor(readonly text: string) {}

  read(): Json {
    this.#next();
    const value = this.#value(MAX_DEPTH);
    if (this.text.slice(this.#place).trim()) throw new SyntaxError("something follows the value");
    return value;
  }

  #next(): string {
    TOKEN.lastIndex = this.#place;
    const found = TOKEN.exec(this.text);
    if (!found) throw new SyntaxError(`no JSON at ${this.#place}`);
    this.#place = TOKEN.lastIndex;
    this.#token = found[0].trimStart();
    return this.#token;
  }

  #value(depth: number): Json {
    const token = this.#token;
    if (token === "[" || token === "{") {
      if (depth === 0) throw new PayloadError("value", `at most ${MAX_DEPTH} levels of nesting`, "more");
      return token === "[" ? this.#array(depth) : this.#object(depth);
    }
    if (/^-?\d+$/.test(token)) {
      const number = Number(token);
      return Number.isSafeInteger(number) ? number || 0 : BigInt(token);
    }
    return JSON.parse(token) as Json;
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    if (this.#next() === "]") return items;
    for (;;) {
      items.push(this.#value(depth - 1));
      if (this.#next() === "]") return items;
      this.#expect(",");
      this.#next();
    }
  }

  #object(depth: number): Json {
    const entries: [string, Json][] = [];
    if (this.#next() === "}") return {};
    for (;;) {
      const key = JSON.parse(this.#token) as unknown;
      if (typeof key !== "string") throw new SyntaxError("a key is no text");
      this.#next();
      this.#expect(":");
      this.#next();
      entries.push([key, this.#value(depth - 1)]);
      if (this.#next() === "}") return Object.fromEntries(entries) as Json;
      this.#expect(",");
      this.#next();
    }
  }

  #expect(token: string): void {
    if (this.#token !== token) throw new SyntaxError(`${token} is missing at ${this.#place}`);
  }
}
