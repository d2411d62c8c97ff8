// Entry of what accompanies a visit: the tour, the last session, a lost connection.

const GUIDE_COLOURS = ["--st-text-color", "--st-background-color", "--st-primary-color", "--st-font", "--st-border-color"];
const guides = new WeakMap();

export default function ({ parentElement, setTriggerValue }) {
  const before = guides.get(parentElement);
  if (before) {
    before.go = setTriggerValue;
    return before.end;
  }
  const colours = () => {
    const style = getComputedStyle(parentElement);
    return Object.fromEntries(GUIDE_COLOURS.map((name) => [name, style.getPropertyValue(name)]));
  };
  const tour = new Tour(colours);
  const lost = new Lost(colours);
  const guide = { go: setTriggerValue };
  const last = new Last((search) => guide.go("went", search), colours);
  const button = parentElement.querySelector(".hs-help");
  const open = () => tour.open(button);
  button.addEventListener("click", open);
  // The first visit: once there is something to point at.
  const waiting = setInterval(() => {
    const seen = remembered(TOUR_SEEN);
    const ready = document.querySelector('.hs-root:not([data-image=""])[data-image]');
    if (seen || ready) clearInterval(waiting);
    if (!seen && ready) tour.open(button);
  }, 300);
  guide.end = () => {
    clearInterval(waiting);
    button.removeEventListener("click", open);
    tour.node.remove();
    lost.close();
    last.close();
    guides.delete(parentElement);
  };
  guides.set(parentElement, guide);
  return guide.end;
}
