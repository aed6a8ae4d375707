/** When to look at what: moments, each with whom to wake. What was taken back, or is not wanted any more, holds on to nothing. */

export interface Alarm<T> {
  readonly moment: number;
  readonly order: number;
  /** Undefined once it rang or was taken back. */
  whom: T | undefined;
}

/** Dead entries that are never worth a sweep. */
const SWEEP = 64;

/** A heap of moments; those of one moment ring in the order in which they were set. */
export class Alarms<T> {
  #heap: Alarm<T>[] = [];
  #count = 0;
  #bound = SWEEP;

  /** `wanted` says whether someone is still to be woken. */
  constructor(readonly wanted: (whom: T) => boolean = () => true) {}

  set(moment: number, whom: T): Alarm<T> {
    const alarm: Alarm<T> = { moment, order: this.#count++, whom };
    if (this.#heap.length >= this.#bound) this.#sweep();
    this.#push(alarm);
    return alarm;
  }

  /** Take an alarm back; one that rang or was taken back already is passed over. */
  drop(alarm: Alarm<T> | undefined): void {
    if (alarm !== undefined) alarm.whom = undefined;
  }

  /** The earliest moment, or Infinity. */
  next(): number {
    while (this.#heap[0] !== undefined && !this.#alive(this.#heap[0])) this.#pop();
    return this.#heap[0]?.moment ?? Infinity;
  }

  /** Whom to wake next, if someone is due. */
  due(now: number): T | undefined {
    if (this.next() > now) return undefined;
    const alarm = this.#pop();
    const whom = alarm?.whom;
    this.drop(alarm);
    return whom;
  }

  #alive(alarm: Alarm<T>): boolean {
    return alarm.whom !== undefined && this.wanted(alarm.whom);
  }

  #sweep(): void {
    const living = this.#heap.filter((alarm) => this.#alive(alarm));
    this.#heap = [];
    for (const alarm of living) this.#push(alarm);
    this.#bound = Math.max(SWEEP, 2 * living.length);
  }

  #before(left: number, right: number): boolean {
    const [one, other] = [this.#heap[left], this.#heap[right]];
    if (one === undefined || other === undefined) return one !== undefined;
    return one.moment < other.moment || (one.moment === other.moment && one.order < other.order);
  }

  #swap(left: number, right: number): void {
    [this.#heap[left], this.#heap[right]] = [this.#heap[right] as Alarm<T>, this.#heap[left] as Alarm<T>];
  }

  #push(alarm: Alarm<T>): void {
    let place = this.#heap.push(alarm) - 1;
    for (let up = (place - 1) >> 1; place > 0 && this.#before(place, up); up = (place - 1) >> 1) {
      this.#swap(place, up);
      place = up;
    }
  }

  #pop(): Alarm<T> | undefined {
    const [first, last] = [this.#heap[0], this.#heap.pop()];
    if (this.#heap.length > 0 && last !== undefined) {
      this.#heap[0] = last;
      for (let place = 0; ; ) {
        const [left, right] = [2 * place + 1, 2 * place + 2];
        const least = this.#before(right, left) ? right : left;
        if (left >= this.#heap.length || !this.#before(least, place)) break;
        this.#swap(place, least);
        place = least;
      }
    }
    return first;
  }
}
