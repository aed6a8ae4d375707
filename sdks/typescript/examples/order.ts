/**
 * An order that waits a day for its approval: a worker, a client and a server of its own, in one process.
 *
 *     npm run example order                              (starts a server with ../../.venv/bin/replay)
 *     REPLAY_URL=grpc://127.0.0.1:7233 npm run example order
 */

import { Client, StepFailed, Worker, gather, log, setState, signal, sleep, step, workflow } from "replay-engine";
import { serve } from "../test/server.js";

const charge = step("charge", async (card: string, cents: number) => ({ receipt: `${card}-${cents}` }), {
  retry: { maxAttempts: 5, initial: 0.2 },
  timeout: 10,
});
const refund = step("refund", async (receipt: string) => console.log(`refunded ${receipt}`));
const ship = step("ship", async (sku: string) => `parcel with ${sku}`);
const mail = step("mail", async (address: string) => `mail to ${address}`);

const order = workflow("example.order", function* (card: string, sku: string) {
  const { receipt } = yield* charge(card, 1_200);
  yield* setState("receipt", receipt);
  yield* sleep(0.1);
  const approved = yield* signal<boolean>("approved", { timeout: 86_400, default: false });
  if (!approved) {
    yield* refund(receipt);
    return `refunded ${receipt}`;
  }
  try {
    const [parcel, letter] = yield* gather([ship(sku), mail("me@example.com")]);
    yield* log("shipped", { parcel });
    return `${parcel}, ${letter}`;
  } catch (error) {
    if (error instanceof StepFailed) yield* refund(receipt);
    throw error;
  }
});

const url = process.env["REPLAY_URL"];
const server = url === undefined ? await serve() : undefined;
const where = url ?? server?.url ?? "";
const worker = new Worker(where, { workflows: [order] });
const working = worker.run();
const client = new Client(where);
const run = await client.start(order("visa", "teapot"));
await run.signal("approved", true);
console.log(await run.result());
for await (const event of run.journal()) console.log(`#${event.seq} ${event.kind} ${event.name} ${event.line}`);
worker.stop();
await working;
client.close();
await server?.stop();
