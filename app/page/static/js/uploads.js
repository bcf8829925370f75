// A few pictures at a time to the server; when it is busy, again after the time it asked for.

import { classify } from "./api.js";

const AT_ONCE = 4;
const TRIES = 20;
const TOP_K = 10;

export class Uploads {
  constructor(root, maxBytes) {
    this.root = root;
    this.maxBytes = maxBytes;
    this.waiting = [];
    this.running = 0;
  }

  /** Send an item when its turn comes; its state tells what becomes of it. */
  add(item) {
    if (item.file.size > this.maxBytes) {
      item.set({ state: "failed", problem: new Error(tooLarge(item.file.size, this.maxBytes)) });
      return;
    }
    this.waiting.push({ item, triesLeft: TRIES });
    this.next();
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) {
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
      const answer = await classify(item.file, { root: this.root, models: item.models, topK: TOP_K, signal, onProgress });
      item.set({ state: "done", answer });
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.isBusy && (job.triesLeft -= 1) > 0) this.wait(job, problem.retryAfter || 1);
      else item.set({ state: "failed", problem });
    }
  }

  /** Count the seconds down, then take a place at the end of the line. */
  wait(job, seconds) {
    if (job.item.abort.signal.aborted) return;
    if (seconds <= 0) {
      job.item.set({ state: "waiting" });
      this.waiting.push(job);
      this.next();
      return;
    }
    job.item.set({ state: "busy", seconds });
    setTimeout(() => this.wait(job, seconds - 1), 1000);
  }
}

function tooLarge(size, limit) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  return `This file has ${megabytes(size)} MB; the limit is ${megabytes(limit)} MB. Send a smaller picture.`;
}
