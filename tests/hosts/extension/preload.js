// In VS Code's webview: its widget manager for ipywidgets 8, with a kernel whose socket the extension holds.
import { activate as offer } from "../manager/package/dist/ipywidgets.js";
import { ServerConnection } from "@jupyterlab/services";
import { KernelConnection } from "@jupyterlab/services/lib/kernel/default.js";
import requirejs from "./require.txt";

const base64 = (bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

export function activate(context) {
  const script = document.createElement("script");
  script.textContent = requirejs;
  document.head.append(script);
  globalThis.requirejs.config({ paths: { anywidget: new URL("./anywidget", import.meta.url).href } });
  offer();
  globalThis.vscIPyWidgets8.load();
  let socket;
  class Socket {
    constructor() {
      socket = this;
      this.readyState = 0;
      this.protocol = "";
      setTimeout(() => {
        this.readyState = 1;
        this.onopen({});
      });
    }
    send(data) {
      context.postKernelMessage(typeof data === "string" ? { text: data } : { binary: base64(data.buffer ?? data) });
    }
    close() {}
  }
  Object.assign(Socket, { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 });
  context.onDidReceiveKernelMessage((message) => {
    if (message.model) start(message.model, Socket);
    else socket?.onmessage({ data: message.text ?? bytes(message.binary) });
  });
  context.postKernelMessage({ ready: true });
}

function start(model, Socket) {
  const settings = ServerConnection.makeSettings({ WebSocket: Socket, baseUrl: "http://kernel.test/", wsUrl: "ws://kernel.test/" });
  const kernel = new KernelConnection({ model, serverSettings: settings, handleComms: true });
  const loader = {
    widgetsRegisteredInRequireJs: new Set(),
    errorHandler: (...told) => console.error("a widget's script cannot be loaded", ...told),
    loadWidgetScript: async () => {},
    successHandler: () => {},
  };
  globalThis.lmttManager = new globalThis.vscIPyWidgets.WidgetManager(kernel, document.body, loader, () => {});
  globalThis.dispatchEvent(new Event("lmtt-manager"));
}
