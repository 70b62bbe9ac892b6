// Builds lmtt_widget/static from js/src and refuses a bundle over its limit.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";
import { minify } from "terser";

const LIMIT = 110_000; // bytes, minified: every instance carries a copy in the saved notebook
const root = new URL("..", import.meta.url);
const path = (name) => fileURLToPath(new URL(name, root));
const out = path("lmtt_widget/static");

// Properties of our own objects only, shortened in the bundle. What a host, Python, a file or the DOM names keeps its name.
const INTERNAL = [
  ...["store", "traits", "current", "entered", "strength", "hover", "palette", "camera", "colour", "props", "source"],
  ...["share_sum", "share_max", "input_share", "node_x", "node_y", "node_flow", "n_nodes", "n_edges", "n_drawn", "n_slots"],
  ...["n_next", "column_gap", "row_gap", "max_radius", "half_square", "top_weight", "edge_kind", "squareOf", "folded"],
  ...["setSelection", "setView", "setTarget", "togglePin", "has_sign", "quiet", "beside", "caption", "halo", "faint", "sliding"],
  ...["node_strength", "routes", "circles", "sources", "settle", "readers", "inner", "depth", "zoom"],
  ...["anchor", "layout", "lowest", "finding", "n_lines", "setEncoding", "squares", "next_token"],
];

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
  mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`),
  logLevel: "warning",
};

const widget = { ...options, entryPoints: { widget: path("js/src/index.ts") }, inject: [path("js/src/jsx.ts")] };
const figure = {
  ...options,
  entryPoints: { figure: path("js/src/figure.ts") },
  format: "iife",
  globalName: "lmtt",
  platform: "neutral",
};
const page = { ...widget, entryPoints: { page: path("js/src/standalone.ts") } };

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
        return { contents: code.replace(/(--\w+:) /g, "$1").trim(), loader: "text" };
      });
    },
  };
}

/** Refuses to shorten a name that is also a string, here or in Python's messages, or an export: the two would no longer meet. */
async function checkInternal() {
  const texts = async (folder, ending, deep) =>
    (await readdir(path(folder), { recursive: deep }))
      .filter((file) => ending.test(file))
      .map((file) => readFile(path(`${folder}/${file}`), "utf8"));
  const all = await Promise.all([
    ...(await texts("lmtt_widget", /(?<!__init__)\.py$/, false)),
    ...(await texts("js/src", /\.tsx?$/, true)),
  ]);
  const elsewhere = /["'`](\w+)["'`]|export (?:const|function) (\w+)/g;
  const written = new Set(all.flatMap((text) => [...text.matchAll(elsewhere)].map(([, quoted, name]) => quoted ?? name)));
  const clashes = INTERNAL.filter((name) => written.has(name));
  if (clashes.length) throw new Error(`INTERNAL in js/build.mjs names what is also a string or an export: ${clashes.join(", ")}`);
}

/**
 * A second pass over the minified code. Reading a signal's value is no idle property access, so getters count as calls;
 * "unsafe" is only where somebody replaced String, Array or the like.
 */
async function minified(code, module) {
  const compress = { passes: 4, pure_getters: false, keep_fargs: false, unsafe_arrows: true, unsafe: true, unsafe_methods: true };
  return (await minify(code, { module, ecma: 2022, compress, format: { comments: false } })).code;
}

await mkdir(out, { recursive: true });
if (process.argv.includes("--watch")) {
  for (const each of [widget, page, figure]) await (await context({ ...each, minify: false, sourcemap: "inline" })).watch();
} else {
  await checkInternal();
  await Promise.all([build(widget), build(page), build(figure)]);
  for (const name of ["widget.js", "page.js", "figure.js"]) {
    const code = Buffer.from(await minified(await readFile(`${out}/${name}`, "utf8"), name !== "figure.js"));
    await writeFile(`${out}/${name}`, code);
    console.log(`${name}: ${code.length} bytes, ${gzipSync(code).length} gzip`);
    if (name === "widget.js" && code.length > LIMIT) {
      console.error(`widget.js must stay under ${LIMIT} bytes, got ${code.length}`);
      process.exit(1);
    }
  }
}
