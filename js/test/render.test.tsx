// @vitest-environment happy-dom
import { beforeEach, expect, test, vi } from "vitest";
import { element, Fragment, mount, useEffect, useRef, useSignal } from "../src/dom/render.js";
import { signal } from "../src/dom/signals.js";

// As the build does it: JSX without JSX, so that the very functions of the bundle are tested.
const h = (type: unknown, props?: object | null, ...children: unknown[]) => element(type, props ?? null, ...children);

let root: HTMLElement;
let failed: ReturnType<typeof vi.fn>;
const show = (tree: ReturnType<typeof h>) => mount(tree, root, failed as unknown as (error: unknown) => void);
const redrawn = () => new Promise((done) => setTimeout(done));
const texts = (selector: string) => [...root.querySelectorAll(selector)].map((el) => el.textContent);

beforeEach(() => {
  document.body.innerHTML = "";
  root = document.createElement("div");
  document.body.append(root);
  failed = vi.fn();
});

test("keyed children keep their elements in any new order, and leave and come alone", async () => {
  const order = signal(["a", "b", "c", "d"]);
  show(
    h(() =>
      h(
        "ul",
        null,
        order.value.map((key) => h("li", { key }, key)),
      ),
    ),
  );
  const first = new Map([...root.querySelectorAll("li")].map((li) => [li.textContent, li]));
  for (const next of [["d", "c", "b", "a"], ["b", "d", "a", "c"], ["c", "b"], ["x", "c", "y", "b", "z"], [], ["b"]]) {
    order.value = next;
    await redrawn();
    expect(texts("li")).toEqual(next);
  }
  expect(first.get("a")?.isConnected).toBe(false);
  order.value = ["a", "b", "c"];
  await redrawn();
  const kept = [...root.querySelectorAll("li")];
  order.value = ["c", "a", "new", "b"];
  await redrawn();
  const now = [...root.querySelectorAll("li")];
  expect([now[0], now[1], now[3]]).toEqual([kept[2], kept[0], kept[1]]);
});

test("an element that moves keeps what was typed into it", async () => {
  const order = signal(["one", "two"]);
  show(
    h(() =>
      h(
        "p",
        null,
        order.value.map((key) => h("input", { key, name: key })),
      ),
    ),
  );
  const input = root.querySelector<HTMLInputElement>('[name="one"]') as HTMLInputElement;
  input.value = "typed";
  order.value = ["two", "one"];
  await redrawn();
  expect(root.lastElementChild?.lastElementChild).toBe(input);
  expect(input.value).toBe("typed");
});

test("a keyed component of several elements moves with all of them, and the elements are the same", async () => {
  const order = signal(["a", "b", "c"]);
  const Two = ({ name }: { name: string }) => [h("dt", null, name), h("dd", null, name)];
  show(
    h(() =>
      h(
        "dl",
        null,
        order.value.map((key) => h(Two, { key, name: key })),
      ),
    ),
  );
  const before = root.querySelectorAll("dl > *");
  order.value = ["c", "a", "b"];
  await redrawn();
  expect(texts("dl > *")).toEqual(["c", "c", "a", "a", "b", "b"]);
  expect([...root.querySelectorAll("dl > *")]).toEqual([4, 5, 0, 1, 2, 3].map((i) => before[i]));
});

test("fragments, lists, holes and components of several elements stand in their place", async () => {
  const n = signal(0);
  const Pair = () =>
    h(
      Fragment,
      null,
      h("i", null, "p"),
      Array.from({ length: n.value }, (_, i) => h("i", { key: i }, String(i))),
    );
  show(
    h(
      "div",
      null,
      h("b", null, "start"),
      h(Pair),
      null,
      false,
      h(() => (n.value > 1 ? "text" : null)),
      h("b", null, "end"),
    ),
  );
  for (const [value, expected] of [
    [0, "startpend"],
    [3, "startp012textend"],
    [1, "startp0end"],
  ] as const) {
    n.value = value;
    await redrawn();
    expect(root.textContent).toBe(expected);
  }
});

test("another type of element replaces the old one where it stood", async () => {
  const wide = signal(false);
  show(
    h(
      "div",
      null,
      h("i"),
      h(() => (wide.value ? h("section", null, "s") : h("p", null, "p"))),
      h("i"),
    ),
  );
  wide.value = true;
  await redrawn();
  expect([...(root.firstElementChild as Element).children].map((el) => el.tagName)).toEqual(["I", "SECTION", "I"]);
});

test("a ref holds its element while it is in the page, and null afterwards", async () => {
  const there = signal(true);
  const ref: { current: HTMLElement | null } = { current: null };
  show(h(() => (there.value ? h("p", { ref }) : null)));
  expect(ref.current).toBe(root.querySelector("p"));
  there.value = false;
  await redrawn();
  expect(ref.current).toBeNull();
});

test("effects run once the elements are in the page, again when their deps change, and end before that and at the end", async () => {
  const dep = signal("a");
  const other = signal(0);
  const log: string[] = [];
  const One = () => {
    const ref = useRef<HTMLElement>(null);
    other.value;
    useEffect(() => {
      log.push(`run ${dep.value} ${ref.current?.isConnected}`);
      return () => log.push("end");
    }, [dep.value]);
    return h("p", { ref });
  };
  const unmount = show(h(One));
  expect(log).toEqual(["run a true"]);
  other.value = 1; // drawn again, but the deps are the same
  await redrawn();
  expect(log).toHaveLength(1);
  dep.value = "b";
  await redrawn();
  expect(log).toEqual(["run a true", "end", "run b true"]);
  unmount();
  expect(log.at(-1)).toBe("end");
  expect(log).toHaveLength(4);
});

test("a component draws itself again for its own signals and nobody else's", async () => {
  const shared = signal("x");
  const drawn = { outer: 0, inner: 0 };
  const Inner = () => {
    drawn.inner++;
    const own = useSignal(0);
    return h("button", { onClick: () => (own.value += 1) }, `${shared.value}${own.value}`);
  };
  const Outer = () => {
    drawn.outer++;
    return h("div", null, h(Inner));
  };
  show(h(Outer));
  root.querySelector("button")?.click();
  await redrawn();
  expect(root.textContent).toBe("x1");
  shared.value = "y";
  await redrawn();
  expect(root.textContent).toBe("y1"); // what it remembered is still there
  expect(drawn).toEqual({ outer: 1, inner: 3 });
});

test("only the newest handler is called, and one that is gone is not", async () => {
  const which = signal<string | null>("old");
  const heard: string[] = [];
  show(
    h(() => {
      const name = which.value;
      return h("button", { onClick: name === null ? undefined : () => heard.push(name) });
    }),
  );
  const button = root.querySelector("button") as HTMLButtonElement;
  button.click();
  which.value = "new";
  await redrawn();
  button.click();
  which.value = null;
  await redrawn();
  button.click();
  expect(heard).toEqual(["old", "new"]);
});

test("text is text, in children and in attributes", () => {
  const hostile = `<img src=x onerror="alert(1)">&lt;b&gt;"'`;
  show(h("p", { title: hostile, "aria-label": hostile, class: hostile }, hostile, h("textarea", { value: hostile })));
  const p = root.querySelector("p") as HTMLElement;
  expect(p.firstChild?.nodeValue).toBe(hostile);
  expect(p.title).toBe(hostile);
  expect(p.getAttribute("aria-label")).toBe(hostile);
  expect(root.querySelector("textarea")?.value).toBe(hostile);
  expect(root.querySelectorAll("img, b, script")).toHaveLength(0);
});

test("attributes and properties that are no longer given are gone", async () => {
  const on = signal(true);
  show(h(() => h("input", on.value ? { title: "t", disabled: true, "aria-expanded": false, class: "c", "data-x": "1" } : {})));
  const input = root.querySelector("input") as HTMLInputElement;
  expect([input.disabled, input.getAttribute("aria-expanded"), input.className]).toEqual([true, "false", "c"]);
  on.value = false;
  await redrawn();
  expect([input.disabled, input.title, input.className]).toEqual([false, "", ""]);
  for (const name of ["aria-expanded", "data-x"]) expect(input.hasAttribute(name)).toBe(false);
});

test("what is inside an svg is of the svg namespace", () => {
  show(
    h(
      "svg",
      { viewBox: "0 0 1 1" },
      h("path", { d: "M0 0" }),
      h(() => h("g", null, h("line", { x1: 1 }))),
    ),
  );
  for (const el of root.querySelectorAll("svg, path, g, line")) expect(el.namespaceURI).toBe("http://www.w3.org/2000/svg");
});

test("once unmounted nothing is left in the page, and signals draw nothing", async () => {
  const value = signal(0);
  let drawn = 0;
  const unmount = show(
    h(
      "div",
      null,
      h(() => {
        drawn++;
        return h("p", null, value.value);
      }),
    ),
  );
  value.value = 1; // due when it is unmounted
  unmount();
  await redrawn();
  value.value = 2;
  await redrawn();
  expect(root.childNodes).toHaveLength(0);
  expect(drawn).toBe(1);
});

test("an inner component that goes with an outer one is not drawn any more", async () => {
  const item = signal<{ name: string } | null>({ name: "n" });
  const Inner = () => h("p", null, (item.value as { name: string }).name); // would throw on null
  show(h(() => (item.value ? h("div", null, h(Inner)) : h("i"))));
  item.value = null;
  await redrawn();
  expect(failed).not.toHaveBeenCalled();
  expect(root.innerHTML).toBe("<i></i>");
});

test("an error while drawing, now or later, and one in an effect are told", async () => {
  const bad = signal(false);
  show(
    h(() => {
      if (bad.value) throw new Error("later");
      return h("p");
    }),
  );
  bad.value = true;
  await redrawn();
  show(
    h(() => {
      throw new Error("now");
    }),
  );
  show(
    h(() => {
      useEffect(() => {
        throw new Error("effect");
      }, []);
      return null;
    }),
  );
  expect(failed.mock.calls.map(([error]) => (error as Error).message)).toEqual(["later", "now", "effect"]);
});
