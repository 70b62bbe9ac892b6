// In VS Code's webview: an output with a widget is given to the widget manager.
const views = new Map();

// As the Jupyter extension's own renderer does around every widget, in every theme.
const style = document.createElement("style");
style.textContent = ".cell-output-ipywidget-background { background: white !important; padding: 8px }";
document.head.append(style);

export const activate = () => ({
  async renderOutputItem(item, el) {
    if (!globalThis.lmttManager) await new Promise((done) => addEventListener("lmtt-manager", done, { once: true }));
    const manager = globalThis.lmttManager;
    const { model_id } = item.json();
    const model = await manager.get_model(model_id);
    const view = await manager.create_view(model, { el });
    views.set(item.id, view);
    el.classList.add("cell-output-ipywidget-background");
    await manager.display_view(null, view, { node: el });
  },
  disposeOutputItem(id) {
    views.get(id)?.remove();
    views.delete(id);
  },
});
