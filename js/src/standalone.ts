// The page without a kernel: a model that keeps the exported state, and mount() for the real bundle.
import { canonical, StaticModel } from "./offline.js";

export { StaticModel };

type Buffers = { path: (string | number)[]; data: string }[]; // data is base64

export interface Payload {
  state: Record<string, unknown>;
  buffers: Buffers;
  /** trait name -> canonical JSON of the value set -> the traits that then change */
  answers?: Record<string, Record<string, { state: Record<string, unknown>; buffers: Buffers }>>;
}

interface Afm {
  initialize?(props: unknown): unknown;
  render?(props: unknown): unknown;
}

/** Puts binary values back where they were taken out (Jupyter's buffer_paths). */
export function putBuffers<T extends Record<string, unknown>>(state: T, buffers: Buffers): T {
  for (const { path, data } of buffers) {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    let at = state as Record<string | number, unknown>;
    for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>;
    at[path[path.length - 1]] = new DataView(bytes.buffer);
  }
  return state;
}

export async function mount(el: HTMLElement, afm: Afm | (() => Promise<Afm>), payload: Payload): Promise<StaticModel> {
  const definition = typeof afm === "function" ? await afm() : afm;
  const model = new StaticModel(putBuffers(payload.state, payload.buffers), (name, value) => {
    const answer = payload.answers?.[name]?.[canonical(value)];
    return answer ? putBuffers(structuredClone(answer.state), answer.buffers) : null;
  });
  const { signal } = new AbortController();
  const nope = () => Promise.reject(new Error("no kernel"));
  const experimental = { invoke: nope };
  await definition.initialize?.({ model, signal, experimental });
  await definition.render?.({ model, el, signal, experimental, host: { getModel: nope, getWidget: nope } });
  return model;
}
