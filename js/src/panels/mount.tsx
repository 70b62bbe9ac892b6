// A tree in the page until something in it fails, now or later.
import { Component, type ComponentChildren, render } from "preact";

interface Props {
  children: ComponentChildren;
  failed: (error: unknown) => void;
}

/** Shows nothing once something inside has failed. */
class Guard extends Component<Props, { is_broken: boolean }> {
  override state = { is_broken: false };
  override componentDidCatch(error: unknown): void {
    this.setState({ is_broken: true });
    queueMicrotask(() => this.props.failed(error)); // who hears it may take the whole tree away, which Preact is still drawing
  }
  override render({ children }: Props) {
    return this.state.is_broken ? null : children;
  }
}

/** Draws `tree` inside `parent`; `failed` hears of errors. Returns what removes it. */
export function mount(tree: ComponentChildren, parent: Element, failed: (error: unknown) => void): () => void {
  render(<Guard failed={failed}>{tree}</Guard>, parent);
  return () => render(null, parent);
}
