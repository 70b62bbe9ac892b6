// The byte container that Python packs (wire.py): magic, header, 8-aligned little-endian sections.

export type Section = Float32Array | Uint8Array | Uint16Array | Int32Array | Uint32Array;

export interface Container<Meta = Record<string, unknown>> {
  kind: string;
  meta: Meta;
  sections: Record<string, Section>;
  shapes: Record<string, number[]>;
}

/** A message Python sent that cannot be read; its text is shown to the reader. */
export class WireError extends Error {}

const VERSION = 1;
const MAGIC = 0x57544d4c; // "LMTW", read as a little-endian u32
const MOST_AXES = 8;

const TYPES = {
  float32: Float32Array,
  float16: Uint16Array, // as raw bits; widened when read
  uint8: Uint8Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
};

interface Header {
  version: number;
  kind: string;
  meta: unknown;
  sections: Record<string, Said>;
}

interface Said {
  dtype: string;
  shape: number[];
  offset: number;
}

// A saved file may come from anywhere, so nothing that its header says is believed.
const isTable = (x: unknown): x is object => typeof x === "object" && x !== null && !Array.isArray(x);
const short = (x: unknown) => String(JSON.stringify(x)).slice(0, 40);

/** Whatever the host hands over (DataView at any offset, typed array, ArrayBuffer) as aligned bytes of our own. */
export function toBytes(data: unknown): Uint8Array {
  if (data == null) return new Uint8Array(0);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  throw new WireError("expected bytes from Python, got something else; reload the page and run the cell again");
}

/** The container in `data`, or null where nothing was sent yet (no bytes). */
export function unpack<Meta = Record<string, unknown>>(data: unknown, kind: string): Container<Meta> | null {
  const bytes = toBytes(data);
  if (bytes.length === 0) return null;
  const need: (is_right: boolean, otherwise: string) => asserts is_right = (is_right, otherwise) => {
    if (!is_right) throw new WireError(`the ${kind} from Python ${otherwise}`);
  };
  need(bytes.length >= 8, `is cut off after ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer);
  need(view.getUint32(0, true) === MAGIC, 'does not start with "LMTW"');
  const start = 8 + view.getUint32(4, true);
  need(start <= bytes.length && start % 8 === 0, "is cut off inside its header");
  let header: Partial<Header> | undefined;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
  } catch {}
  need(isTable(header), "has a header that is not readable JSON");
  const { version, meta, sections: said } = header;
  need(
    version === VERSION,
    `has wire version ${version}, this widget reads version ${VERSION}; restart the kernel and reload the page`,
  );
  need(header.kind === kind, `is a ${header.kind}`);
  need(isTable(meta) && isTable(said), "lacks its meta or its sections");
  const sections: Record<string, Section> = {};
  const shapes: Record<string, number[]> = {};
  for (const [name, section] of Object.entries(said)) {
    const { dtype, shape, offset } = isTable(section) ? section : ({} as Said);
    const needs: typeof need = (is_right, otherwise) => need(is_right, `has a section ${name} ${otherwise}`);
    needs(Object.hasOwn(TYPES, String(dtype)), `of the unknown dtype ${short(dtype)}`);
    const Type = TYPES[dtype as keyof typeof TYPES];
    const isSize = (size: number) => Number.isInteger(size) && size >= 0 && size <= bytes.length;
    needs(Array.isArray(shape) && shape.length <= MOST_AXES && shape.every(isSize), `of the shape ${short(shape)}`);
    const n = shape.reduce((a, b) => a * b, 1);
    const at = start + offset;
    needs(isSize(offset) && offset % 8 === 0 && at + n * Type.BYTES_PER_ELEMENT <= bytes.length, "that is cut off");
    const values = new Type(bytes.buffer as ArrayBuffer, at, n);
    sections[name] = dtype === "float16" ? widen(values as Uint16Array) : values;
    shapes[name] = shape;
  }
  return { kind, meta: meta as Meta, sections, shapes };
}

/** Half floats as float32, exact: the bits moved into place, and the exponent's bias made up for by a power of two. */
export function widen(half: Uint16Array): Float32Array {
  const out = new Float32Array(half.length);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < half.length; i++) {
    const is_finite = (half[i] & 0x7c00) < 0x7c00;
    bits[i] = ((half[i] & 0x8000) << 16) | ((half[i] & 0x7fff) << 13) | (is_finite ? 0 : 0x7f800000);
    if (is_finite) out[i] *= 2 ** 112;
  }
  return out;
}

/** The inverse of `unpack`, for tests, the offline page and saved state. float16 must be given as raw half bits in a Uint16Array. */
export function pack(
  kind: string,
  meta: unknown,
  sections: Record<string, { dtype: string; shape: number[]; data: ArrayBufferView }>,
): Uint8Array {
  const table: Header["sections"] = {};
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(sections)) {
    table[name] = { dtype, shape, offset };
    offset += Math.ceil(data.byteLength / 8) * 8;
  }
  let header = new TextEncoder().encode(JSON.stringify({ version: VERSION, kind, meta, sections: table }));
  const padded = new Uint8Array(Math.ceil(header.length / 8) * 8).fill(32);
  padded.set(header);
  header = padded;
  const out = new Uint8Array(8 + header.length + offset);
  const view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.length, true);
  out.set(header, 8);
  for (const [name, { data }] of Object.entries(sections)) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + header.length + table[name].offset);
  }
  return out;
}
