// The results: every item of this page, newest first, and what can be done with all of them.

import { allAsCsv, allAsJson, download } from "./export.js";
import { Item } from "./item.js";
import { itemView } from "./item-view.js";
import { summary } from "./status.js";

export class Board {
  constructor(section, { settings, uploads, history, place }) {
    Object.assign(this, { section, settings, uploads, history, place });
    this.items = [];
    this.list = section.querySelector("#items");
    this.heading = section.querySelector("h2");
    this.status = section.querySelector("#status");
    section.querySelector("#as-csv").addEventListener("click", () => download(allAsCsv(this.items), "results.csv", "text/csv"));
    section.querySelector("#as-json").addEventListener("click", () => download(allAsJson(this.items), "results.json", "application/json"));
    section.querySelector("#remove-all").addEventListener("click", () => this.clear());
  }

  /** @param {File[]} files */
  take(files) {
    this.section.hidden = false;
    const { models } = this.settings;
    const items = files.map((file) => new Item(file, models));
    this.items.push(...items);
    this.list.prepend(...items.map((item) => this.view(item)));
    for (const item of items) this.uploads.add(item);
  }

  view(item) {
    item.addEventListener("change", () => this.changed(item));
    return itemView(item, {
      settings: this.settings,
      place: this.place,
      onAgain: () => this.uploads.add(item.reset()),
      onRemove: (element) => this.remove(item, element),
    });
  }

  remove(item, element) {
    item.remove();
    this.items = this.items.filter((each) => each !== item);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    (next?.querySelector(".remove") ?? this.heading).focus(); // so that the keyboard does not lose its place
    this.tell();
  }

  clear() {
    for (const item of this.items) item.remove();
    this.items = [];
    this.list.replaceChildren();
    this.section.hidden = true;
    document.getElementById("file").focus();
  }

  async changed(item) {
    this.tell();
    if (!item.isOver) return;
    if (this.items.every((each) => each.isOver)) this.focus();
    if (item.state === "done") this.history.add(item, await item.thumbnail);
  }

  /** To the results, unless people have gone on to something else meanwhile. */
  focus() {
    const active = document.activeElement;
    if (active !== document.body && !active.closest(".intake, .examples")) return;
    this.heading.focus({ preventScroll: true });
    this.heading.scrollIntoView();
  }

  tell() {
    const text = summary(this.items);
    if (text !== this.status.textContent) this.status.textContent = text;
  }
}
