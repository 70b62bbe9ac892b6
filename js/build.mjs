// Builds lmtt_widget/static from js/src and refuses a bundle over its limit.
import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const LIMIT = { minified: 200_000, gzip: 70_000 }; // bytes: every instance carries a copy in the saved notebook
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const out = path("lmtt_widget/static");

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
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".css": "text" },
  plugins: [minifiedCss()],
  logLevel: "warning",
};

const builds = [
  { ...options, entryPoints: { widget: path("js/src/index.ts") } },
  { ...options, entryPoints: { page: path("js/src/standalone.ts") } },
  { ...options, entryPoints: { figure: path("js/src/figure.ts") }, format: "iife", globalName: "lmtt", platform: "neutral" },
];

/** Style sheets as minified strings. */
function minifiedCss() {
  return {
    name: "minified-css",
    setup(b) {
      b.onLoad({ filter: /\.css$/ }, async (args) => {
        const css = await b.esbuild.transform(await readFile(args.path, "utf8"), { loader: "css", minify: true });
        return { contents: css.code.trim(), loader: "text" };
      });
    },
  };
}

await mkdir(out, { recursive: true });
if (process.argv.includes("--watch")) {
  for (const each of builds) await (await context({ ...each, minify: false, sourcemap: "inline" })).watch();
} else {
  await Promise.all(builds.map(build));
  for (const name of ["widget.js", "page.js", "figure.js"]) {
    const code = await readFile(`${out}/${name}`);
    const size = { minified: code.length, gzip: gzipSync(code).length };
    console.log(`${name}: ${size.minified} bytes, ${size.gzip} gzip`);
    for (const [what, bytes] of Object.entries(size)) {
      if (bytes > LIMIT[what]) throw new Error(`${name} must stay under ${LIMIT[what]} bytes ${what}, got ${bytes}`);
    }
  }
}
