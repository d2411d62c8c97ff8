// Asks Python to run its fragment anew after about `after` ms; null: no more. A question that was lost
// is asked again, ever more slowly, until Python answers. Not to the millisecond: of two fragments that
// tell of something at the same moment, Streamlit runs one.

const asking = new WeakMap();
const SLOWER = 3;

export default function ({ data, parentElement, setStateValue }) {
  const ask = (after) => {
    asking.set(parentElement, setTimeout(() => {
      setStateValue("again", performance.now());
      ask(SLOWER * after);
    }, after * (0.8 + 0.4 * Math.random())));
  };
  clearTimeout(asking.get(parentElement));
  if (data.after !== null) ask(data.after);
  return () => clearTimeout(asking.get(parentElement));
}
