/** What any release of any SDK wrote, this one reads: each recorded case is played again and compared exactly. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { bytesOf, fromText, toText } from "../src/codec/json.js";
import { JournalDamaged, NonDeterminismError } from "../src/errors.js";
import { Chance } from "../src/interpreter/ambient.js";
import type { Command } from "../src/interpreter/fibers.js";
import { Interpreter } from "../src/interpreter/interpreter.js";
import { childId, position, savepointText } from "../src/interpreter/issue.js";
import type { Output } from "../src/model/effects.js";
import { readResume } from "../src/model/journal.js";
import type { Event } from "../src/model/records.js";
import { WORKFLOWS } from "./workflows.js";

const CASES = new URL("../../../../tests/conformance/cases/", import.meta.url);
const SHOWN = ["commands", "withdrawn", "abandoned", "outputs"] as const;
type Entry = Record<string, any>;

/** The bytes that a field stands for. */
function payloadOf(name: string, entry: Entry): Uint8Array {
  if (`${name}_base64` in entry) return Buffer.from(entry[`${name}_base64`], "base64");
  if (`${name}_text` in entry) return bytesOf(entry[`${name}_text`]);
  return name in entry ? bytesOf(toText(entry[name])) : new Uint8Array();
}

function eventOf(entry: Entry): Event {
  const { seq, kind, command = "", name = "", at, check = 0 } = entry;
  return { seq, kind, command, name, at, check, payload: payloadOf("payload", entry), attempt: 0, duration: 0, line: "", worker: "" };
}

/** An expected field as bytes, whatever its spelling. */
function told(name: string, entry: Entry | null): Entry | null {
  if (entry === null) return null;
  const { [name]: _value, [`${name}_text`]: _text, [`${name}_base64`]: _base64, ...rest } = entry;
  const payload = payloadOf(name, entry);
  return payload.length > 0 ? { ...rest, [name]: Buffer.from(payload).toString() } : rest;
}

function commandEntry(machine: Interpreter, command: Command): Entry {
  const effect = command.effect;
  const entry: Entry = { id: command.id, kind: effect.kind === "sleep" ? "timer" : effect.kind, name: effect.name };
  if (effect.kind === "step" || effect.kind === "child") entry["arguments"] = effect.payload;
  if (effect.kind === "child") entry["run"] = childId(machine, command.id, effect);
  if (effect.kind === "savepoint") entry["payload"] = savepointText(machine, command.fiber, effect);
  if (effect.check) entry["check"] = effect.check;
  if (command.due !== undefined) entry["due"] = command.due;
  if (command.attempts) entry["attempts"] = command.attempts;
  for (const flag of ["intent", "cancelled"] as const) if (command[flag]) entry[flag] = true;
  return entry;
}

function outputEntry(machine: Interpreter, id: string, output: Output): Entry {
  const entry: Entry = { id, name: output.name };
  const { target, label, payload: said } = output.of;
  for (const [key, text] of Object.entries({ target, label })) if (text) entry[key] = text;
  if (output.name === "send_signal") entry["message"] = position(machine, id, ":");
  const failed = output.name === "reply" && label === "error";
  const payload = failed ? onlySaid(said) : said;
  return payload ? { ...entry, payload } : entry;
}

/** Of a failure, what is the same on every machine. */
function onlySaid(failure: string): string {
  const { type, message } = fromText(failure) as { type: string; message: string };
  return toText({ type, message });
}

function outcomeEntry(machine: Interpreter): Entry | null {
  if (machine.outcome === undefined) return null;
  const { kind, payload } = machine.outcome;
  const text = kind === "failed" ? onlySaid(payload) : payload;
  return text ? { kind, payload: text } : { kind };
}

function errorEntry(error: unknown): Entry {
  if (error instanceof NonDeterminismError) {
    return { type: "NonDeterminismError", seq: error.seq, recorded: error.recorded, asked: error.asked };
  }
  if (error instanceof JournalDamaged) return { type: "JournalDamaged", seq: error.seq };
  throw error;
}

/** Feeds a case's events and notes what the interpreter shows after each. */
class Player {
  readonly machine: Interpreter;
  readonly seen: Record<(typeof SHOWN)[number], Entry[]> = { commands: [], withdrawn: [], abandoned: [], outputs: [] };
  error: Entry | null = null;

  constructor(found: Entry) {
    const workflow = WORKFLOWS.get(found["workflow"]);
    assert.ok(workflow, `workflow ${found["workflow"]} is not translated`);
    this.machine = new Interpreter(workflow.spec, found["run"]);
  }

  feed(event: Event): this {
    this.machine.withdrawn = [];
    this.machine.issued = [];
    this.machine.outputs = [];
    try {
      this.machine.feed(event);
    } catch (error) {
      this.error = errorEntry(error);
      return this;
    }
    return this.note();
  }

  note(): this {
    const { machine, seen } = this;
    seen.commands.push([...machine.pending.values()].map((command) => commandEntry(machine, command)));
    seen.withdrawn.push(machine.withdrawn.map((command) => command.id));
    seen.abandoned.push(machine.issued.filter((each) => each.abandoned).map((each) => commandEntry(machine, each)));
    seen.outputs.push(machine.outputs.map(([id, output]) => outputEntry(machine, id, output)));
    return this;
  }

  get end(): Entry {
    const unread = this.machine.unread().map(([name, payload]) => ({ name, payload }));
    return { unread, outcome: outcomeEntry(this.machine), error: this.error };
  }
}

/** What a case says, with bytes as text. */
function expected(found: Entry): Entry {
  const each = (key: string, spell: (entry: Entry) => Entry | null) => found[key].map((after: Entry[]) => after.map(spell));
  const command = (entry: Entry) => told("payload", told("arguments", entry));
  return {
    commands: each("commands", command),
    withdrawn: found["withdrawn"],
    abandoned: each("abandoned", command),
    outputs: each("outputs", (entry) => told("payload", entry)),
    unread: found["unread"].map((entry: Entry) => told("payload", entry)),
    outcome: told("payload", found["outcome"]),
    error: found["error"],
  };
}

/** `JSON.parse` spoils long numbers, which cases spell as text; all else it reads as every language does. */
const cases: Entry[] = readdirSync(CASES)
  .filter((name) => name.endsWith(".json"))
  .sort()
  .map((name) => JSON.parse(readFileSync(new URL(name, CASES), "utf8")));

test("all cases are there", () => {
  assert.ok(cases.length >= 150, `${cases.length} cases`);
});

for (const found of cases) {
  const script: Event[] = found["script"].map(eventOf);
  const play = (events: readonly Event[]) => events.reduce((player, event) => player.feed(event), new Player(found));

  test(`${found["name"]}: played as it was recorded`, () => {
    const player = play(script);

    assert.deepEqual({ ...player.seen, ...player.end }, expected(found));
  });

  test(`${found["name"]}: every event keeps its seal`, () => {
    const seal = ({ seq, kind, command, name, at, check, payload }: Event) =>
      crc32(payload, crc32(`${[seq, kind, command, name, at, check].join("\n")}\n`));

    assert.deepEqual(script.map(seal), found["script"].map((entry: Entry) => entry["seal"]));
  });

  test(`${found["name"]}: may be cut anywhere`, () => {
    const whole = play(script);
    for (let cut = 1; cut < whole.seen.commands.length; cut++) {
      const player = play(script.slice(0, cut));
      assert.deepEqual(player.seen.commands.at(-1), whole.seen.commands[cut - 1]);
      player.feed(script[cut] as Event);
      assert.deepEqual(player.seen.commands.at(-1), whole.seen.commands[cut]);
      assert.deepEqual(player.seen.outputs.at(-1), whole.seen.outputs[cut]);
    }
  });

  script.forEach((savepoint, place) => {
    if (savepoint.kind !== "savepoint" || readResume(savepoint.payload) === undefined) return;
    test(`${found["name"]}: recovered at #${savepoint.seq}, it goes on alike`, () => {
      const whole = play(script);
      const player = new Player(found);
      player.machine.recover(script[0] as Event, savepoint);
      player.note();
      for (const event of script.slice(place + 1)) player.feed(event);

      assert.deepEqual(player.end, whole.end);
      for (const key of SHOWN) assert.deepEqual(player.seen[key], whole.seen[key].slice(place));
    });
  });
}

test("chance has the known answers", () => {
  const known: [string, number, string, number, number, string][] = [
    ["run-1", 0, "", 0, 0.8371222554734403, "d64da4e6-031e-447f-868a-5ea5b77b63cb"],
    ["run-1", 0, "", 1, 0.7625966077114378, "c3398802-2942-4be9-af60-1e16c9fef546"],
    ["run-1", 0, "0/1/", 0, 0.726675631190218, "ba076a06-c31b-40c9-b7a1-25ef4b6c86aa"],
    ["run-1", 7, "", 0, 0.32018536181499024, "51f7aaf9-a73f-4c91-afb6-fd352e35942f"],
    ["é", 0, "", 0, 0.842875317591427, "d7c6ad43-a929-4602-96da-5f3153f4b352"],
  ];
  for (const [seed, base, path, place, number, uuid] of known) {
    const draw = <T>(take: (chance: Chance) => T): T => {
      const chance = new Chance(seed);
      chance.rebase(base);
      for (let skipped = 0; skipped < place; skipped++) chance.random(path);
      return take(chance);
    };
    assert.equal(draw((chance) => chance.random(path)), number);
    assert.equal(draw((chance) => chance.uuid(path)), uuid);
  }
});
