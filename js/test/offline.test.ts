import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import type { HeadAnswer } from "../src/core/answers.js";
import { canonical } from "../src/core/json.js";
import { offlineModel } from "../src/host.js";
import { KINDS } from "../src/panels/kinds.js";
import { analysisText } from "../src/panels/saved.js";
import { createStore } from "../src/store/store.js";
import { pack } from "../src/wire.js";
import * as words from "../src/words.js";
import { graphBytes } from "./synthetic.js";

const HALF = 0x3800; // 0.5 as half bits

const head = (query: number, key: number) => ({ kind: "head", state: 1, head: 2, query, key });

/** A prompt of `T` tokens with one answer, about one cell of one head. */
function saved(prompt: string, T: number) {
  const graph = graphBytes({ T, layers: 2, block: "sequential" }).slice();
  const bits = new Uint16Array(T * T);
  bits[3 * T + 2] = HALF;
  const answer = {
    question: head(3, 1),
    ...{ kind: "head", part: 4, query: 3, key: 1, share: 0.25, attention: 0.125, all: { promoted: 1 }, effect: 1 },
    maps: { pattern: ["m0", "float16"], contribution: ["m0", "float16"] },
  };
  const sections = {
    graph: { dtype: "uint8", shape: [graph.length], data: graph },
    peek: { dtype: "uint8", shape: [0], data: new Uint8Array() },
    m0: { dtype: "uint16", shape: [T, T], data: bits },
  };
  return { prompt, data: deflateSync(pack("saved", { answers: [answer] }, sections)).toString("base64") };
}

const SHOWN = { target: 2, threshold: 0.01, encoding: "flow", reading: "max", selection: null, pins: [], foil: null };

async function open() {
  const model = await offlineModel({ shown: SHOWN, at: 0, prompts: [saved("one", 5), saved("two", 7)] }, KINDS);
  return { model, store: createStore(model, KINDS, new AbortController().signal) };
}

test("a page shows what was saved, without a kernel", async () => {
  const { store } = await open();
  expect(store.offline).toBe(true);
  expect(store.graph.value?.T).toBe(5);
  expect([store.target.value, store.threshold.value]).toEqual([2, 0.01]);
  store.setTarget(1);
  expect(store.routes.value?.target).toBe(1);
});

test("a question that was saved is answered, with its maps", async () => {
  const { store } = await open();
  store.write("selection", { key: 1, query: 3, head: 2, state: 1, kind: "head" });
  await Promise.resolve();
  const answer = store.answer.value as HeadAnswer;
  expect(answer.share).toBe(0.25);
  expect(answer.maps.pattern[3 * 5 + 2]).toBe(0.5);
  store.write("pins", [store.traits.selection.value as never]);
  await Promise.resolve();
  expect((store.pinned.value as HeadAnswer).maps.pattern[3 * 5 + 2]).toBe(0.5);
});

test("another cell of a saved head shows the numbers of its maps, and says what is not there", async () => {
  const { store } = await open();
  store.write("selection", head(3, 2) as never);
  await Promise.resolve();
  const answer = store.answer.value as HeadAnswer;
  expect(answer).toMatchObject({ query: 3, key: 2, attention: 0.5, share: 0.5, all: null, effect: null });
  expect(answer.note).toBe(words.notSaved);
});

test("a head as a whole has the share of its row, and a part may be named where there is no other", async () => {
  const { store } = await open();
  store.write("selection", { ...head(3, 1), key: null, part: 4 } as never);
  await Promise.resolve();
  expect(store.answer.value).toMatchObject({ share: 0.5, attention: null, note: words.notSaved });
  store.write("selection", { ...head(3, 1), part: 4 } as never);
  await Promise.resolve();
  expect((store.answer.value as HeadAnswer).all).toEqual({ promoted: 1 });
  store.write("selection", { ...head(3, 1), part: 5 } as never);
  await Promise.resolve();
  expect(store.answer.value?.error).toBe(words.notSaved);
});

test("a question that was not saved is answered by one line", async () => {
  const { store } = await open();
  store.write("selection", { kind: "state", state: 1, pos: 0 });
  await Promise.resolve();
  expect(store.answer.value?.error).toBe(words.notSaved);
});

test("another prompt brings its own graph, target and answers", async () => {
  const { store } = await open();
  store.write("selection", head(3, 1) as never);
  store.write("prompt", "two");
  await Promise.resolve();
  expect(store.graph.value?.T).toBe(7);
  expect(store.target.value).toBe(6);
  expect(store.traits.selection.value).toBeNull();
  store.write("selection", head(3, 1) as never);
  await Promise.resolve();
  expect((store.answer.value as HeadAnswer).maps.pattern[3 * 7 + 2]).toBe(0.5);
});

test("what is no saved prompt is refused", async () => {
  const data = deflateSync(Buffer.from("nothing")).toString("base64");
  await expect(offlineModel({ shown: SHOWN, at: 0, prompts: [{ prompt: "", data }] }, KINDS)).rejects.toThrow();
  await expect(offlineModel({ shown: SHOWN, at: 0, prompts: [{ prompt: "", data: "%" }] }, KINDS)).rejects.toThrow();
});

test("the menu saves what is on show as it is", async () => {
  const { store } = await open();
  const text = JSON.parse(analysisText(store));
  expect(text).toMatchObject({ format: "lmtt_widget analysis", version: "1.0", at: 0, shown: { target: 2, threshold: 0.01 } });
  const graph = Buffer.from(text.prompts[0].graph, "base64");
  expect(graph.equals(Buffer.from(graphBytes({ T: 5, layers: 2, block: "sequential" })))).toBe(true);
});

test("questions are compared without the order of their names", () => {
  expect(canonical({ b: 1, a: [{ d: 1, c: 2 }] })).toBe('{"a":[{"c":2,"d":1}],"b":1}');
});
