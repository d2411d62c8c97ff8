// The most probable classes as bars; a click makes a class the target.

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".hs-predictions");
  node.replaceChildren(...data.rows.map(({ index, name, probability }) => element(
    data.fixed ? "div" : "button",
    {
      ...(data.fixed ? {} : { type: "button", title: `Take ${name} as the target class`, "aria-pressed": String(index === data.target), onclick: () => setStateValue("target", { index, at: performance.now() }) }),
      class: index === data.target ? "hs-target" : "", "data-class": String(index),
    },
    element("span", { class: "hs-fill", style: `width: ${100 * probability}%` }),
    element("span", { class: "hs-name" }, name), element("span", { class: "hs-value" }, percent(probability)),
  )));
}
