// js/src is built as its plan says: imports point down the flow and never round in a circle, as tests/test_house.py has it for Python.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const SOURCE = new URL("../src/", import.meta.url).pathname;

// A file imports only from its own room and from those above it.
const ROOMS = [
  "words",
  "wire",
  "core", // graph, routes, names, facts, differences: pure
  "paint", // pens, colours, what an encoding declares
  "encodings",
  "download",
  "host", // the widget's other side
  "store", // signals
  "a11y",
  "theme",
  "survey", // the map of a survey, a bundle of its own
  "controls", // what several panels are made of, what a kind declares
  "views/heat",
  "kinds",
  "views/flow",
  "panels",
  "index",
  "entry", // the page without a kernel, Python's figures
];
const PURE = ["words", "wire", "core", "paint", "encodings"];

const FILES = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((file) => /(?<!\.d)\.tsx?$/.test(file));
const textOf = (file: string) => readFileSync(SOURCE + file, "utf8");

function roomOf(file: string): string {
  if (file === "start.ts" || file === "standalone.ts" || file === "figure.ts") return "entry";
  return ROOMS.find((room) => file.startsWith(`${room}/`) || file.replace(/\.tsx?$/, "") === room) ?? "none";
}

/** What a file imports, types too: files of js/src, "registered:…", packages. */
function importsOf(file: string): string[] {
  return [...textOf(file).matchAll(/\b(?:from|import) "([^"]+)"|\bimport\("([^"]+)"\)/g)].map(([, name, lazy]) => {
    const path = name ?? lazy;
    if (!path.startsWith(".")) return path;
    const here = normalize(join(dirname(file), path)).replace(/\.js$/, "");
    return FILES.find((one) => one.replace(/\.tsx?$/, "") === here) ?? `nothing at ${here}`;
  });
}

test("every file has its room", () => {
  expect(FILES.length).toBeGreaterThan(60);
  expect(FILES.filter((file) => roomOf(file) === "none")).toEqual([]);
});

test("a file imports only from its own room and from those above it", () => {
  const upward: string[] = [];
  for (const file of FILES) {
    for (const name of importsOf(file)) {
      const [, folder] = /^registered:(kinds|encodings)$/.exec(name) ?? [];
      const room = folder ?? (FILES.includes(name) ? roomOf(name) : null);
      if (name.startsWith("nothing at")) upward.push(`${file} imports ${name}`);
      if (room && ROOMS.indexOf(room) > ROOMS.indexOf(roomOf(file))) upward.push(`${file} imports ${name}`);
    }
  }
  expect(upward).toEqual([]);
});

test("no file imports itself, however long the way round", () => {
  const done = new Set<string>();
  const visit = (file: string, way: string[]): void => {
    if (way.includes(file)) throw new Error(`a circle: ${[...way, file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const name of importsOf(file)) if (FILES.includes(name)) visit(name, [...way, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  expect(done.size).toBe(FILES.length);
});

test("what is pure needs neither a package nor the page", () => {
  const packages = FILES.filter((file) => PURE.includes(roomOf(file))).flatMap((file) =>
    importsOf(file).filter((name) => !FILES.includes(name)),
  );
  expect(packages).toEqual([]);
});

test("no kind and no encoding is named outside its own file by an import", () => {
  const named = FILES.flatMap((file) =>
    importsOf(file)
      .filter((name) => /^(kinds|encodings)\//.test(name))
      .map((name) => `${file} imports ${name}`),
  );
  expect(named).toEqual([]);
});

test("the first line of a file is a sentence", () => {
  for (const file of FILES) {
    const [comment] = /^(\/\/ .*\n)+/.exec(textOf(file)) ?? [""];
    expect(comment.trim(), file).toMatch(/^\/\/ [A-Z0-9"][\s\S]*[.?]$/);
  }
});

test("no file is two ideas long, and none of the picture's over 150 lines", () => {
  const long = FILES.filter((file) => textOf(file).split("\n").length > (file.startsWith("views/flow/") ? 150 : 400));
  expect(long).toEqual([]);
});
