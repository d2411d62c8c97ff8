// Thumbnails of which one is chosen. A click tells its time, too: the same one may be clicked again
// after another was chosen elsewhere, and Streamlit tells of changes alone.

const galleries = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".hs-gallery");
  const press = (key) => {
    for (const button of node.children) button.setAttribute("aria-pressed", String(button.dataset.key === key));
  };
  const shape = JSON.stringify(data.items.map(({ key, source }) => [key, source.length]));
  if (galleries.get(node) !== shape) {
    galleries.set(node, shape);
    node.replaceChildren(...data.items.map(({ key, name, source }) => element(
      "button",
      { type: "button", "data-key": key, title: name, "aria-label": name, onclick: () => { press(key); setStateValue("picture", { key, at: performance.now() }); } },
      element("img", { src: source, alt: "" }),
    )));
  }
  press(data.chosen);
}
