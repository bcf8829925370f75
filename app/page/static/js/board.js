// The results: every item of this page, newest first, and what can be done with all of them.

import { allAsCsv, allAsJson, download } from "./export.js";
import { Item } from "./item.js";
import { itemView } from "./item-view.js";
import { summary } from "./status.js";

const TELL_MS = 500;

export class Board {
  constructor(section, { settings, uploads, history, root }) {
    Object.assign(this, { section, settings, uploads, history, root });
    this.items = [];
    this.list = section.querySelector("#items");
    this.heading = section.querySelector("h2");
    this.status = section.querySelector("#status");
    section.querySelector("#as-csv").addEventListener("click", () => download(allAsCsv(this.items), "results.csv", "text/csv"));
    section.querySelector("#as-json").addEventListener("click", () => download(allAsJson(this.items), "results.json", "application/json"));
    section.querySelector("#remove-all").addEventListener("click", () => this.clear());
    section.querySelector("#again-all").addEventListener("click", () => this.again(() => true));
    this.againFailed = section.querySelector("#again-failed");
    this.againFailed.addEventListener("click", () => this.again((item) => item.state === "failed"));
    section.querySelector("#tools").open = matchMedia("(min-width: 45rem)").matches; // on a phone they would hide the answer
  }

  /** @param {File[]} files */
  take(files) {
    this.section.hidden = false;
    const { models } = this.settings;
    const items = files.map((file) => new Item(file, models));
    this.items.push(...items);
    this.list.prepend(...items.map((item) => this.view(item)));
    this.heading.focus({ preventScroll: true });
    this.heading.scrollIntoView();
    for (const item of items) this.uploads.add(item);
  }

  view(item) {
    item.addEventListener("change", () => this.changed(item));
    return itemView(item, {
      settings: this.settings,
      root: this.root,
      onAgain: () => this.uploads.add(item.reset()),
      onRemove: (element) => this.remove(item, element),
    });
  }

  remove(item, element) {
    item.remove();
    this.items = this.items.filter((each) => each !== item);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    next?.querySelector(".remove").focus(); // so that the keyboard does not lose its place
    if (!this.items.length) this.close();
    this.tell();
  }

  clear() {
    for (const item of this.items) item.remove();
    this.items = [];
    this.list.replaceChildren();
    this.close();
    this.tell();
  }

  close() {
    this.section.hidden = true;
    document.getElementById("file").focus();
  }

  async changed(item) {
    this.tell();
    if (!item.isOver) return;
    if (item.state === "done") this.history.add(item, await item.thumbnail);
  }

  /** Classify those that are over and chosen once more, with the models that are ticked now. */
  again(isChosen) {
    const { models } = this.settings;
    const chosen = this.items.filter((item) => item.isOver && isChosen(item));
    for (const item of chosen) this.uploads.add(item.reset(models));
    this.heading.focus();
  }

  /** Twice a second at most: screen readers read out every change. */
  tell() {
    this.telling ??= setTimeout(() => {
      this.telling = null;
      this.status.textContent = summary(this.items);
      this.againFailed.hidden = !this.items.some((item) => item.state === "failed");
    }, TELL_MS);
  }
}
