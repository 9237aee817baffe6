// The reasons of recommendations as bars: to the right of zero what raises the score, to the left what lowers it.

const MOST_BARS = 4;

/** What adds to a score, by history item or by relation, largest first, the rest as one: [{name, value}]. */
export function parts(explanation, view) {
  const sums = new Map();
  for (const reason of explanation.reasons) {
    if (view === "item") sums.set(reason.place, { name: reason.title ?? reason.item, value: reason.contribution });
    else for (const [relation, value] of Object.entries(reason.relations)) {
      sums.set(relation, { name: relation, value: (sums.get(relation)?.value ?? 0) + value });
    }
  }
  const all = [...sums.values()].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  const rest = all.slice(MOST_BARS);
  if (rest.length < 2) return all;
  const value = rest.reduce((sum, part) => sum + part.value, 0);
  return [...all.slice(0, MOST_BARS), { name: `${rest.length} others`, value }];
}

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** The scale that all bars of a page share, from its lowest to its highest value: where zero is, and the range. */
export function scale(values) {
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  return { zero: -low / (high - low || 1), range: high - low || 1 };
}

/** A list with a bar for each part. */
export function bars(title, all, shared) {
  const list = document.createElement("ul");
  list.className = "bars";
  list.setAttribute("aria-label", `Reasons for ${title}`);
  list.append(...all.map((part) => bar(part, shared)));
  return list;
}

function bar({ name, value }, { zero, range }) {
  const row = document.createElement("li"), label = document.createElement("span");
  const track = document.createElement("span"), fill = document.createElement("span");
  const number = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  label.title = name;
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  fill.className = value < 0 ? "fill less" : "fill more";
  track.style.setProperty("--zero", `${100 * zero}%`);
  fill.style.setProperty("--width", `${(100 * Math.abs(value)) / range}%`);
  track.append(fill);
  number.className = "value";
  number.textContent = signed(value);
  row.append(label, track, number);
  return row;
}
