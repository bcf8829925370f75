// The camera: single pictures, or one frame after another, the next when the answer to the last has come.

import { classify } from "./api.js";
import { answerElements } from "./answers.js";
import { scaled } from "./thumbnail.js";

const SIDE = 640;
const TOP_K = 10;
const WINDOW_MS = 5000;
const REASONS = {
  InsecureContext: "this page has to come by https, or from localhost",
  NotAllowedError: "it was not allowed; the browser's settings for this page can change that",
  NotFoundError: "there is none",
  NotReadableError: "another program uses it",
};

export class Camera {
  /** @param {(file: File) => void} take  called with each single picture */
  constructor(section, opener, { settings, root, take }) {
    Object.assign(this, { section, opener, settings, root });
    this.find = (selector) => section.querySelector(selector);
    this.video = this.find("video");
    this.opening = null; // of the time that it is open: what belongs to another time is not wanted any more
    this.stop = null; // of the live run, if there is one
    this.answer = null;
    opener.addEventListener("click", () => this.opening ?? this.open());
    this.find("#close-camera").addEventListener("click", () => this.close());
    this.find("#still").addEventListener("click", async () => take(await this.frame()));
    this.find("#live").addEventListener("click", () => (this.stop ? this.pause() : this.run()));
    settings.addEventListener("change", () => this.show());
    document.addEventListener("visibilitychange", () => document.hidden && this.pause());
  }

  async open() {
    const opening = (this.opening = {});
    const isOver = () => this.opening !== opening;
    this.section.hidden = false;
    this.enable(false);
    this.find("#close-camera").focus();
    this.opener.setAttribute("aria-expanded", "true");
    this.warn("");
    try {
      // Browsers give the camera only to pages that came by https or from this very machine.
      if (!navigator.mediaDevices) throw new DOMException("", "InsecureContext");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (isOver()) {
        release(stream);
        return;
      }
      this.video.srcObject = stream;
      for (const track of stream.getTracks()) track.addEventListener("ended", () => isOver() || this.lost());
      await this.video.play();
      if (isOver()) return;
      this.enable(true);
      this.find("#still").focus();
    } catch (error) {
      if (!isOver()) this.warn(`The camera cannot be used: ${REASONS[error.name] ?? error.message}.`);
    }
  }

  close() {
    this.opening = null;
    this.pause();
    this.enable(false);
    release(this.video.srcObject);
    this.video.srcObject = null;
    this.answer = null;
    this.show();
    this.section.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.focus();
  }

  lost() {
    this.pause();
    this.enable(false);
    this.warn("The camera has stopped. Close it here, and open it again.");
  }

  pause() {
    this.stop?.abort();
    this.stop = null;
    this.find("#live").textContent = "Classify live";
    this.say("");
  }

  async run() {
    const { signal } = (this.stop = new AbortController());
    this.find("#live").textContent = "Stop";
    const times = [];
    while (!signal.aborted) {
      try {
        const frame = await this.frame();
        const { models, key } = this.settings;
        const answer = await classify(frame, { root: this.root, models, topK: TOP_K, key, signal });
        this.answer = answer;
        this.show();
        this.say(rate(times));
      } catch (problem) {
        if (signal.aborted) return;
        const seconds = problem.retryAfter ?? 2;
        this.say(`${problem.message} Trying again in ${seconds} s.`);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }
  }

  show() {
    this.find("#live-answers").replaceChildren(...(this.answer ? answerElements(this.answer, this.settings, this.root) : []));
  }

  /** @returns {Promise<File>} what the camera sees now */
  async frame() {
    const { videoWidth, videoHeight } = this.video;
    const canvas = scaled(this.video, videoWidth, videoHeight, SIDE);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    const time = new Date().toISOString().slice(11, 23).replace(/\D/g, "-");
    return new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" });
  }

  enable(usable) {
    for (const selector of ["#still", "#live", "video"]) this.find(selector).hidden = !usable;
  }

  say(text) {
    this.find("#rate").textContent = text;
  }

  warn(text) {
    this.find("#camera-problem").textContent = text;
    this.find("#camera-problem").hidden = !text;
  }
}

function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** Answers a second over the last few; `times` is what it remembers. */
function rate(times) {
  const now = performance.now();
  times.push(now);
  while (times.length > 2 && now - times[0] > WINDOW_MS) times.shift();
  if (times.length < 2) return "";
  return `${((times.length - 1) / ((now - times[0]) / 1000)).toFixed(1)} pictures a second`;
}
