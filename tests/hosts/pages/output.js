// What an output frame of Colab's does: loads the notebook's widget manager and is its environment (its src/api.ts).
const asked = new URLSearchParams(location.hash.slice(1));
const listening = {}; // comm id -> queues of messages
const answers = {};
const sent = {};
let number = 0;

addEventListener("message", ({ data }) => {
  if (data.answer) answers[data.answer]?.(data.state);
  if (data.sent) sent[data.sent]?.();
  for (const queue of listening[data.comm_id] ?? []) queue(data.closed ? null : { data: data.data, buffers: data.buffers });
});

function messages(comm_id) {
  const waiting = [];
  let wake = () => {};
  listening[comm_id] ??= [];
  listening[comm_id].push((message) => {
    waiting.push(message);
    wake();
  });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      while (waiting.length === 0)
        await new Promise((done) => {
          wake = done;
        });
      const value = waiting.shift();
      return { value, done: value === null };
    },
  };
}

const comm = (comm_id) => ({
  get messages() {
    return messages(comm_id);
  },
  send: (data) =>
    new Promise((done) => {
      sent[++number] = done;
      parent.postMessage({ send: { comm_id, data, number } }, "*");
    }),
  close() {},
});

const environment = {
  async getModelState(id) {
    const answer = new Promise((done) => (answers[id] = done));
    parent.postMessage({ ask: id }, "*");
    const state = await answer;
    if (!state) return undefined;
    const [modelName, modelModule, modelModuleVersion] = ["name", "module", "module_version"].map((x) => state[`_model_${x}`]);
    return { modelName, modelModule, modelModuleVersion, state, comm: comm(id) };
  },
  async openCommChannel() {
    throw new Error("a widget asked for a comm of its own");
  },
  async renderOutput(output, destination) {
    destination.textContent = JSON.stringify(output);
  },
};

new ResizeObserver(() => {
  parent.postMessage({ height: Math.ceil(document.documentElement.getBoundingClientRect().height) }, "*");
}).observe(document.documentElement);
const { createWidgetManager } = await import(asked.get("manager"));
await createWidgetManager(environment).render(asked.get("model_id"), document.querySelector("#output"));
