import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { StaticModel } from "../src/host.js";
import { KINDS } from "../src/panels/kinds.js";
import { literal, python } from "../src/panels/python.js";
import { createStore } from "../src/store/store.js";
import { pack } from "../src/wire.js";
import { graphBytes } from "./synthetic.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function start(state: Record<string, unknown> = {}) {
  const saved: Record<string, unknown>[] = [];
  const graph = new DataView(graphBytes({ T: 9, layers: 3, block: "sequential" }).slice().buffer);
  const model = new StaticModel({ graph, prompt: "x", target: 8, ...state }, (name, now) => {
    saved.push({ [name]: now[name] });
    return {};
  });
  const abort = new AbortController();
  return { model, saved, abort, store: createStore(model, KINDS, abort.signal) };
}

test("a change from Python moves the picture, a change here reaches Python", () => {
  const { model, saved, store } = start();
  expect(store.routes.value?.target).toBe(8);
  model.receive({ target: 3 });
  expect(store.routes.value?.target).toBe(3);
  store.setTarget(5);
  expect(store.routes.value?.target).toBe(5);
  expect(saved).toEqual([{ target: 5 }]);
});

test("a negative or too large target is brought into the prompt", () => {
  expect(start({ target: -1 }).store.target.value).toBe(8);
  expect(start({ target: 40 }).store.target.value).toBe(8);
});

test("a sliding threshold shows at once, reaches Python once, and is not pulled back by an echo", () => {
  const { model, saved, store } = start();
  store.write("threshold", 0.01, 150);
  store.write("threshold", 0.02, 150);
  expect(store.threshold.value).toBe(0.02);
  model.receive({ threshold: 0.005 });
  expect(store.threshold.value).toBe(0.02);
  vi.advanceTimersByTime(200);
  expect(saved).toEqual([{ threshold: 0.02 }]);
  model.receive({ threshold: null });
  expect(store.threshold.value).toBe(store.routes.value?.automatic);
});

test("changing the encoding goes back to the automatic threshold", () => {
  const { store, saved } = start({ threshold: 0.02 });
  store.setEncoding("share");
  expect(store.threshold.value).toBe(0.04);
  expect(saved).toEqual([{ threshold: null }, { encoding: "share" }]);
});

test("what Python refuses is put back", () => {
  const graph = new DataView(graphBytes({ T: 9, layers: 3, block: "sequential" }).slice().buffer);
  const refusal = { selection: null, status: { state: "error", text: "no", done: 0, total: 0 } };
  const store = createStore(new StaticModel({ graph }, () => refusal), KINDS, new AbortController().signal);
  store.setSelection({ kind: "state", state: 2, pos: 3 });
  expect(store.selected.value).not.toBeNull();
  return Promise.resolve().then(() => {
    expect(store.selected.value).toBeNull();
    expect(store.traits.status.value.text).toBe("no");
  });
});

test("the fold stays as it is while the slider moves", () => {
  const { store } = start();
  const before = store.columns.value;
  store.sliding.value = true;
  store.write("threshold", 0.2, 150);
  expect(store.columns.value).toBe(before);
  store.sliding.value = false;
  expect(store.columns.value).not.toBe(before);
});

test("a late answer is dropped, the answer to the present question is shown", () => {
  const { model, store } = start();
  const run = store.graph.value?.meta.run;
  const question = { kind: "state" as const, state: 2, pos: 3 };
  store.setSelection({ kind: "state", state: 1, pos: 0 });
  const answer = (q: unknown, r = run) =>
    new DataView(pack("detail", { run: r, answers: [{ slot: "selection", index: 0, question: q }] }, {}).slice().buffer);
  model.receive({ detail: answer(question) });
  expect(store.answer.value).toBeNull();
  store.setSelection(question);
  expect(store.answer.value?.question).toEqual(question);
  model.receive({ detail: answer({ pos: 3, kind: "state", state: 2 }) });
  expect(store.answer.value).not.toBeNull();
  model.receive({ detail: answer(question, "another run") });
  expect(store.answer.value).toBeNull();
});

test("unreadable bytes are a sentence and the old picture stays", () => {
  const { model, store } = start();
  const before = store.graph.value;
  model.receive({ graph: new DataView(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9]).buffer) });
  expect(store.problem.value).toContain("LMTW");
  expect(store.graph.value).toBe(before);
});

test("peek belongs to its run", () => {
  const { model, store } = start();
  const run = store.graph.value?.meta.run;
  const sections = {
    token: { dtype: "int32", shape: [7, 9], data: new Int32Array(63).fill(-1).fill(0, 9, 10) },
    p: { dtype: "float32", shape: [7, 9], data: new Float32Array(63).fill(0.5) },
  };
  model.receive({ peek: new DataView(pack("peek", { run, vocab: ["·hi"] }, sections).slice().buffer) });
  expect(store.peek.value?.text(1, 0)).toEqual({ text: "·hi", p: 0.5 });
  expect(store.peek.value?.text(0, 0)).toBeNull();
  model.receive({ peek: new DataView(pack("peek", { run: "old", vocab: [] }, sections).slice().buffer) });
  expect(store.peek.value).toBeNull();
});

test("crumbs keep the last five selections", () => {
  const { store } = start();
  for (let pos = 0; pos < 7; pos++) store.setSelection({ kind: "state", state: 1, pos });
  expect(store.crumbs.value.map((c) => c.pos)).toEqual([2, 3, 4, 5, 6]);
  store.setSelection({ kind: "state", state: 1, pos: 4 });
  expect(store.crumbs.value.length).toBe(5);
  store.setSelection(null);
  expect(store.crumbs.value).toEqual([]);
});

test("after the end nothing listens and what was pending is saved", () => {
  const { model, saved, store, abort } = start();
  store.write("threshold", 0.03, 150);
  abort.abort();
  expect(saved).toEqual([{ threshold: 0.03 }]);
  model.receive({ target: 1 });
  expect(store.target.value).toBe(8);
});

test("the Python of a view can be typed in", () => {
  const { store } = start({
    prompt: 'say "hi"\n',
    encoding: "share",
    threshold: 0.02,
    selection: { kind: "state", state: 1, pos: 0 },
  });
  expect(python(store)).toBe(
    [
      "from lmtt_widget import explore, load_model",
      "",
      'model = load_model("tiny-llama")',
      'explore(model, "say \\"hi\\"\\n", target=8, encoding="share", threshold=0.02, selection={"kind": "state", "state": 1, "pos": 0})',
      "",
    ].join("\n"),
  );
  const other = start({ foil: " Mary", normalise: false, pins: [{ kind: "token", pos: 2 }] });
  expect(python(other.store)).toContain(', normalise=False, foil=" Mary", pins=[{"kind": "token", "pos": 2}])');
  expect(literal([true, null, 1.5, { a: "b" }])).toBe('[True, None, 1.5, {"a": "b"}]');
});

test("a prompt or a selection that nobody answers for ten seconds says so, until an answer comes", () => {
  for (const [name, value] of [
    ["prompt", "another"],
    ["selection", { kind: "state", state: 1, pos: 2 }],
  ] as const) {
    const { model, store } = start();
    model.receive({ prompt: store.graph.value?.meta.prompt });
    vi.advanceTimersByTime(20_000);
    expect(store.silent.value).toBe(false);
    store.write(name, value as never);
    vi.advanceTimersByTime(9_900);
    expect(store.silent.value).toBe(false);
    vi.advanceTimersByTime(200);
    expect(store.silent.value).toBe(true);
    model.receive({ status: { state: "running", text: "recording", done: 0, total: 0 } });
    expect(store.silent.value).toBe(false);
  }
});

test("a saved analysis waits for no kernel", () => {
  const { store } = start({ offline: true });
  store.write("selection", { kind: "state", state: 1, pos: 2 });
  vi.advanceTimersByTime(60_000);
  expect(store.silent.value).toBe(false);
});
