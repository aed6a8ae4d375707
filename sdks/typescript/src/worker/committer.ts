/**
 * Commits, until the store answers.
 *
 * A store that does not answer leaves the outcome of a commit unknown. The same batch is sent again and says so: the store answers that it
 * was applied where it was the first time.
 */

import { StoreUnavailable } from "../errors.js";
import type { Commit, Fate } from "../model/records.js";
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
      const fates = await store.commit(batch, unsure);
      trouble.over();
      return fates;
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
