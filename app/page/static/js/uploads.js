// Uploads a few images at a time. While the server is busy, all uploads pause for the time in Retry-After.

import { classify, Problem } from "./api.js";

const MAX_CONCURRENT = 4;
const MAX_ATTEMPTS = 100;
const TOP_K = 10;

export class Uploads {
  constructor(root, maxBytes, settings) {
    this.root = root;
    this.settings = settings;
    this.maxBytes = maxBytes;
    this.waiting = [];
    this.running = 0;
    this.pauseSeconds = 0; // remaining
  }

  /** Queue an item; its state shows the progress. */
  add(item) {
    if (item.file.size > this.maxBytes) {
      const detail = tooLarge(item.file.size, this.maxBytes);
      item.set({ state: "failed", problem: new Problem(413, { code: "body_too_large", detail }) });
      return;
    }
    this.waiting.push({ item, attemptsLeft: MAX_ATTEMPTS });
    this.next();
  }

  next() {
    while (!this.pauseSeconds && this.running < MAX_CONCURRENT && this.waiting.length) {
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
      const response = await classify(item.file, {
        root: this.root,
        models: item.models,
        topK: TOP_K,
        key: this.settings.key,
        signal,
        onProgress,
      });
      item.set({ state: "done", response });
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.isBusy && (job.attemptsLeft -= 1) > 0) {
        this.waiting.unshift(job);
        this.pause(problem.retryAfter, problem.code);
      } else item.set({ state: "failed", problem });
    }
  }

  pause(seconds, reason) {
    const isPaused = this.pauseSeconds > 0;
    this.pauseSeconds = Math.max(this.pauseSeconds, seconds);
    for (const { item } of this.waiting) item.set({ state: "busy", seconds: this.pauseSeconds, reason });
    if (!isPaused) setTimeout(() => this.countDown(), 1000);
  }

  countDown() {
    this.pauseSeconds -= 1;
    const state = this.pauseSeconds ? "busy" : "waiting";
    for (const { item } of this.waiting) item.set({ state, seconds: this.pauseSeconds });
    if (this.pauseSeconds) setTimeout(() => this.countDown(), 1000);
    else this.next();
  }
}

function tooLarge(size, limit) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  return `This file has ${megabytes(size)} MB; the limit is ${megabytes(limit)} MB. Choose a smaller image.`;
}
