import { expect, test } from "vitest";
import { batch, computed, effect, signal } from "../src/dom/signals.js";

test("a computed value is made once for every change, and only when read", () => {
  const a = signal(1);
  let made = 0;
  const b = computed(() => {
    made++;
    return a.value * 2;
  });
  expect(made).toBe(0);
  expect([b.value, b.value, made]).toEqual([2, 2, 1]);
  a.value = 3;
  a.value = 4;
  expect([b.peek(), made]).toEqual([8, 2]);
});

test("an effect runs once where two ways lead to the same source", () => {
  const a = signal(1);
  const b = computed(() => a.value + 1);
  const c = computed(() => a.value * 10);
  const seen: number[] = [];
  effect(() => {
    seen.push(b.value + c.value);
  });
  a.value = 2;
  expect(seen).toEqual([12, 23]);
});

test("an effect rests where what it reads came out the same", () => {
  const a = signal(1);
  const odd = computed(() => a.value % 2);
  let ran = 0;
  effect(() => {
    odd.value;
    ran++;
  });
  a.value = 3;
  expect(ran).toBe(1);
  a.value = 4;
  expect(ran).toBe(2);
});

test("peek reads for nobody, and what is no longer read is no longer heard", () => {
  const on = signal(true);
  const a = signal(1);
  const b = signal(1);
  let ran = 0;
  effect(() => {
    ran++;
    b.peek();
    if (on.value) a.value;
  });
  b.value = 2;
  expect(ran).toBe(1);
  on.value = false;
  a.value = 2;
  expect(ran).toBe(2);
});

test("a batch is one change, and an ended effect is silent", () => {
  const a = signal(1);
  const b = signal(1);
  const seen: string[] = [];
  const stop = effect(() => {
    seen.push(`${a.value}${b.value}`);
  });
  batch(() => {
    a.value = 2;
    b.value = 2;
  });
  expect(seen).toEqual(["11", "22"]);
  stop();
  a.value = 3;
  expect(seen).toHaveLength(2);
});

test("an effect may set what another reads", () => {
  const a = signal(1);
  const b = signal(0);
  const seen: number[] = [];
  effect(() => {
    b.value = a.value * 2;
  });
  effect(() => {
    seen.push(b.value);
  });
  a.value = 5;
  expect(seen).toEqual([2, 10]);
});

test("an error in one effect does not keep the others from running, and computed errors are heard again", () => {
  const a = signal(1);
  const bad = computed(() => {
    if (a.value === 2) throw new Error("two");
    return a.value;
  });
  let last = 0;
  effect(() => {
    bad.value;
  });
  effect(() => {
    last = a.value;
  });
  expect(() => {
    a.value = 2;
  }).toThrow("two");
  expect(last).toBe(2);
  expect(() => bad.value).toThrow("two");
  a.value = 3;
  expect(bad.value).toBe(3);
});
