// The results section: all items of this page, newest first, and the actions that apply to all of them.

import { allAsCsv, allAsJson, download } from "./export.js";
import { Item } from "./item.js";
import { itemView } from "./item-view.js";
import { summary } from "./status.js";

const STATUS_INTERVAL_MS = 500; // screen readers read out every change

export class ResultList {
  constructor(section, { settings, uploads, history, root }) {
    Object.assign(this, { section, settings, uploads, history, root });
    this.items = [];
    this.list = section.querySelector("#items");
    this.heading = section.querySelector("h2");
    this.status = section.querySelector("#status");
    section.querySelector("#as-csv").addEventListener("click", () => download(allAsCsv(this.items), "results.csv", "text/csv"));
    section.querySelector("#as-json").addEventListener("click", () => download(allAsJson(this.items), "results.json", "application/json"));
    section.querySelector("#remove-all").addEventListener("click", () => this.removeAll());
    section.querySelector("#again-all").addEventListener("click", () => this.classifyAgain(() => true));
    this.retryFailed = section.querySelector("#retry-failed");
    this.retryFailed.addEventListener("click", () => this.classifyAgain((item) => item.state === "failed"));
    section.querySelector("#tools").open = matchMedia("(min-width: 45rem)").matches; // on a phone they would hide the results
  }

  /** @param {File[]} files */
  add(files) {
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
    item.addEventListener("change", () => this.onChange(item));
    return itemView(item, {
      settings: this.settings,
      root: this.root,
      onRetry: () => this.uploads.add(item.reset()),
      onRemove: (element) => this.remove(item, element),
    });
  }

  remove(item, element) {
    item.remove();
    this.items = this.items.filter((other) => other !== item);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    next?.querySelector(".remove").focus(); // keeps the position of keyboard users
    if (!this.items.length) this.close();
    this.updateStatus();
  }

  removeAll() {
    for (const item of this.items) item.remove();
    this.items = [];
    this.list.replaceChildren();
    this.close();
    this.updateStatus();
  }

  close() {
    this.section.hidden = true;
    document.getElementById("file").focus();
  }

  async onChange(item) {
    this.updateStatus();
    if (item.state === "done") this.history.add(item, await item.thumbnail, this.settings.threshold);
  }

  /** Classify finished items again, with the models that are selected now. */
  classifyAgain(isSelected) {
    const { models } = this.settings;
    const selected = this.items.filter((item) => item.isFinished && isSelected(item));
    for (const item of selected) this.uploads.add(item.reset(models));
    this.heading.focus();
  }

  /** Update the status at once when all items are finished, and before at most once per interval. */
  updateStatus() {
    if (this.items.every((item) => item.isFinished)) this.showStatus();
    else this.statusTimer ??= setTimeout(() => this.showStatus(), STATUS_INTERVAL_MS);
  }

  showStatus() {
    clearTimeout(this.statusTimer);
    this.statusTimer = null;
    this.status.textContent = summary(this.items);
    this.retryFailed.hidden = !this.items.some((item) => item.state === "failed");
  }
}
