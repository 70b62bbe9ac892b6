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
  expect(() => unpack(bytes, "detail")).toThrow(/the detail from Python is a graph/);
  expect(() => unpack("text", "graph")).toThrow(WireError);
});

/** A message whose header is what `change` makes of a good one. */
type Header = Record<string, unknown> & { sections: Record<string, object> };
function damaged(change: (header: Header) => unknown): Uint8Array {
  const bytes = message();
  const start = 8 + new DataView(bytes.buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  let text = new TextEncoder().encode(JSON.stringify(change(header)));
  text = Uint8Array.from({ length: Math.ceil(text.length / 8) * 8 }, (_, i) => text[i] ?? 32);
  const out = new Uint8Array(8 + text.length + bytes.length - start);
  out.set(bytes.subarray(0, 8));
  new DataView(out.buffer).setUint32(4, text.length, true);
  out.set(text, 8);
  out.set(bytes.subarray(start), 8 + text.length);
  return out;
}

test("a good header stays good however it is written anew", () => {
  expect(
    unpack(
      damaged((h) => h),
      "graph",
    )?.shapes.a,
  ).toEqual([2, 3]);
});

test("a damaged section is refused by its name, and nothing of the message is read", () => {
  const wrong: Record<string, unknown[]> = {
    dtype: ["float64", "constructor", "__proto__", "toString", 7, null, undefined, {}],
    shape: [[-1], [0.5], [1e308, 1e308], [2 ** 53, 2 ** 53, 0], [NaN], ["3"], [[3]], "6", 6, null, undefined, {},
      [1000000], Array(9).fill(1), { length: 1, 0: 3 }], // biome-ignore format: a table
    offset: [-8, 4, 1e9, 2 ** 53, NaN, "0", null, undefined, [0]],
  };
  for (const [field, values] of Object.entries(wrong))
    for (const value of values) {
      const bytes = damaged((h) => ({ ...h, sections: { ...h.sections, a: { ...h.sections.a, [field]: value } } }));
      expect(() => unpack(bytes, "graph"), `${field} ${value}`).toThrow(WireError);
      expect(() => unpack(bytes, "graph"), `${field} ${value}`).toThrow(/the graph from Python has a section a/);
    }
  for (const value of [null, 7, "a", [], true])
    expect(() =>
      unpack(
        damaged((h) => ({ ...h, sections: { a: value } })),
        "graph",
      ),
    ).toThrow(/section a/);
});

test("a header that is no table, or lacks one, is refused", () => {
  for (const header of [null, 7, "text", [], true])
    expect(() =>
      unpack(
        damaged(() => header),
        "graph",
      ),
    ).toThrow(WireError);
  for (const name of ["meta", "sections"])
    for (const value of [null, undefined, 7, "text", []])
      expect(() =>
        unpack(
          damaged((h) => ({ ...h, [name]: value })),
          "graph",
        ),
      ).toThrow(/lacks its meta or its sections/);
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
