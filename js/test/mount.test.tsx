// @vitest-environment happy-dom
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { beforeEach, expect, test, vi } from "vitest";
import { mount } from "../src/panels/mount.js";

let root: HTMLElement;
let failed: ReturnType<typeof vi.fn>;
const show = (tree: ComponentChildren, inside = root) => mount(tree, inside, failed as unknown as (error: unknown) => void);
const redrawn = () => new Promise((done) => setTimeout(done));

beforeEach(() => {
  document.body.innerHTML = "";
  root = document.body.appendChild(document.createElement("div"));
  failed = vi.fn();
});

test("a component draws itself again for the signals it reads, and its effects end when it goes", async () => {
  const value = signal("a");
  const log: string[] = [];
  const One = () => {
    useLayoutEffect(() => {
      log.push(`run ${root.textContent}`);
      return () => log.push("end");
    }, [value.value]);
    return <p>{value.value}</p>;
  };
  const unmount = show(<One />);
  value.value = "b";
  await redrawn();
  expect(log).toEqual(["run a", "end", "run b"]);
  unmount();
  expect(log.at(-1)).toBe("end");
});

test("text is text, in children and in attributes", () => {
  const hostile = `<img src=x onerror="alert(1)">&lt;b&gt;"'`;
  show(
    <section title={hostile} aria-label={hostile} class={hostile}>
      {hostile}
      <textarea value={hostile} />
    </section>,
  );
  const section = root.querySelector("section") as HTMLElement;
  expect(section.firstChild?.nodeValue).toBe(hostile);
  expect(section.title).toBe(hostile);
  expect(section.getAttribute("aria-label")).toBe(hostile);
  expect(root.querySelector("textarea")?.value).toBe(hostile);
  expect(root.querySelectorAll("img, b, script")).toHaveLength(0);
});

test("once unmounted nothing is left in the page, and signals draw nothing", async () => {
  const value = signal(0);
  let drawn = 0;
  const One = () => {
    drawn++;
    return <p>{value.value}</p>;
  };
  const unmount = show(<One />);
  value.value = 1; // due when it is unmounted
  unmount();
  await redrawn();
  value.value = 2;
  await redrawn();
  expect(root.childNodes).toHaveLength(0);
  expect(drawn).toBe(1);
});

test("an error while drawing, now or later, and one in an effect are told", async () => {
  const bad = signal(false);
  const Later = () => {
    if (bad.value) throw new Error("later");
    return <p />;
  };
  const Now = () => {
    throw new Error("now");
  };
  const InEffect = () => {
    useLayoutEffect(() => {
      throw new Error("effect");
    }, []);
    return null;
  };
  const there = () => root.appendChild(document.createElement("div"));
  show(<Later />, there());
  bad.value = true;
  await redrawn();
  show(<Now />, there());
  show(<InEffect />, there());
  await redrawn();
  expect(failed.mock.calls.map(([error]) => (error as Error).message)).toEqual(["later", "now", "effect"]);
  expect(root.textContent).toBe("");
});
