import { expect, test } from "vitest";
import { pack, unpack, WireError, widen } from "../src/wire.js";
import { half } from "./synthetic.js";

const sections = () => ({
  a: { dtype: "float32", shape: [2, 3], data: Float32Array.from([1, 2, 3, -4, 0.5, 1e-3]) },
  b: { dtype: "uint8", shape: [3], data: Uint8Array.from([1, 2, 255]) },
  c: { dtype: "int32", shape: [2], data: Int32Array.from([-1, 7]) },
  d: { dtype: "float16", shape: [3], data: half([0.5, 1, 0.1]) },
  e: { dtype: "uint16", shape: [1], data: Uint16Array.from([65535]) },
  f: { dtype: "uint32", shape: [0], data: new Uint32Array(0) },
});
const message = () => pack("graph", { run: "é·⏎" }, sections());

test("what is packed is unpacked, from whatever view the host hands over", () => {
  const bytes = message();
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  for (const data of [bytes, bytes.buffer, new DataView(shifted.buffer, 3), shifted.subarray(3)]) {
    const c = unpack(data, "graph");
    expect(c?.meta).toEqual({ run: "é·⏎" });
    expect(Array.from(c?.sections.a ?? [])).toEqual(Array.from(sections().a.data));
    expect(c?.shapes.a).toEqual([2, 3]);
    expect(Array.from(c?.sections.b ?? [])).toEqual([1, 2, 255]);
    expect(Array.from(c?.sections.c ?? [])).toEqual([-1, 7]);
    expect(Array.from(c?.sections.d ?? [])).toEqual([0.5, 1, 0.0999755859375]);
    expect(Array.from(c?.sections.e ?? [])).toEqual([65535]);
    expect(c?.sections.f.length).toBe(0);
  }
});

test("no bytes are no message yet", () => {
  expect(unpack(new DataView(new ArrayBuffer(0)), "graph")).toBeNull();
  expect(unpack(undefined, "graph")).toBeNull();
});

test("a message cut off anywhere is refused with a sentence", () => {
  const bytes = message();
  for (let n = 1; n < bytes.length - 8; n++) expect(() => unpack(bytes.subarray(0, n), "graph")).toThrow(WireError);
});

test("another version or kind is refused with the next step", () => {
  const bytes = message();
  const text = new TextDecoder("latin1").decode(bytes).replace('"version":1', '"version":9');
  const newer = Uint8Array.from(text, (c) => c.charCodeAt(0));
  expect(() => unpack(newer, "graph")).toThrow(/version 9.*restart/);
  expect(() => unpack(bytes, "detail")).toThrow(/expected a detail.*got a graph/);
  expect(() => unpack("text", "graph")).toThrow(WireError);
});

test("every half float widens exactly", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const wide = widen(all);
  expect(wide[0x3c00]).toBe(1);
  expect(wide[0x7bff]).toBe(65504);
  expect(wide[0x0001]).toBe(2 ** -24);
  expect(wide[0x8000]).toBe(-0);
  expect(wide[0x7c00]).toBe(Number.POSITIVE_INFINITY);
  expect(wide[0x7e00]).toBeNaN();
  expect(half(wide.subarray(0, 0x7c00))).toEqual(all.subarray(0, 0x7c00));
});
