// What Colab's page does for widgets: keeps what the kernel says of each, and gives every output a frame of another origin.
const FRAME = "http://output.colab.test/";
const states = {}; // comm id -> state, as the kernel sent it
const frames = () => [...document.querySelectorAll("iframe")];
const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;

function put(state, paths, buffers) {
  paths.forEach((path, i) => {
    path.slice(0, -1).reduce((at, step) => at[step], state)[path.at(-1)] = buffers[i];
  });
  return state;
}

globalThis.hear = (type, { comm_id, data }, base64) => {
  const buffers = base64.map(bytes);
  if (type === "comm_open") states[comm_id] = put(structuredClone(data.state), data.buffer_paths, buffers);
  if (type === "comm_msg" && data.method === "update" && states[comm_id])
    Object.assign(states[comm_id], put(structuredClone(data.state), data.buffer_paths, buffers));
  if (type !== "comm_msg" && type !== "comm_close") return;
  for (const frame of frames())
    frame.contentWindow.postMessage({ comm_id, data, closed: type === "comm_close", buffers: buffers.map((b) => b.slice()) }, "*");
};

globalThis.show = (model_id, manager) => {
  const frame = document.createElement("iframe");
  frame.setAttribute(
    "sandbox",
    "allow-downloads allow-forms allow-pointer-lock allow-popups allow-same-origin allow-scripts",
  );
  frame.style.cssText = "border: 0; width: 100%; height: 30px; display: block";
  frame.src = `${FRAME}#${new URLSearchParams({ model_id, manager })}`;
  document.body.append(frame);
};

addEventListener("message", async ({ data, source }) => {
  const frame = frames().find((each) => each.contentWindow === source);
  if (data.height) frame.style.height = `${data.height}px`;
  if (data.ask) source.postMessage({ answer: data.ask, state: structuredClone(states[data.ask]) }, "*");
  if (data.send) {
    await toKernel(data.send.comm_id, data.send.data);
    source.postMessage({ sent: data.send.number }, "*");
  }
});
