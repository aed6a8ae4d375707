/** When to look at what: one moment for each. What was taken back, or is not wanted any more, holds on to nothing. */

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
  #heap: Alarm<T>[] = [];
  #count = 0;

  /** `wanted` says whether someone is still to be woken. */
  constructor(readonly wanted: (whom: T) => boolean = () => true) {}

  /** Wake someone at a moment, and at no other. */
  set(moment: number, whom: T): void {
    const alarm = { moment, order: this.#count++, whom };
    this.#set.set(whom, alarm);
    let place = this.#heap.push(alarm) - 1;
    for (let up = (place - 1) >> 1; place > 0 && this.#before(place, up); up = (place - 1) >> 1) place = this.#swap(place, up);
    if (this.#heap.length > SWEEP + 2 * this.#set.size) this.#heap = [...this.#set.values()].sort(earlier);
  }

  /** Whether there was one to take back. */
  drop(whom: T): boolean {
    return this.#set.delete(whom);
  }

  /** The earliest moment, or Infinity. */
  next(): number {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#set.get(first.whom) === first && this.wanted(first.whom)) return first.moment;
      this.#pop();
    }
    return Infinity;
  }

  /** Whom to wake next, if someone is due. */
  due(now: number): T | undefined {
    return this.next() <= now ? this.#pop() : undefined;
  }

  #pop(): T | undefined {
    const [first, last] = [this.#heap[0], this.#heap.pop()];
    if (first !== last) this.#heap[0] = last as Alarm<T>;
    for (let place = 0, least = 1; least < this.#heap.length; least = 2 * place + 1) {
      if (least + 1 < this.#heap.length && this.#before(least + 1, least)) least++;
      if (!this.#before(least, place)) break;
      place = this.#swap(place, least);
    }
    if (first !== undefined && this.#set.get(first.whom) === first) this.#set.delete(first.whom);
    return first?.whom;
  }

  #before(left: number, right: number): boolean {
    return earlier(this.#heap[left] as Alarm<T>, this.#heap[right] as Alarm<T>) < 0;
  }

  #swap(left: number, right: number): number {
    [this.#heap[left], this.#heap[right]] = [this.#heap[right] as Alarm<T>, this.#heap[left] as Alarm<T>];
    return right;
  }
}

function earlier(one: Alarm<unknown>, other: Alarm<unknown>): number {
  return one.moment - other.moment || one.order - other.order;
}
