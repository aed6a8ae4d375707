/** Canonical JSON: one value, one spelling. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fromText, general, toText } from "replay-engine";
import { PYTHON } from "./server.js";

test("doubles are spelt as Python spells them", () => {
  const known: [number, string][] = [
    [1.0, "1"],
    [100.0, "100"],
    [-0, "-0.0"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1e-7, "1e-07"],
    [1.5e-7, "1.5e-07"],
    [123456789012345.6, "123456789012345.6"],
    [9007199254740991, "9007199254740991"],
    [9007199254740992, "9007199254740992.0"],
    [1e16, "1e+16"],
    [1e308, "1e+308"],
    [5e-324, "5e-324"],
    [-2.5, "-2.5"],
  ];
  for (const [value, text] of known) assert.equal(toText(value), text);
});

test("Python reads and spells what is spelt here, byte for byte", () => {
  let seed = 1;
  const chance = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  const numbers = Array.from({ length: 2_000 }, () => (chance() - 0.5) * 10 ** Math.floor(chance() * 620 - 312));
  const texts = ["", "é\u0000\u001f\u007f\u2028\"\\/", "\ud83d\ude00", "\uffff"];
  const whole = toText([numbers, texts, { "\uffff": 1, "\ud83d\ude00": 2, a: null, "": [true, false], "10": 1n, "9": 2n ** 70n }]);
  const again = "import sys; from replay.model.codec import from_json, to_json; sys.stdout.buffer.write(to_json(from_json(sys.stdin.buffer.read())))";

  assert.equal(execFileSync(PYTHON, ["-c", again], { input: whole }).toString(), whole);
});

test("whole numbers beyond 2^53 are bigints, and only those", () => {
  const text = "[9007199254740991,9007199254740992,-9007199254740993,18446744073709551616]";

  assert.deepEqual(fromText(text), [9007199254740991, 9007199254740992n, -9007199254740993n, 18446744073709551616n]);
  assert.equal(toText(fromText(text)), text);
  assert.equal(toText(fromText("[1.5, 12345678901234567.0, -0, -0.0, 1E2]")), "[1.5,1.2345678901234568e+16,0,-0.0,100]");
});

test("other spellings are read and spelt canonically from there on", () => {
  assert.equal(toText(fromText(' { "b" : 1.0 , "a" : [ 1e2 , "\\u00e9" , 12345678901234567890 ] } ')), '{"a":[100,"é",12345678901234567890],"b":1}');
  assert.equal(toText(fromText('{"__proto__":12345678901234567890,"x":"\\"1234567890123456\\""}')), '{"__proto__":12345678901234567890,"x":"\\"1234567890123456\\""}');
});

test("what is no JSON is refused with its place", () => {
  for (const text of ["", "[1,]", "[12345678901234567,]", "{1234567890123456789:1}", "[1234567890123456 1]", "01234567890123456", "[-]"]) {
    assert.throws(() => fromText(text), /expected JSON/, text);
  }
  assert.throws(() => toText({ a: [1, { b: Infinity }] }), /at \$\.a\[1\]\.b: expected a finite number, got Infinity/);
  assert.throws(() => toText("\ud800"), /lone surrogate/);
  let deep: unknown = 1;
  for (let level = 0; level < 101; level++) deep = [deep];
  assert.throws(() => toText(deep), /at most 100 levels/);
});

test("what JSON has no word for has one spelling", () => {
  const date = new Date("2026-01-01T00:00:00Z");
  assert.equal(toText({ date, bytes: new Uint8Array([1, 2]), gone: undefined, list: [undefined] }), '{"bytes":"AQI=","date":"2026-01-01T00:00:00.000Z","list":[null]}');
});

test("numbers in messages are those of C's %g", () => {
  const known: [number, string][] = [[5, "5"], [2.5, "2.5"], [86_400, "86400"], [2_592_000, "2.592e+06"], [0.0001, "0.0001"], [0.00001234, "1.234e-05"], [0, "0"], [999_999.5, "1e+06"]];
  for (const [value, text] of known) assert.equal(general(value), text);
});
