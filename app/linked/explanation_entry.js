// A map over the picture with the ends of its scale; a click on it makes that place the query.

export default function ({ data, parentElement, setTriggerValue }) {
  const node = parentElement.querySelector(".hs-map");
  const picture = element("img", { src: data.source, alt: data.alt, title: "Take this place as the query of the head views above" });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const share = (at, from, length) => Math.min(0.9999, Math.max(0, (at - from) / length));
    setTriggerValue("place", [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)]);
  });
  node.replaceChildren(
    element("h3", { class: "hs-depth", title: data.name }, data.name),
    picture,
    element("figcaption", {},
      element("span", {}, data.low),
      element("i", { style: `background-image: linear-gradient(to right, ${data.colours.join(", ")})` }),
      element("span", {}, data.high)),
  );
}
