// The state of one image: waiting -> sending -> (busy -> waiting ...) -> done or failed.

import { thumbnail } from "./thumbnail.js";

/** Fires `change` events. */
export class Item extends EventTarget {
  /** @param {File} file  @param {string[]} models */
  constructor(file, models) {
    super();
    this.file = file;
    this.models = models;
    this.abort = new AbortController();
    this.thumbnail = thumbnail(file, this.abort.signal);
    this.reset();
  }

  /** Start again, optionally with other models. */
  reset(models = this.models) {
    this.models = models;
    return this.set({ state: "waiting", progress: 0, response: null, problem: null, seconds: 0 });
  }

  set(values) {
    Object.assign(this, values);
    this.dispatchEvent(new Event("change"));
    return this;
  }

  get isFinished() {
    return this.state === "done" || this.state === "failed";
  }

  remove() {
    this.abort.abort();
  }
}
