/**
 * Commits, until the store answers.
 *
 * A store that does not answer leaves the outcome of a commit unknown. The same batch is sent again; what was applied the first time comes
 * back as a refusal, and the journal's last events say whether they are ours. Nothing is guessed.
 */

import { StoreUnavailable } from "../errors.js";
import type { Commit, Event, Fate } from "../model/records.js";
import type { Store } from "../wire/store.js";
import type { Log } from "./logger.js";

/** Seconds between two tries at the most. */
const LONGEST_PAUSE = 1;

/** Tells of a store that does not answer, but not every time. */
export class Trouble {
  #failures = 0;

  constructor(readonly log: Log) {}

  tell(verb: string, error: unknown): void {
    const times = ++this.#failures;
    if (times === 1 || times === 10 || times % 100 === 0) this.log("warning", "the store does not answer", { verb, times, error });
  }

  over(): void {
    this.#failures = 0;
  }

  /** Seconds to wait before it is asked again. */
  get pause(): number {
    return Math.min(LONGEST_PAUSE, 0.01 * 2 ** Math.min(this.#failures, 7));
  }
}

/** What became of each commit; `givesUp` says whether to stop asking. */
export async function send(
  store: Store,
  batch: readonly Commit[],
  trouble: Trouble,
  pause: (seconds: number) => Promise<void>,
  givesUp: () => boolean,
): Promise<(Fate | Error)[]> {
  for (let unsure = false; ; unsure = true) {
    try {
      const fates = await store.commit(batch);
      trouble.over();
      return unsure ? await Promise.all(fates.map((fate, place) => recognised(store, batch[place] as Commit, fate))) : fates;
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) {
        if (batch.length === 1) return [error as Error]; // whose commit it is shows when each is sent alone
        const fates: (Fate | Error)[] = [];
        for (const commit of batch) fates.push(...(await send(store, [commit], trouble, pause, givesUp)));
        return fates;
      }
      trouble.tell("commit", error);
      if (givesUp()) return batch.map(() => "fenced");
      await pause(trouble.pause);
    }
  }
}

/** A refusal after an unheard answer may be our own commit: the events in the journal tell. */
async function recognised(store: Store, { lease, events, successor, expected }: Commit, fate: Fate): Promise<Fate> {
  if (fate === "applied") return fate;
  if (events.length === 0) {
    const [run] = await store.get([lease.key]); // it only gave the run back, and nobody has taken it since
    return run?.fence === lease.fence && run.worker === "" ? "applied" : fate;
  }
  const ours = successor?.events ?? events; // a successor has taken over the name
  const written = await store.journal(lease.key, successor === undefined ? expected : 0, ours.length);
  return written.length === ours.length && ours.every((event, place) => isSame(event, written[place])) ? "applied" : fate;
}

function isSame(ours: Event, theirs: Event | undefined): boolean {
  if (theirs === undefined || Buffer.compare(ours.payload, theirs.payload) !== 0) return false;
  return (["seq", "kind", "command", "name", "at", "worker"] as const).every((field) => ours[field] === theirs[field]);
}
