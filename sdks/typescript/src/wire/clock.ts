/** The server's clock: its offset from this machine's monotonic clock, learned from every answer that carries it. Microseconds. */

/** From which on the server's clock went back; less is a correction, and time stands still meanwhile. */
const JUMP = 1_000_000;

export class Clock {
  #offset = -Infinity;
  #latest = 0;

  /** The server looked at its clock between the moment of asking and this one, so each answer bounds the offset from both sides. */
  learn(asked: number, now: number): void {
    this.#offset = Math.min(Math.max(this.#offset, now - monotonic()), now - asked);
  }

  now(): number {
    const found = Math.floor(this.#offset + monotonic());
    if (found >= this.#latest || this.#latest - found >= JUMP) this.#latest = found;
    return this.#latest;
  }
}

/** This machine's monotonic clock. */
export function monotonic(): number {
  return performance.now() * 1000;
}
