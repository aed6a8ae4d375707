/**
 * The shop in TypeScript: `node shop.mjs worker URL LOG [MAX_RECOVERIES]`, `… start URL ID SIZE`, `… query URL ID MORE` and `… slow URL TOPIC`.
 *
 * Each step notes in a file that it was begun. What a client or a worker is refused is told as a line of JSON.
 */

import { appendFileSync, existsSync } from "node:fs";
import { once } from "node:events";
import { Client, Worker, onQuery, step, stepInfo, workflow } from "../../../sdks/typescript/src/index.js";

const [does = "", url = "", ...rest] = process.argv.slice(2);
const name = `typescript/${process.pid}`;

const touch = step("faults.touch", async (number: number) => {
  appendFileSync(rest[0] ?? "", `${stepInfo().idempotencyKey} ${Date.now() * 1000} ${name}\n`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  return 2 * number;
});
const fill = step("faults.fill", (size: number) => "x".repeat(size));
const linger = step("faults.linger", async (seconds: number) => {
  appendFileSync(rest[0] ?? "", `${stepInfo().idempotencyKey} ${Date.now() * 1000} ${name}\n`);
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  return seconds;
});

/** Takes its worker with it until it is mended. */
const kill = step("faults.kill", () => existsSync(`${rest[0]}.mended`) || process.kill(process.pid, "SIGKILL"));

const order = workflow("faults.order", function* (steps: number) {
  let total = 0;
  for (let number = 0; number < steps; number++) total += yield* touch(number);
  return total;
});
const filling = workflow("faults.filling", function* (size: number, _padding: string) {
  return (yield* fill(size)).length;
});
const lingering = workflow("faults.lingering", function* (seconds: number) {
  yield* onQuery("planned", (more: number) => seconds + more);
  return (yield* linger(seconds)) + (yield* touch(1));
});

const deadly = workflow("faults.deadly", function* () {
  yield* kill();
  return "mended";
});

const options = { workflows: [order, filling, lingering, deadly], ttl: 2, concurrency: 4, name, maxRecoveries: Number(rest[1] ?? 10) };
const acts: Record<string, () => Promise<unknown>> = {
  worker: async () => await new Worker(url, options).run(),
  start: async () => {
    const client = new Client(url, { deadline: 5 });
    try {
      return (await client.start(filling(1, "x".repeat(Number(rest[1]))), { id: rest[0] ?? "" })).id;
    } finally {
      client.close();
    }
  },
  query: async () => {
    const client = new Client(url);
    try {
      return await client.handle(rest[0] ?? "").query("planned", Number(rest[1]));
    } finally {
      client.close();
    }
  },
  /** Reads one entry of a topic that goes on, then nothing until it is told to, then the rest. */
  slow: async () => {
    const client = new Client(url);
    let read = 0;
    for await (const _ of client.topic(rest[0] ?? "", { follow: false })) {
      if (++read > 1) continue;
      console.log("reading");
      await once(process.stdin, "data");
    }
    client.close();
    process.stdin.destroy();
    return read;
  },
};

try {
  console.log(JSON.stringify({ answer: await acts[does]?.() }));
} catch (error) {
  const { name: type, message } = error as Error;
  console.log(JSON.stringify({ type, message }));
  process.exitCode = 1;
}
