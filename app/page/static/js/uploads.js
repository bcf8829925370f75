// A few pictures at a time to the server. When it is busy, all wait for as long as it asked.

import { classify, Problem } from "./api.js";

const AT_ONCE = 4;
const TRIES = 100;
const TOP_K = 10;

export class Uploads {
  constructor(root, maxBytes, settings) {
    this.root = root;
    this.settings = settings;
    this.maxBytes = maxBytes;
    this.waiting = [];
    this.running = 0;
    this.heldUp = 0; // seconds that are left
  }

  /** Send an item when its turn comes; its state tells what becomes of it. */
  add(item) {
    if (item.file.size > this.maxBytes) {
      const detail = tooLarge(item.file.size, this.maxBytes);
      item.set({ state: "failed", problem: new Problem(413, { code: "body_too_large", detail }) });
      return;
    }
    this.waiting.push({ item, triesLeft: TRIES });
    this.next();
  }

  next() {
    while (!this.heldUp && this.running < AT_ONCE && this.waiting.length) {
      const job = this.waiting.shift();
      if (job.item.abort.signal.aborted) continue;
      this.running += 1;
      this.send(job).finally(() => {
        this.running -= 1;
        this.next();
      });
    }
  }

  async send(job) {
    const { item } = job;
    const { signal } = item.abort;
    item.set({ state: "sending", progress: 0 });
    try {
      const onProgress = (progress) => item.set({ progress });
      const answer = await classify(item.file, {
        root: this.root,
        models: item.models,
        topK: TOP_K,
        key: this.settings.key,
        signal,
        onProgress,
      });
      item.set({ state: "done", answer });
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.isBusy && (job.triesLeft -= 1) > 0) {
        this.waiting.unshift(job);
        this.holdUp(problem.retryAfter, problem.code);
      } else item.set({ state: "failed", problem });
    }
  }

  holdUp(seconds, reason) {
    const isCounting = this.heldUp > 0;
    this.heldUp = Math.max(this.heldUp, seconds);
    for (const { item } of this.waiting) item.set({ state: "busy", seconds: this.heldUp, reason });
    if (!isCounting) setTimeout(() => this.count(), 1000);
  }

  count() {
    this.heldUp -= 1;
    const state = this.heldUp ? "busy" : "waiting";
    for (const { item } of this.waiting) item.set({ state, seconds: this.heldUp });
    if (this.heldUp) setTimeout(() => this.count(), 1000);
    else this.next();
  }
}

function tooLarge(size, limit) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  return `This file has ${megabytes(size)} MB; the limit is ${megabytes(limit)} MB. Send a smaller picture.`;
}
