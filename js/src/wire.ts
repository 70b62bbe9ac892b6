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
const isTable = (x: unknown) => typeof x === "object" && x !== null && !Array.isArray(x);
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
  if (bytes.length < 8) throw new WireError(`the ${kind} from Python is cut off after ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== MAGIC) throw new WireError(`the ${kind} from Python does not start with "LMTW"`);
  const start = 8 + view.getUint32(4, true);
  if (start > bytes.length || start % 8 !== 0) throw new WireError(`the ${kind} from Python is cut off inside its header`);
  let header: Header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
  } catch {
    throw new WireError(`the header of the ${kind} from Python is not readable JSON`);
  }
  if (!isTable(header)) throw new WireError(`the header of the ${kind} from Python says no version`);
  if (header.version !== VERSION) {
    throw new WireError(
      `the ${kind} has wire version ${header.version}, this widget reads version ${VERSION}; restart the kernel and reload the page`,
    );
  }
  if (header.kind !== kind) throw new WireError(`expected a ${kind} from Python, got a ${header.kind}`);
  if (!isTable(header.meta) || !isTable(header.sections))
    throw new WireError(`the header of the ${kind} from Python lacks its meta or its sections`);
  const sections: Record<string, Section> = {};
  const shapes: Record<string, number[]> = {};
  for (const [name, said] of Object.entries(header.sections)) {
    const { dtype, shape, offset } = isTable(said) ? said : ({} as Said);
    if (!Object.hasOwn(TYPES, String(dtype)))
      throw new WireError(`section ${name} of the ${kind} has the unknown dtype ${short(dtype)}`);
    const Type = TYPES[dtype as keyof typeof TYPES];
    const isSize = (size: number) => Number.isInteger(size) && size >= 0 && size <= bytes.length;
    if (!Array.isArray(shape) || shape.length > MOST_AXES || !shape.every(isSize))
      throw new WireError(`section ${name} of the ${kind} has the shape ${short(shape)}`);
    const n = shape.reduce((a, b) => a * b, 1);
    const at = start + offset;
    if (!isSize(offset) || offset % 8 !== 0 || at + n * Type.BYTES_PER_ELEMENT > bytes.length)
      throw new WireError(`section ${name} of the ${kind} is cut off`);
    const section = new Type(bytes.buffer as ArrayBuffer, at, n);
    sections[name] = dtype === "float16" ? widen(section as Uint16Array) : section;
    shapes[name] = shape;
  }
  return { kind: header.kind, meta: header.meta as Meta, sections, shapes };
}

/** Half floats as float32, exact: the bits moved into place, and the exponent's bias made up for by a power of two. */
export function widen(half: Uint16Array): Float32Array {
  const out = new Float32Array(half.length);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < half.length; i++) {
    const h = half[i];
    bits[i] = h << 13;
    if (h < 0x7c00) out[i] *= 2 ** 112;
    else out[i] = halfToFloat(h); // negative or not finite
  }
  return out;
}

function halfToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
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
