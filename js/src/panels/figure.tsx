// The dialog for a figure: its size, what stands in it, and where it goes.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Choice, Toggle } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import { png } from "../download.js";
import type { Store } from "../store/store.js";
import type { Scene } from "../views/flow/scene.js";
import * as words from "../words.js";
import { figureOf, SIZES, save, type Wanted } from "./files.js";

export function FigureDialog({ store, scene, close }: { store: Store; scene: Scene; close: () => void }) {
  const wanted = useSignal<Wanted>({ size: "page", selection: true, legend: true, caption: false });
  const copied = useSignal("");
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    box.current?.querySelector<HTMLElement>("button.primary")?.focus();
  }, []);
  const set = (patch: Partial<Wanted>) => {
    wanted.value = { ...wanted.peek(), ...patch };
  };
  const toggle = (name: "selection" | "legend" | "caption", text: string) => (
    <Toggle on={wanted.value[name]} text={text} act={() => set({ [name]: !wanted.value[name] })} />
  );
  const copy = async () => {
    try {
      const blob = png(figureOf(store, scene, wanted.peek()));
      await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
      copied.value = words.copied;
    } catch {
      copied.value = words.copyBlocked;
    }
  };
  return (
    <div
      ref={box}
      class="pop figure"
      role="dialog"
      aria-label={words.figure}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        event.stopPropagation();
        close();
      }}
    >
      <div class="head">
        <h3>{words.figure}</h3>
        <Close act={close} />
      </div>
      <Choice
        label={words.figureSize}
        value={wanted.value.size}
        options={Object.entries(SIZES).map(([key, size]) => [key, words.sizes[key], size ? size.join(" × ") : words.asShown])}
        pick={(size) => set({ size: size as Wanted["size"] })}
      />
      <p class="with">
        {toggle("selection", words.withSelection)}
        {toggle("legend", words.withLegend)}
        {toggle("caption", words.withCaption)}
      </p>
      <p class="with">
        <button type="button" class="primary" onClick={() => save("svg", store, scene, wanted.peek())}>
          {words.svg}
        </button>
        <button type="button" onClick={() => save("png", store, scene, wanted.peek())}>
          {words.png}
        </button>
        <button type="button" title={words.pdfTitle} onClick={() => save("pdf", store, scene, wanted.peek())}>
          {words.pdf}
        </button>
        <button type="button" onClick={copy}>
          {copied.value || words.toClipboard}
        </button>
      </p>
    </div>
  );
}
