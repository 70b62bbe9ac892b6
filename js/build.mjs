// Builds lmtt_widget/static from js/src and refuses a bundle over its limit.
import { mkdir, readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const LIMIT = 110_000; // bytes, minified: every instance carries a copy in the saved notebook
const root = new URL("..", import.meta.url);
const path = (name) => fileURLToPath(new URL(name, root));
const out = path("lmtt_widget/static");

const options = {
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  platform: "browser",
  charset: "utf8",
  legalComments: "none",
  jsx: "transform", // h() is 1 kB smaller than the automatic runtime's calls
  jsxFactory: "jsxElement",
  jsxFragment: "jsxFragment",
  tsconfigRaw: "{}",
  loader: { ".css": "text" },
  plugins: [minifiedCss()],
  logLevel: "warning",
};

const widget = { ...options, entryPoints: { widget: path("js/src/index.ts") }, inject: [path("js/src/jsx.ts")] };
const standalone = { ...options, entryPoints: { standalone: path("js/src/standalone.ts") } };

/** style.css as a string, minified, with short names for its own variables (not the two that scripts set). */
function minifiedCss() {
  return {
    name: "minified-css",
    setup(b) {
      b.onLoad({ filter: /\.css$/ }, async (args) => {
        const css = await b.esbuild.transform(await readFile(args.path, "utf8"), { loader: "css", minify: true });
        const short = new Map();
        const code = css.code.replace(/--(?!height|at\b|webkit|moz)([a-z][a-z-]+)(?=[:),])/g, (_, name) => {
          if (!short.has(name)) short.set(name, `--${short.size.toString(36)}`);
          return short.get(name);
        });
        return { contents: code.trim(), loader: "text" };
      });
    },
  };
}

await mkdir(out, { recursive: true });
if (process.argv.includes("--watch")) {
  for (const each of [widget, standalone]) await (await context({ ...each, minify: false, sourcemap: "inline" })).watch();
} else {
  await Promise.all([build(widget), build(standalone)]);
  for (const name of ["widget.js", "standalone.js"]) {
    const code = await readFile(`${out}/${name}`);
    console.log(`${name}: ${(await stat(`${out}/${name}`)).size} bytes, ${gzipSync(code).length} gzip`);
    if (name === "widget.js" && code.length > LIMIT) {
      console.error(`widget.js must stay under ${LIMIT} bytes, got ${code.length}`);
      process.exit(1);
    }
  }
}
