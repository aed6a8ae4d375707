/** Where a worker says what it does: a line and its facts. Lines of workflows (`log`) come here too, once each. */

export type Level = "debug" | "info" | "warning" | "error";
export type Log = (level: Level, message: string, facts: Readonly<Record<string, unknown>>) => void;

export interface Logger {
  readonly log: Log;
}

/** One JSON object a line on standard error, from "info" up. */
export const jsonLogger: Logger = {
  log(level, message, facts) {
    if (level === "debug") return;
    const shown = JSON.stringify({ at: new Date().toISOString(), level, message, ...facts }, (_key, value: unknown) =>
      typeof value === "bigint" ? value.toString() : value instanceof Error ? (value.stack ?? String(value)) : value,
    );
    process.stderr.write(`${shown}\n`);
  },
};
