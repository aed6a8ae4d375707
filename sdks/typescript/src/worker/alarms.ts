/** When to look at what: one moment for each. What was taken back, or is not wanted any more, holds on to nothing. */

import TinyQueue from "tinyqueue";

interface Alarm<T> {
  readonly moment: number;
  readonly order: number;
  readonly whom: T;
}

/** Dead entries that are never worth a sweep. */
const SWEEP = 64;

/** A heap of moments; those of one moment ring in the order in which they were set. */
export class Alarms<T> {
  readonly #set = new Map<T, Alarm<T>>();
  #heap = new TinyQueue<Alarm<T>>([], earlier);
  #count = 0;

  /** `wanted` says whether someone is still to be woken. */
  constructor(readonly wanted: (whom: T) => boolean = () => true) {}

  /** Wake someone at a moment, and at no other. */
  set(moment: number, whom: T): void {
    const alarm = { moment, order: this.#count++, whom };
    this.#set.set(whom, alarm);
    this.#heap.push(alarm);
    if (this.#heap.length > SWEEP + 2 * this.#set.size) this.#heap = new TinyQueue([...this.#set.values()], earlier);
  }

  /** Whether there was one to take back. */
  drop(whom: T): boolean {
    return this.#set.delete(whom);
  }

  /** The earliest moment, or Infinity. */
  next(): number {
    for (let first = this.#heap.peek(); first !== undefined; first = this.#heap.peek()) {
      const isSet = this.#set.get(first.whom) === first;
      if (isSet && this.wanted(first.whom)) return first.moment;
      this.#heap.pop();
      if (isSet) this.#set.delete(first.whom);
    }
    return Infinity;
  }

  /** Whom to wake next, if someone is due. */
  due(now: number): T | undefined {
    if (this.next() > now) return undefined;
    const { whom } = this.#heap.pop() as Alarm<T>;
    this.#set.delete(whom);
    return whom;
  }
}

function earlier(one: Alarm<unknown>, other: Alarm<unknown>): number {
  return one.moment - other.moment || one.order - other.order;
}
