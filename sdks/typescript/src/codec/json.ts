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
    if (value instanceof Promise) value.catch(() => undefined); // nobody waits for it: a failure would end the process
    throw new PayloadError(where, "JSON", `${describe(value)}; spell it as an object or an array`, path);
  }
  const entries: string[] = [];
  for (const key of sortedKeys(value)) {
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined) entries.push(`${spellText(key, where, path)}:${spell(item, where, `${path}.${key}`, depth - 1)}`);
  }
  return `{${entries.join(",")}}`;
}

/** By code point, which is the order of their bytes; JavaScript's own is that of UTF-16. */
function sortedKeys(value: object): string[] {
  const keys = Object.keys(value).sort();
  if (!keys.some((key) => /[\ud800-\uffff]/.test(key))) return keys;
  return keys.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}

/** A value from its text; the usual spellings of JSON are all taken. */
export function fromText(text: string, where = "value"): Json {
  try {
    return UNUSUAL.test(text) ? readLong(text) : (JSON.parse(text) as Json);
  } catch {
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

/** A text's tokens that matter: strings, with the colon of a key, and numbers. */
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** As `JSON.parse`, but whole numbers beyond 2^53 become `bigint`: they are read as texts, and every text bears a mark of what it is. */
function readLong(text: string): Json {
  JSON.parse(text); // refuses what is no JSON
  const marked = text.replace(TOKEN, (token: string, string?: string, colon?: string) => {
    if (string !== undefined) return colon === undefined ? `"'${string.slice(1)}` : token;
    if (!/^-?\d+$/.test(token) || Number.isSafeInteger(Number(token))) return token === "-0" ? "0" : token;
    return `"#${token}"`;
  });
  const read = (_key: string, value: unknown) => {
    if (typeof value !== "string") return value;
    return value.startsWith("#") ? BigInt(value.slice(1)) : value.slice(1);
  };
  return JSON.parse(marked, read) as Json;
}
