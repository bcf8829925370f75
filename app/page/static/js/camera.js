// The camera: single photos, or live classification, which sends the next frame when the last result has arrived.

import { classify } from "./api.js";
import { predictionElements } from "./predictions.js";
import { scaled } from "./thumbnail.js";

const SIDE_PX = 640;
const TOP_K = 10;
const RATE_WINDOW_MS = 5000;
const REASONS = {
  InsecureContext: "browsers allow it only on pages opened over https or from localhost",
  NotAllowedError: "permission was denied; you can change that in the browser's settings for this page",
  NotFoundError: "no camera was found",
  NotReadableError: "another program is using it",
};

export class Camera {
  /** @param {(file: File) => void} onPhoto  called with each photo */
  constructor(section, opener, { settings, root, onPhoto }) {
    Object.assign(this, { section, opener, settings, root });
    this.find = (selector) => section.querySelector(selector);
    this.video = this.find("video");
    this.session = null; // identity of the current open() call; results of earlier calls are ignored
    this.live = null; // AbortController of the live classification, if it runs
    this.response = null;
    opener.addEventListener("click", () => this.session ?? this.open());
    this.find("#close-camera").addEventListener("click", () => this.close());
    this.find("#take-photo").addEventListener("click", async () => onPhoto(await this.frame()));
    this.find("#live").addEventListener("click", () => (this.live ? this.stopLive() : this.runLive()));
    settings.addEventListener("change", () => this.show());
    document.addEventListener("visibilitychange", () => document.hidden && this.stopLive());
  }

  async open() {
    const session = (this.session = {});
    const isClosed = () => this.session !== session;
    this.section.hidden = false;
    this.setUsable(false);
    this.find("#close-camera").focus();
    this.opener.setAttribute("aria-expanded", "true");
    this.showProblem("");
    try {
      // Browsers offer the camera only over https and on localhost.
      if (!navigator.mediaDevices) throw new DOMException("", "InsecureContext");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (isClosed()) {
        release(stream);
        return;
      }
      this.video.srcObject = stream;
      for (const track of stream.getTracks()) track.addEventListener("ended", () => isClosed() || this.onLost());
      await this.video.play();
      if (isClosed()) return;
      this.setUsable(true);
      this.find("#take-photo").focus();
    } catch (error) {
      if (!isClosed()) this.showProblem(`The camera cannot be used: ${REASONS[error.name] ?? error.message}.`);
    }
  }

  close() {
    this.session = null;
    this.stopLive();
    this.setUsable(false);
    release(this.video.srcObject);
    this.video.srcObject = null;
    this.response = null;
    this.show();
    this.section.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.focus();
  }

  onLost() {
    this.stopLive();
    this.setUsable(false);
    this.showProblem("The camera has stopped. Close it and open it again.");
  }

  stopLive() {
    this.live?.abort();
    this.live = null;
    this.find("#live").textContent = "Classify live";
    this.showRate("");
  }

  async runLive() {
    const { signal } = (this.live = new AbortController());
    this.find("#live").textContent = "Stop";
    const times = [];
    while (!signal.aborted) {
      try {
        const frame = await this.frame();
        const { models, key } = this.settings;
        const response = await classify(frame, { root: this.root, models, topK: TOP_K, key, signal });
        this.response = response;
        this.show();
        this.showRate(rate(times));
      } catch (problem) {
        if (signal.aborted) return;
        const seconds = problem.retryAfter ?? 2;
        this.showRate(`${problem.message} Trying again in ${seconds} s.`);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }
  }

  show() {
    this.find("#live-results").replaceChildren(...(this.response ? predictionElements(this.response, this.settings, this.root) : []));
  }

  /** @returns {Promise<File>} the current frame as a JPEG */
  async frame() {
    const { videoWidth, videoHeight } = this.video;
    const canvas = scaled(this.video, videoWidth, videoHeight, SIDE_PX);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    const time = new Date().toISOString().slice(11, 23).replace(/\D/g, "-");
    return new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" });
  }

  setUsable(isUsable) {
    for (const selector of ["#take-photo", "#live", "video"]) this.find(selector).hidden = !isUsable;
  }

  showRate(text) {
    this.find("#rate").textContent = text;
  }

  showProblem(text) {
    this.find("#camera-problem").textContent = text;
    this.find("#camera-problem").hidden = !text;
  }
}

function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** Results per second over the last seconds; `times` are the arrival times, which this updates. */
function rate(times) {
  const now = performance.now();
  times.push(now);
  while (times.length > 2 && now - times[0] > RATE_WINDOW_MS) times.shift();
  if (times.length < 2) return "";
  return `${((times.length - 1) / ((now - times[0]) / 1000)).toFixed(1)} images per second`;
}
