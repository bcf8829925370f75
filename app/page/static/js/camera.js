// The camera: single pictures, or one frame after another, the next when the answer to the last has come.

import { classify } from "./api.js";
import { answerElements } from "./answers.js";
import { scaled } from "./thumbnail.js";

const SIDE = 640;
const TOP_K = 10;

export class Camera {
  /** @param {(file: File) => void} take  called with each single picture */
  constructor(section, opener, { settings, root, take }) {
    Object.assign(this, { section, opener, settings, root });
    this.find = (selector) => section.querySelector(selector);
    this.video = this.find("video");
    this.answer = null;
    opener.addEventListener("click", () => this.open());
    this.find("#close-camera").addEventListener("click", () => this.close());
    this.find("#still").addEventListener("click", async () => take(await this.frame()));
    this.find("#live").addEventListener("click", () => (this.stop ? this.pause() : this.run()));
    settings.addEventListener("change", () => this.show());
    document.addEventListener("visibilitychange", () => document.hidden && this.pause());
  }

  async open() {
    this.section.hidden = false;
    try {
      // Browsers give the camera only to pages that came by https or from this very machine.
      if (!navigator.mediaDevices) throw new Error("this page has to come by https, or from localhost");
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      await this.video.play();
      this.say("");
      this.enable(true);
      this.find("#still").focus();
    } catch (error) {
      this.enable(false);
      this.say(`The camera cannot be used: ${error.message}.`);
    }
  }

  close() {
    this.pause();
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.answer = null;
    this.show();
    this.section.hidden = true;
    this.opener.focus();
  }

  pause() {
    this.stop?.abort();
    this.stop = null;
    this.find("#live").setAttribute("aria-pressed", "false");
  }

  async run() {
    const { signal } = (this.stop = new AbortController());
    this.find("#live").setAttribute("aria-pressed", "true");
    const times = [];
    while (!signal.aborted) {
      try {
        const { models } = this.settings;
        const answer = await classify(await this.frame(), { root: this.root, models, topK: TOP_K, signal });
        this.answer = answer;
        this.show();
        this.say(rate(times));
      } catch (problem) {
        if (signal.aborted) return;
        const seconds = problem.retryAfter || 2;
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
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    return new File([blob], `camera ${time}.jpg`, { type: "image/jpeg" });
  }

  enable(usable) {
    for (const selector of ["#still", "#live"]) this.find(selector).disabled = !usable;
  }

  say(text) {
    this.find("#rate").textContent = text;
  }
}

/** Answers a second over the last three seconds; `times` is what it remembers. */
function rate(times) {
  const now = performance.now();
  times.push(now);
  while (now - times[0] > 3000) times.shift();
  if (times.length < 2) return "";
  return `${((times.length - 1) / ((now - times[0]) / 1000)).toFixed(1)} pictures a second`;
}
