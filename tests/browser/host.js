// Stands in for a notebook's widget manager: Backbone's model as ipywidgets 8 drives it, with Python on the other
// side of `pyExchange`. As in a notebook, values that are set while a message is on its way are joined, latest wins.

const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);
const bytesOf = (value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength));

function encode(value) {
  let text = "";
  for (const byte of bytesOf(value)) text += String.fromCharCode(byte);
  return btoa(text);
}

// Notebooks hand over views into the middle of a message: so does this host, and not 8-aligned. In most it is a
// DataView, in Colab a Uint8Array.
function decode(text) {
  const raw = atob(text);
  const message = new Uint8Array(raw.length + 3);
  for (let i = 0; i < raw.length; i++) message[i + 3] = raw.charCodeAt(i);
  return opened.bytes === "DataView" ? new DataView(message.buffer, 3) : message.subarray(3);
}

// [state without binary values, the binary values with their paths]
function takeBuffers(state) {
  const buffers = [];
  const walk = (value, path) => {
    if (isBinary(value)) {
      buffers.push({ path, data: encode(value) });
      return null;
    }
    if (Array.isArray(value)) return value.map((item, i) => walk(item, [...path, i]));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key])]));
    }
    return value;
  };
  return [walk(state, []), buffers];
}

function putBuffers(state, buffers) {
  for (const { path, data } of buffers) {
    let at = state;
    for (const key of path.slice(0, -1)) at = at[key];
    at[path.at(-1)] = decode(data);
  }
  return state;
}

function isSame(a, b) {
  return a === b || JSON.stringify(takeBuffers({ value: a })) === JSON.stringify(takeBuffers({ value: b }));
}

class Model {
  state = {};
  unsaved = {};
  listeners = [];
  sending = false;

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    const patch = typeof name === "string" ? { [name]: value } : name;
    for (const key of this.assign(patch)) this.unsaved[key] = patch[key];
  }

  assign(patch) {
    const changed = Object.keys(patch).filter((key) => !isSame(this.state[key], patch[key]));
    for (const key of changed) this.state[key] = patch[key];
    for (const key of changed) this.trigger(`change:${key}`, this, patch[key]);
    if (changed.length) this.trigger("change", this);
    return changed;
  }

  save_changes() {
    void this.exchange();
  }

  async exchange() {
    if (this.sending) return;
    this.sending = true;
    try {
      do {
        const [state, buffers] = takeBuffers(this.unsaved);
        const sent = Object.keys(state).length ? { state, buffers } : null;
        this.unsaved = {};
        for (const answer of await pyExchange(sent)) {
          putBuffers(answer.state, answer.buffers);
          // what the reader changed meanwhile is newer than this answer
          for (const key of Object.keys(this.unsaved)) delete answer.state[key];
          this.assign(answer.state);
        }
      } while (Object.keys(this.unsaved).length);
    } finally {
      this.sending = false;
    }
  }

  on(name, callback) {
    this.listeners.push({ name, callback });
  }

  off(name, callback) {
    this.listeners = this.listeners.filter((it) => !((name ?? it.name) === it.name && (callback ?? it.callback) === it.callback));
  }

  trigger(name, ...args) {
    for (const it of [...this.listeners]) if (it.name === name) it.callback(...args);
  }

  send() {
    throw new Error("the wire is made of traits only: model.send must not be used");
  }
}

const opened = await pyOpen();
const model = new Model();
model.state = putBuffers(opened.state, opened.buffers);
const views = [];
// as anywidget's loader does
const address = URL.createObjectURL(new Blob([opened.esm], { type: "text/javascript" }));
const { default: widget } = await import(address);
URL.revokeObjectURL(address);
const definition = typeof widget === "function" ? await widget() : widget;

globalThis.host = {
  model,
  async sync() {
    while (model.sending) await new Promise((done) => setTimeout(done, 2));
    await model.exchange();
  },

  /** One more view; `state`: what else than Python's state it is given. */
  async show(width, state) {
    const el = document.createElement("div");
    el.className = "view";
    if (width) el.style.width = `${width}px`;
    document.body.append(el);
    const controller = new AbortController();
    const given = state ? Object.assign(new Model(), { state: { ...model.state, ...state } }) : model;
    const cleanup = await definition.render({ model: given, el, signal: controller.signal, experimental: {}, host: {} });
    views.push({ el, cleanup, controller });
  },

  async remove(index) {
    const [{ el, cleanup, controller }] = views.splice(index, 1);
    controller.abort();
    await cleanup?.();
    el.remove();
  },
};

await definition.initialize?.({ model, signal: new AbortController().signal, experimental: {} });
setInterval(() => model.exchange(), 30);
globalThis.host.isOpen = true;
