// What was classified earlier in this visit. It never leaves the browser: sessionStorage, until the tab is closed.

import { percent } from "./answers.js";
import { clone } from "./template.js";

const KEY = "classified";
const MOST = 50;

export class History {
  constructor(section) {
    this.section = section;
    this.entries = load();
    section.querySelector("#forget").addEventListener("click", () => this.keep([]));
    this.show();
  }

  /** @param {string | null} picture  small, as a data URI */
  add(item, picture) {
    const results = item.answer.results.map(({ model, predictions: [{ label, score }] }) => ({ model, label, score }));
    this.keep([{ name: item.file.name, picture, results }, ...this.entries].slice(0, MOST));
  }

  keep(entries) {
    this.entries = store(entries);
    this.show();
  }

  show() {
    this.section.hidden = !this.entries.length;
    this.section.querySelector("#history-count").textContent = this.entries.length;
    this.section.querySelector("#past").replaceChildren(...this.entries.map(row));
  }
}

function row({ name, picture, results }) {
  const element = clone("past-template");
  if (picture) element.querySelector("img").src = picture;
  else element.querySelector("img").remove();
  const found = results.map(({ model, label, score }) => `${label} ${percent(score)} (${model})`).join(", ");
  element.querySelector("span").textContent = `${name}: ${found}`;
  return element;
}

function load() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return []; // storage is turned off
  }
}

/** Keep as many of the newest as there is room for. */
function store(entries) {
  for (let kept = entries; ; kept = kept.slice(0, -5)) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(kept));
      return kept;
    } catch {
      if (!kept.length) return entries;
    }
  }
}
