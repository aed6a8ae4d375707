/** What the README shows compiles, and runs; so do the examples. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, Worker } from "replay-engine";
import { serve } from "./server.js";

const SDK = fileURLToPath(new URL("../../", import.meta.url));
const FOLDER = join(SDK, "dist/readme");

function node(file: string, env: NodeJS.ProcessEnv = {}): string {
  return execFileSync(process.execPath, [file], { cwd: SDK, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 }).toString();
}

test("the README's programs compile and run", async () => {
  const server = await serve();
  try {
    rmSync(FOLDER, { recursive: true, force: true });
    mkdirSync(FOLDER, { recursive: true });
    const found = [...readFileSync(join(SDK, "README.md"), "utf8").matchAll(/^```ts file=(\S+)\n(.*?)^```$/gms)];
    for (const [, name = "", text = ""] of found) writeFileSync(join(FOLDER, name), text.replaceAll("grpc://127.0.0.1:7233", server.url));
    const settings = { extends: "../../tsconfig.json", compilerOptions: { rootDir: ".", outDir: ".", paths: {} }, include: ["*.ts"], exclude: ["*.d.ts"] };
    writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify(settings));
    execFileSync(process.execPath, [join(SDK, "node_modules/typescript/bin/tsc"), "-p", FOLDER], { stdio: "inherit" });

    assert.deepEqual(found.map(([, name]) => name), ["order.ts", "worker.ts", "client.ts", "order.test.ts"]);
    node(join(FOLDER, "order.test.js"));
    assert.match(node(join(FOLDER, "client.js")), /^pending \{\}\n1 started order/);

    const { order } = (await import(join(FOLDER, "order.js"))) as { order: never };
    const worker = new Worker(server.url, { workflows: [order], logger: { log: () => undefined } });
    const running = worker.run({ signals: [] });
    const client = new Client(server.url);
    for await (const view of client.handle("order-42").watch()) if (view.status === "waiting") break; // for its day to pass
    client.close();
    worker.stop();
    await running;
  } finally {
    await server.stop();
  }
});

test("the examples run with one command each", () => {
  assert.match(node(join(SDK, "dist/examples/order.js")), /^parcel with teapot, mail to me@example\.com\n#1 started example\.order/);
  assert.match(node(join(SDK, "dist/examples/agent.js")), /^48 thoughts in 48\.0 hours, one crash, 48 calls, 48 published$/m);
});
