// The picture and the analysis as files.
import type { Store } from "../store/store.js";
import { svgText } from "../views/flow/figure.js";
import type { Scene } from "../views/flow/scene.js";
import { analysisText } from "./saved.js";

export function save(kind: "svg" | "png", scene: Scene | null): void {
  if (!scene) return;
  const svg = new Blob([svgText(scene)], { type: "image/svg+xml" });
  if (kind === "svg") {
    download(svg, "flow-routes.svg");
    return;
  }
  const url = URL.createObjectURL(svg);
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = 2 * scene.layout.width;
    canvas.height = 2 * scene.layout.height;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(url);
    canvas.toBlob((png) => png && download(png, "flow-routes.png"));
  };
  image.src = url;
}

export function saveJson(store: Store): void {
  download(new Blob([analysisText(store)], { type: "application/json" }), "flow-routes.json");
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
