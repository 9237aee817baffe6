// The page at /: a history in the browser; recommendations and reasons asked anew whenever it changes.

import { combobox } from "./combobox.js";
import { bars, parts, scale } from "./reasons.js";

const K = 10;
const at = (id) => document.getElementById(id);
const name = (item) => item.title ?? item.item;

let history = []; // {item, title}, oldest first
let before = null; // the history before the last change
let shown = []; // the recommendations on the page
let explanations = [];
let asked = 0;

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it running?");
  }
  const answer = await response.json();
  if (!response.ok && answer.error) throw new Error(answer.error);
  return answer;
}

function change(next, told) {
  before = history;
  history = next;
  drawHistory();
  update(told);
}

function remove(number) {
  const gone = history[number], fromTop = history.length - 1 - number;
  change(history.filter((_, place) => place !== number), `Removed ${name(gone)}. `);
  const buttons = at("history").querySelectorAll("button");
  (buttons[Math.min(fromTop, buttons.length - 1)] ?? at("search")).focus();
}

function add(item) {
  if (history.some((one) => one.item === item.item)) {
    at("search-status").textContent = `${name(item)} is in the history already.`;
    return;
  }
  change([...history, { item: item.item, title: item.title }], `Added ${name(item)}. `);
}

function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

function drawHistory() {
  at("history").replaceChildren(...history.map((item, number) => {
    const row = document.createElement("li"), title = document.createElement("span");
    title.textContent = name(item);
    row.append(title, button("Remove", `Remove ${name(item)}`, () => remove(number)));
    return row;
  }).reverse());
  at("history-empty").hidden = history.length > 0;
  at("clear").hidden = history.length < 2;
  at("undo").hidden = before === null || !before.length;
}

async function update(told) {
  const number = (asked += 1);
  at("error").hidden = true;
  if (!history.length) {
    shown = explanations = [];
    drawRecommendations(new Map());
    at("changes").textContent = told;
    return;
  }
  at("recommendations").setAttribute("aria-busy", "true");
  try {
    const person = { history: history.map((item) => item.item) };
    const { items } = await ask("recommend", { ...person, k: K });
    if (number !== asked) return;
    const old = new Map(shown.map((item) => [item.item, item]));
    const summary = told + compared([...old.values()], items);
    shown = items;
    explanations = [];
    drawRecommendations(old);
    at("changes").textContent = summary;
    const reasons = items.length ? await ask("explain", { ...person, items: items.map((item) => item.item) }) : { items };
    if (number !== asked) return;
    explanations = reasons.items;
    drawRecommendations(old);
  } catch (error) {
    if (number !== asked) return;
    at("error").textContent = error.message;
    at("error").hidden = false;
  } finally {
    if (number === asked) at("recommendations").removeAttribute("aria-busy");
  }
}

/** What has changed between two lists, as a sentence. */
function compared(old, items) {
  if (!old.length) return "";
  const gone = old.filter((one) => ![...items, ...history].some((other) => other.item === one.item));
  const fresh = items.filter((one) => !old.some((other) => other.item === one.item));
  const moved = items.filter((one) => old.some((other) => other.item === one.item && other.rank !== one.rank));
  const told = [];
  if (fresh.length) told.push(`${fresh.length} new`);
  if (moved.length) told.push(`${moved.length} moved`);
  if (gone.length) told.push(`no longer here: ${gone.map(name).join("; ")}`);
  return told.length ? `${told.join(", ")}.` : "The list stays as it was.";
}

function badge(item, old) {
  const made = document.createElement("span"), was = old.get(item.item)?.rank;
  if (!old.size || was === item.rank) return made;
  made.className = was === undefined ? "badge new" : was > item.rank ? "badge up" : "badge down";
  const by = Math.abs((was ?? 0) - item.rank);
  made.textContent = was === undefined ? "new" : was > item.rank ? `up ${by}` : `down ${by}`;
  return made;
}

let drawnWith = new Map();

function drawRecommendations(old) {
  drawnWith = old;
  const view = document.querySelector("input[name=view]:checked").value;
  const all = explanations.map((explanation) => parts(explanation, view));
  const shared = scale(all.flat().map((part) => part.value));
  at("recommendations").replaceChildren(...shown.map((item, number) => {
    const row = document.createElement("li"), head = document.createElement("div");
    const rank = document.createElement("span"), title = document.createElement("h3");
    head.className = "head";
    rank.className = "rank";
    rank.textContent = String(item.rank);
    rank.setAttribute("aria-hidden", "true");
    title.textContent = name(item);
    head.append(rank, title, badge(item, old), button("Add", `Add ${name(item)} to the history`, () => {
      at("search").focus();
      add(item);
    }));
    row.append(head);
    if (all[number]) row.append(bars(name(item), all[number], shared));
    return row;
  }));
  at("recommendations-empty").hidden = shown.length > 0;
  at("key").hidden = !explanations.length;
  at("key-what").textContent = view === "item" ? "an item of the history" : "a relation";
}

async function begin() {
  drawHistory();
  try {
    const health = await ask("health");
    const number = (value) => value.toLocaleString("en");
    at("about").textContent = `${health.model} on ${health.dataset}: ${number(health.items)} items, epoch ${health.epoch}`;
    at("view").hidden = !health.relations.length;
  } catch (error) {
    at("about").textContent = error.message;
  }
}

const search = async (query) => (await ask(`items?limit=8&query=${encodeURIComponent(query)}`)).items;
combobox(at("search"), at("found"), at("search-status"), search, add);
at("view").addEventListener("change", () => drawRecommendations(drawnWith));
at("clear").addEventListener("click", () => { change([], "Removed all. "); at("search").focus(); });
at("undo").addEventListener("click", () => { change(before, "Undone. "); before = null; drawHistory(); at("search").focus(); });
begin();
