// A part of a panel under a heading of its own.
import type { ComponentChildren } from "preact";

interface SectionProps {
  title: string;
  beside?: ComponentChildren;
  children: ComponentChildren;
}

export function Section({ title, beside, children }: SectionProps) {
  return (
    <section>
      <div class="head">
        <h3>{title}</h3>
        {beside}
      </div>
      {children}
    </section>
  );
}
