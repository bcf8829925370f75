// The images classified earlier in this browser tab. Kept in sessionStorage, never sent to the server.

import { lead, percent } from "./predictions.js";
import { clone } from "./template.js";

const KEY = "classified-2"; // change the number when the stored form changes
const MAX_ENTRIES = 50;
const EVICTED_AT_ONCE = 5; // oldest entries dropped when the storage is full

export class History {
  constructor(section) {
    this.section = section;
    this.details = section.querySelector("details");
    this.entries = load();
    this.details.addEventListener("toggle", () => this.show());
    section.querySelector("#clear-history").addEventListener("click", () => {
      this.save([]);
      document.getElementById("file").focus();
    });
    this.show();
  }

  /** @param {string | null} thumbnail  data URI  @param {number} threshold  minimum score of the label that is kept */
  add(item, thumbnail, threshold) {
    const results = item.response.results.map((result) => ({ model: result.model, version: result.version, ...lead(result, threshold) }));
    this.save([{ name: item.file.name, thumbnail, results }, ...this.entries].slice(0, MAX_ENTRIES));
  }

  save(entries) {
    this.entries = store(entries);
    this.show();
  }

  show() {
    this.section.hidden = !this.entries.length;
    this.section.querySelector("#history-count").textContent = this.entries.length;
    this.section.querySelector("#history-items").replaceChildren(...(this.details.open ? this.entries.map(row) : []));
  }
}

function row({ name, thumbnail, results }) {
  const element = clone("history-template");
  if (thumbnail) element.querySelector("img").src = thumbnail;
  else element.querySelector("img").remove();
  const labels = results.map(({ model, version, label, score }) => `${label} ${percent(score)} (${model}, version ${version})`);
  element.querySelector("span").textContent = `${name}: ${labels.join(", ")}`;
  return element;
}

function load() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return []; // storage is turned off
  }
}

/** Store the newest entries that fit, and return them. */
function store(entries) {
  for (let kept = entries; ; kept = kept.slice(0, -EVICTED_AT_ONCE)) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(kept));
      return kept;
    } catch {
      if (!kept.length) return entries;
    }
  }
}
