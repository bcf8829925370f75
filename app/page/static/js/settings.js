// What people chose on the page: models, threshold, how many classes are shown.

/** Tells of changes by the event `change`. */
export class Settings extends EventTarget {
  constructor(form, threshold, thresholdShown, shown) {
    super();
    this.form = form;
    this.thresholdInput = threshold;
    this.shownInput = shown;
    const changed = () => {
      thresholdShown.textContent = `${threshold.value} %`;
      threshold.setAttribute("aria-valuetext", `${threshold.value} %`);
      this.dispatchEvent(new Event("change"));
    };
    threshold.addEventListener("input", changed);
    shown.addEventListener("change", changed);
    changed(); // a browser may have kept what was set before a reload
  }

  /** Names and versions of the models that are asked; none means the server's default. */
  get models() {
    return new FormData(this.form).getAll("model");
  }

  /** Whether the server asks for a key; then links to cards would lead nowhere, since they bring none. */
  get needsKey() {
    return this.form.elements.key !== undefined;
  }

  /** The key that was entered, if there is a field for it. */
  get key() {
    return this.form.elements.key?.value ?? "";
  }

  /** How many classes a model has that answered. */
  classes({ model, version }) {
    return document.getElementById(`model-${model}@${version}`).dataset.classes;
  }

  /** Score from which on a class counts as recognised. */
  get threshold() {
    return Number(this.thresholdInput.value) / 100;
  }

  get shown() {
    return Number(this.shownInput.value);
  }
}
