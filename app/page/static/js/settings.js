// The choices made on the page: models, threshold, number of classes shown.

/** Fires `change` events. */
export class Settings extends EventTarget {
  constructor(form, threshold, thresholdShown, shown) {
    super();
    this.form = form;
    this.thresholdInput = threshold;
    this.shownInput = shown;
    const onChange = () => {
      thresholdShown.textContent = `${threshold.value} %`;
      threshold.setAttribute("aria-valuetext", `${threshold.value} %`);
      this.dispatchEvent(new Event("change"));
    };
    threshold.addEventListener("input", onChange);
    shown.addEventListener("change", onChange);
    onChange(); // browsers keep the values of form fields across a reload
  }

  /** Selected models as NAME@VERSION; empty for the default model of the server. */
  get models() {
    return new FormData(this.form).getAll("model");
  }

  /** The server requires an API key. Model cards are then not linked, because a link cannot send the key. */
  get needsKey() {
    return this.form.elements.key !== undefined;
  }

  /** The API key, or "" if there is no field for it. */
  get key() {
    return this.form.elements.key?.value ?? "";
  }

  /** The number of classes of a model. */
  classCount({ model, version }) {
    return document.getElementById(`model-${model}@${version}`).dataset.classes;
  }

  /** Minimum score, from 0 to 1, of a class that counts as recognized. */
  get threshold() {
    return Number(this.thresholdInput.value) / 100;
  }

  get shownClasses() {
    return Number(this.shownInput.value);
  }
}
