/** A `replay serve` of the repository's own Python, over SQLite in a temporary folder; killed and started again at will. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
export const REPLAY = process.env["REPLAY_COMMAND"] ?? join(ROOT, ".venv/bin/replay");
/** The Python that serves. */
export const PYTHON = join(dirname(REPLAY), "python");

export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), "replay-ts-"));
  port = 0;
  #process: ChildProcess | undefined;

  constructor(readonly options: readonly string[]) {}

  get url(): string {
    return `grpc://127.0.0.1:${this.port}`;
  }

  /** Start it, at the port that it had before. */
  async start(): Promise<this> {
    const args = ["serve", "--store", `sqlite:///${join(this.folder, "runs.db")}`, "--listen", `127.0.0.1:${this.port}`, ...this.options];
    const started = spawn(REPLAY, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = started;
    let said = "";
    await new Promise<void>((resolve, reject) => {
      const hear = (text: Buffer) => {
        said += text.toString();
        const found = /on 127\.0\.0\.1:(\d+)/.exec(said);
        if (found === null) return;
        this.port = Number(found[1]);
        resolve();
      };
      started.stdout.on("data", hear);
      started.stderr.on("data", hear);
      started.once("exit", (code) => reject(new Error(`replay serve ended with ${code}: ${said}`)));
    });
    return this;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** SIGKILL: nothing is said, nothing is given back. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    running.removeAllListeners("exit");
    const ended = once(running, "exit");
    running.kill(signal);
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function serve(...options: string[]): Promise<Server> {
  return await new Server(options).start();
}
