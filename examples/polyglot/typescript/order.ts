/** The order in TypeScript, and the step that is done in TypeScript. `node order.js URL` is a worker. */

import { Worker, sleep, step, workflow } from "replay-engine";

const elsewhere = async (): Promise<string> => {
  throw new Error("done in another language");
};
const reserve = step("reserve", async (_sku: string) => elsewhere(), { queue: "python" });
const charge = step("charge", async (_cents: number) => elsewhere(), { queue: "go" });
const ship = step("ship", async (sku: string) => `${sku} shipped in TypeScript`, { queue: "typescript" });

const order = workflow("polyglot.order", function* (sku: string, cents: number) {
  const reserved = yield* reserve(sku);
  const charged = yield* charge(cents);
  yield* sleep(0.5);
  const shipped = yield* ship(sku);
  return [reserved, charged, shipped];
});

const url = process.argv[2];
if (url === undefined) throw new Error("usage: node order.js URL");
await new Worker(url, { workflows: [order], steps: [ship], queues: ["default", "typescript"], ttl: 2, name: `typescript/${process.pid}` }).run();
