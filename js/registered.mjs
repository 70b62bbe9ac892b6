// Finds what declares itself by standing in a folder (kinds of questions, encodings, style sheets), for esbuild and for vitest.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("src", import.meta.url));
const NAME = /^registered:(kinds|encodings|styles)$/;
const IN_FOLDER = { kinds: /^kinds\/[\w-]+\.tsx$/, encodings: /^encodings\/[\w-]+\.ts$/, styles: /\.css$/ };

/** What stands in one of the folders, the widget's own first and its theme before all else. */
function filesOf(name, folders) {
  const wanted = IN_FOLDER[name];
  return [SOURCE, ...folders.map((folder) => resolve(folder))].flatMap((folder) => {
    if (!existsSync(folder)) throw new Error(`there is no folder ${folder} to take kinds and encodings from`);
    const files = readdirSync(folder, { recursive: true }).map((file) => file.replaceAll("\\", "/"));
    const theme = (file) => Number(!file.startsWith("theme/"));
    const found = files.filter((file) => wanted.test(file)).sort((a, b) => theme(a) - theme(b) || (a < b ? -1 : 1));
    return found.map((file) => join(folder, file));
  });
}

/** A module that exports the default exports of those files: a list, of style sheets one text. */
function moduleOf(name, folders) {
  const files = filesOf(name, folders);
  const imports = files.map((file, i) => `import f${i} from ${JSON.stringify(file)};`);
  const list = `[${files.map((_, i) => `f${i}`).join(", ")}]`;
  return { files, contents: `${imports.join("\n")}\nexport default ${list}${name === "styles" ? '.join("\\n")' : ""};\n` };
}

/** For esbuild, style sheets as one minified text; `folders`: more of them, laid out as js/src. */
export function registered(folders = []) {
  return {
    name: "registered",
    setup(build) {
      build.onResolve({ filter: NAME }, ({ path }) => ({ path, namespace: "registered" }));
      build.onLoad({ filter: NAME, namespace: "registered" }, async ({ path }) => {
        const { files, contents } = moduleOf(path.match(NAME)[1], folders);
        const watched = { watchFiles: files, watchDirs: [...new Set(files.map((file) => dirname(file)))] };
        if (!path.endsWith("styles")) return { contents, resolveDir: SOURCE, ...watched };
        const css = files.map((file) => readFileSync(file, "utf8")).join("\n");
        const { code } = await build.esbuild.transform(css, { loader: "css", minify: true });
        return { contents: code.trim(), loader: "text", ...watched };
      });
    },
  };
}

/** For vitest. */
export function registeredForVite(folders = []) {
  return {
    name: "registered",
    resolveId: (id) => (NAME.test(id) ? `\0${id}` : null),
    load: (id) => (id.startsWith("\0") && NAME.test(id.slice(1)) ? moduleOf(id.match(/\w+$/)[0], folders).contents : null),
  };
}
