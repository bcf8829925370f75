// What was classified earlier in this visit. It never leaves the browser: sessionStorage, until the tab is closed.

import { percent } from "./answers.js";
import { clone } from "./template.js";

const KEY = "classified-1"; // another number where what is kept takes another form
const MOST = 50;

export class History {
  constructor(section) {
    this.section = section;
    this.details = section.querySelector("details");
    this.entries = load();
    this.details.addEventListener("toggle", () => this.show());
    section.querySelector("#forget").addEventListener("click", () => {
      this.keep([]);
      document.getElementById("file").focus();
    });
    this.show();
  }

  /** @param {string | null} picture  small, as a data URI */
  add(item, picture) {
    const results = item.answer.results.map(({ model, version, predictions: [{ label, score }] }) => ({ model, version, label, score }));
    this.keep([{ name: item.file.name, picture, results }, ...this.entries].slice(0, MOST));
  }

  keep(entries) {
    this.entries = store(entries);
    this.show();
  }

  show() {
    this.section.hidden = !this.entries.length;
    this.section.querySelector("#history-count").textContent = this.entries.length;
    this.section.querySelector("#past").replaceChildren(...(this.details.open ? this.entries.map(row) : []));
  }
}

function row({ name, picture, results }) {
  const element = clone("past-template");
  if (picture) element.querySelector("img").src = picture;
  else element.querySelector("img").remove();
  const found = results.map(({ model, version, label, score }) => `${label} ${percent(score)} (${model}, version ${version})`);
  element.querySelector("span").textContent = `${name}: ${found.join(", ")}`;
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
