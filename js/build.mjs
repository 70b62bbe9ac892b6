// Builds lmtt_widget/static from js/src and refuses a bundle over its limit.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";
import { minify } from "terser";
import { registered } from "./registered.mjs";

const LIMIT = { minified: 200_000, gzip: 72_000 }; // bytes: every instance carries a folded copy in the saved notebook
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const { values: asked } = parseArgs({
  options: {
    with: { type: "string", multiple: true, default: [] }, // more folders with kinds/ and encodings/ in them
    out: { type: "string", default: path("lmtt_widget/static") },
    watch: { type: "boolean", default: false },
    dev: { type: "boolean", default: false }, // serves a page with saved data
    data: { type: "string", default: path("tests/fixtures/v0_1/analysis.json") }, // what save_json saved
    port: { type: "string", default: "8642" },
  },
});
const out = asked.out;

const options = {
  outdir: out,
  bundle: true,
  minify: true,
  sourcemap: "external", // beside the bundle and not named in it, so that no host asks for it; not in the wheel
  format: "esm",
  target: "es2022",
  platform: "browser",
  charset: "utf8",
  legalComments: "none",
  jsx: "transform", // without the keys and children that a runtime of its own would have as names in every element
  jsxFactory: "__element",
  jsxFragment: "__fragment",
  inject: [path("js/jsx.js")],
  tsconfigRaw: { compilerOptions: { target: "es2022" } },
  define: { LIVE: "true" },
  plugins: [registered(asked.with)],
  logLevel: "warning",
};

const offline = { define: { LIVE: "false" } };
const builds = [
  { ...options, entryPoints: { survey: path("js/src/survey/index.ts") } },
  { ...options, entryPoints: { widget: path("js/src/index.ts") } },
  { ...options, entryPoints: { start: path("js/src/start.ts") }, inject: [] },
  { ...options, ...offline, entryPoints: { page: path("js/src/standalone.ts") } },
  {
    ...options,
    entryPoints: { figure: path("js/src/figure.ts") },
    inject: [],
    format: "iife",
    globalName: "lmtt",
    platform: "neutral",
  },
];

/** Terser's safe rules after esbuild's: no property is renamed, nothing is assumed of a getter; 5 % fewer bytes gzipped. */
async function pressed(name) {
  const file = `${out}/${name}`;
  const [code, content] = await Promise.all([readFile(file, "utf8"), readFile(`${file}.map`, "utf8")]);
  const module = name !== "figure.js"; // a script, whose one name Python asks for
  const compress = { passes: 2, lhs_constants: false };
  // One letter beyond Latin 1, and a browser keeps all of the text in two bytes a letter, once for every run of a cell.
  const format = { ascii_only: true };
  const made = await minify(code, { module, ecma: 2022, compress, format, sourceMap: { content } });
  await Promise.all([writeFile(file, made.code), writeFile(`${file}.map`, made.map)]);
  return made.code;
}

const readable = { minify: false, sourcemap: "inline" };

/** A page with saved data and no kernel, which reloads when a source changes; nothing is written to disk. */
async function serve() {
  const page = await context({
    ...options,
    ...readable,
    ...offline,
    outdir: path("js/dev"), // in name only
    write: false,
    loader: { ".json": "copy" },
    entryPoints: { dev: path("js/dev/dev.ts"), analysis: asked.data },
  });
  await page.watch();
  const { port } = await page.serve({ servedir: path("js/dev"), host: "127.0.0.1", port: Number(asked.port) });
  console.log(`http://127.0.0.1:${port}/`);
}

if (asked.dev) await serve();
else if (asked.watch) {
  await mkdir(out, { recursive: true });
  for (const each of builds) await (await context({ ...each, ...readable })).watch();
} else {
  await mkdir(out, { recursive: true });
  await Promise.all(builds.map(build));
  for (const name of ["start.js", "widget.js", "page.js", "figure.js", "survey.js"]) {
    const code = await pressed(name);
    const size = { minified: Buffer.byteLength(code), gzip: gzipSync(code).length };
    console.log(`${name}: ${size.minified} bytes, ${size.gzip} gzip`);
    for (const [what, bytes] of Object.entries(size)) {
      // A bundle with more kinds and encodings than the package's own is as large as whoever makes it wants it.
      if (bytes > LIMIT[what] && asked.with.length === 0)
        throw new Error(`${name} must stay under ${LIMIT[what]} bytes ${what}, got ${bytes}`);
    }
  }
}
