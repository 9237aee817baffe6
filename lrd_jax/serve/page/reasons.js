// The reasons of one recommendation as bars: to the right what raises the score, to the left what lowers it.

const MOST_BARS = 4;

/** What adds to a score, by history item or by relation, largest first: [{name, value}]. */
export function parts(explanation, view) {
  const sums = new Map();
  for (const reason of explanation.reasons) {
    if (view === "item") sums.set(reason.place, { name: reason.title ?? reason.item, value: reason.contribution });
    else for (const [relation, value] of Object.entries(reason.relations)) {
      sums.set(relation, { name: relation, value: (sums.get(relation)?.value ?? 0) + value });
    }
  }
  return [...sums.values()].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
}

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** A list with a bar for each of the largest parts; `largest` fills half of the width. */
export function bars(title, all, largest) {
  const list = document.createElement("ul");
  list.className = "bars";
  list.setAttribute("aria-label", `Reasons for ${title}`);
  const rest = all.slice(MOST_BARS), shown = all.slice(0, MOST_BARS);
  if (rest.length) {
    const value = rest.reduce((sum, part) => sum + part.value, 0);
    shown.push({ name: rest.length === 1 ? rest[0].name : `${rest.length} others`, value });
  }
  list.append(...shown.map((part) => bar(part, largest)));
  return list;
}

function bar({ name, value }, largest) {
  const row = document.createElement("li"), label = document.createElement("span");
  const track = document.createElement("span"), fill = document.createElement("span");
  const number = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  label.title = name;
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  fill.className = value < 0 ? "fill less" : "fill more";
  fill.style.setProperty("--share", String(Math.min(1, Math.abs(value) / (largest || 1))));
  track.append(fill);
  number.className = "value";
  number.textContent = signed(value);
  row.append(label, track, number);
  return row;
}
