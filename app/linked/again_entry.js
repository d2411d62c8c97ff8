// Asks Python to run its fragment anew after `after` ms; null: no more. A question that was lost is
// asked again, ever more slowly, until Python answers.

const asking = new WeakMap();
const SLOWER = 3;

export default function ({ data, parentElement, setStateValue }) {
  const ask = (after) => {
    asking.set(parentElement, setTimeout(() => {
      setStateValue("again", performance.now());
      ask(SLOWER * after);
    }, after));
  };
  clearTimeout(asking.get(parentElement));
  if (data.after !== null) ask(data.after);
  return () => clearTimeout(asking.get(parentElement));
}
