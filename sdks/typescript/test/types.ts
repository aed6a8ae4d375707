/** What `yield*` hands to a workflow has the type that it has: read by the compiler, never run. */

import {
  Client,
  Handle,
  gather,
  info,
  join,
  now,
  patched,
  race,
  random,
  resumable,
  savepoint,
  shield,
  signal,
  sleep,
  spawn,
  startChild,
  step,
  timeout,
  uuid,
  workflow,
  type Moment,
  type RunInfo,
  type Workflow,
} from "replay-engine";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only where the two types are the same. */
export function expectType<Expected>() {
  return <Found>(_found: Found, ..._same: Same<Found, Expected> extends true ? [] : [never]): void => undefined;
}

interface Receipt {
  readonly id: string;
  readonly at: Date;
  readonly note?: string;
}

const charge = step("charge", async (_card: string, _cents: number): Promise<Receipt> => ({ id: "r", at: new Date() }));
const parsed = step("parsed", () => "2026-01-01", { result: (value) => new Date(String(value)) });
const nothing = step("nothing", () => undefined);
const count = step("count", (items: readonly string[]): number => items.length);

function* helper(): Workflow<boolean> {
  yield* sleep(1);
  return true;
}

export const order = workflow("order", function* (card: string) {
  const receipt = yield* charge(card, 100);
  expectType<string>()(receipt.id);
  expectType<string>()(receipt.at); // a Date is a text once it was journaled
  expectType<string | undefined>()(receipt.note);
  expectType<Date>()(yield* parsed());
  expectType<null>()(yield* nothing());
  expectType<void>()(yield* sleep({ hours: 1 }));
  expectType<boolean>()(yield* helper());
  expectType<any>()(yield* signal("free"));
  expectType<number>()(yield* signal<number>("n"));
  expectType<number>()(yield* signal("n", { schema: Number }));
  expectType<number | null>()(yield* signal("n", { schema: Number, timeout: 5, default: null }));

  const [a, b, c] = yield* gather([count([]), helper(), charge(card, 1)]);
  expectType<number>()(a);
  expectType<boolean>()(b);
  expectType<string>()(c.id);
  expectType<number[]>()([...(yield* gather([1, 2].map(() => count([]))))]);
  const [some] = yield* gather([count([])], { minSuccessful: 1 });
  expectType<number | null>()(some);
  const [either] = yield* gather([count([])], { returnErrors: true });
  expectType<number | Error>()(either);

  const [index, winner] = yield* race([count([]), helper()]);
  expectType<number>()(index);
  expectType<number | boolean>()(winner);
  expectType<number>()(yield* timeout(count([]), 5));
  expectType<boolean>()(yield* shield(helper()));
  const handle = yield* spawn(helper());
  expectType<boolean>()(yield* join(handle));
  const child = yield* startChild(loop(3));
  expectType<string>()(child.runId);
  expectType<number[]>()(yield* join(child));
  expectType<number[]>()(yield* loop(3));

  expectType<Moment>()(yield* now());
  expectType<number>()(yield* random());
  expectType<string>()(yield* uuid());
  expectType<RunInfo>()(yield* info());
  expectType<boolean>()(yield* patched("p"));
  return { paid: receipt.at };
});

export const loop = resumable("loop", function* (state: number[] | undefined, turns: number): Workflow<number[]> {
  const done = state ?? [];
  while (done.length < turns) {
    done.push(yield* count(["x"]));
    yield* savepoint("turn", { state: done });
  }
  return done;
});

export async function caller(client: Client): Promise<void> {
  const handle = await client.start(order("visa"));
  expectType<Handle<{ paid: string }>>()(handle);
  expectType<{ paid: string }>()(await handle.result());
  expectType<number[]>()(await client.handle("id", loop).result());
  // @ts-expect-error the argument is a text
  await client.start(order(1));
  // @ts-expect-error a step is nothing to start
  await client.start(charge("visa", 1));
}

export const refused = workflow("refused", function* () {
  // @ts-expect-error the arguments are checked
  yield* charge(1, "visa");
  // @ts-expect-error a promise is no effect
  yield* Promise.resolve(1);
  // @ts-expect-error a default needs a timeout
  yield* signal("n", { default: 1 });
});

// @ts-expect-error what is yielded must come out of a `yield*`
export const bare = workflow("bare", function* () {
  yield charge("visa", 1);
});
