// A notebook's controller in VS Code: its cells run on a Jupyter server's kernel, whose socket the webview shares.
const vscode = require("vscode");
const { LMTT_SERVER: SERVER, LMTT_TOKEN: TOKEN } = process.env;
const session = crypto.randomUUID();

exports.activate = () => {
  const controller = vscode.notebooks.createNotebookController("lmtt", "jupyter-notebook", "Python");
  const kernel = connected(controller);
  controller.executeHandler = async (cells) => {
    for (const cell of cells) await run(controller, await kernel, cell);
  };
  vscode.workspace.onDidOpenNotebookDocument((notebook) => opened(controller, notebook));
  for (const notebook of vscode.workspace.notebookDocuments) opened(controller, notebook);
};

/** Runs all cells of a notebook that is opened. */
async function opened(controller, notebook) {
  if (notebook.notebookType !== "jupyter-notebook") return;
  controller.updateNotebookAffinity(notebook, vscode.NotebookControllerAffinity.Preferred);
  while (!vscode.window.activeNotebookEditor) await new Promise((done) => setTimeout(done, 200));
  await vscode.commands.executeCommand("notebook.selectKernel", { id: "lmtt", extension: "lmtt.lmtt-host" });
  await vscode.commands.executeCommand("notebook.execute");
}

/** The kernel, and a line from it to the webview and back; whatever either says before the other is there waits. */
async function connected(controller) {
  let hear, ready;
  const told = new Promise((done) => {
    ready = done;
  });
  controller.onDidReceiveMessage(({ message }) => (message.ready ? ready() : hear(message)));
  const headers = { Authorization: `token ${TOKEN}` };
  const body = JSON.stringify({ name: "python3" });
  const model = await (await fetch(`${SERVER}/api/kernels`, { method: "POST", headers, body })).json();
  const address = `${SERVER.replace("http", "ws")}/api/kernels/${model.id}/channels?session_id=${session}&token=${TOKEN}`;
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  await new Promise((done, failed) => {
    socket.onopen = done;
    socket.onerror = failed;
  });
  const waiting = [];
  let tell = (message) => waiting.push(message);
  const hearing = new Map(); // id of a request -> what hears its messages
  socket.onmessage = ({ data }) => {
    const is_text = typeof data === "string";
    tell(is_text ? { text: data } : { binary: Buffer.from(data).toString("base64") });
    const message = JSON.parse(is_text ? data : header(data));
    hearing.get(message.parent_header?.msg_id)?.(message.header.msg_type, message.content);
  };
  hear = ({ text, binary }) => socket.send(text ?? Buffer.from(binary, "base64"));
  told.then(() => {
    controller.postMessage({ model });
    tell = (one) => controller.postMessage(one);
    for (const one of waiting.splice(0)) tell(one);
  });
  return { socket, hearing };
}

/** The JSON of a message with buffers: the first piece, whose beginning and end stand in front of all. */
function header(data) {
  const view = new DataView(data);
  return new TextDecoder().decode(new Uint8Array(data).subarray(view.getUint32(4), view.getUint32(8)));
}

async function run(controller, { socket, hearing }, cell) {
  const run = controller.createNotebookCellExecution(cell);
  run.start(Date.now());
  await run.clearOutput();
  const msg_id = crypto.randomUUID();
  const done = new Promise((idle) => {
    hearing.set(msg_id, (type, content) => {
      if (type === "display_data" || type === "execute_result") run.appendOutput(output(content));
      if (type === "stream") run.appendOutput(new vscode.NotebookCellOutput([vscode.NotebookCellOutputItem.stdout(content.text)]));
      if (type === "error") run.appendOutput(new vscode.NotebookCellOutput([vscode.NotebookCellOutputItem.stderr(content.evalue)]));
      if (type === "status" && content.execution_state === "idle") idle();
    });
  });
  const told = { msg_id, msg_type: "execute_request", username: "", session, version: "5.3", date: new Date().toISOString() };
  const content = { code: cell.document.getText(), silent: false, store_history: true, user_expressions: {}, allow_stdin: false };
  socket.send(JSON.stringify({ header: told, parent_header: {}, metadata: {}, channel: "shell", content, buffers: [] }));
  await done;
  run.end(true, Date.now());
}

/** In VS Code's order: widgets before HTML before pictures before text. */
function output({ data, metadata }) {
  const order = ["application/vnd.jupyter.widget-view+json", "text/html", "image/png", "text/plain"];
  const items = Object.keys(data)
    .sort((a, b) => order.indexOf(a) - order.indexOf(b))
    .map((mime) => {
      if (mime === "image/png") return new vscode.NotebookCellOutputItem(Buffer.from(data[mime], "base64"), mime);
      return typeof data[mime] === "string"
        ? vscode.NotebookCellOutputItem.text(data[mime], mime)
        : vscode.NotebookCellOutputItem.json(data[mime], mime);
    });
  return new vscode.NotebookCellOutput(items, { metadata });
}
