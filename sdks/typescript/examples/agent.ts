/**
 * A loop that survives anything: each turn ends in a savepoint with state, so that recovery takes the time of one turn. In virtual time,
 * without a server.
 *
 *     npm run example agent
 */

import { publish, resumable, savepoint, sleep, step } from "replay-engine";
import { World } from "replay-engine/testing";

const think = step("think", (turn: number, notes: readonly string[]) => `thought ${turn} after ${notes.length} notes`);

const agent = resumable("example.agent", function* (notes: string[] | undefined, turns: number) {
  const known = notes ?? [];
  while (known.length < turns) {
    known.push(yield* think(known.length, known));
    yield* publish("thoughts", known.at(-1));
    yield* sleep({ hours: 1 });
    yield* savepoint(`turn ${known.length}`, { state: known, goal: "know everything", nextStep: "think" });
  }
  return known.length;
});

const world = new World({ workflows: [agent] });
const began = world.now;
const run = await world.start(agent(48));
await world.advance({ hours: 10 });
await world.crash();
const thoughts = await run.result();
const hours = (world.now.getTime() - began.getTime()) / 3_600_000;
console.log(`${thoughts} thoughts in ${hours.toFixed(1)} hours, one crash, ${world.calls(think).length} calls, ${world.topic("thoughts").length} published`);
