// Predictions as a sentence and as bars with percentages.

import { clone } from "./template.js";

/** The most specific label that reaches the threshold: a class, else a coarser class; if none does, the most likely class. */
export function lead({ predictions, parents = [] }, threshold) {
  return [predictions[0], ...parents].find(({ score }) => score >= threshold) ?? predictions[0];
}

/** "Most likely: dog", or "Not sure, perhaps: dog" below the threshold. */
function verdict({ label, score }, threshold) {
  return score >= threshold ? `Most likely: ${label}` : `Not sure, perhaps: ${label}`;
}

export function percent(score) {
  return score < 0.0005 ? "< 0.1 %" : `${(score * 100).toFixed(1)} %`;
}

/** @returns {HTMLElement[]} one element per model */
export function predictionElements(response, settings, root) {
  return response.results.map((result) => resultElement(result, settings, root));
}

function resultElement(result, settings, root) {
  const element = clone("response-template");
  const best = lead(result, settings.threshold);
  element.querySelector(".verdict").textContent = verdict(best, settings.threshold);
  element.classList.toggle("unsure", best.score < settings.threshold);
  const name = `${result.model}, version ${result.version}`;
  const card = element.querySelector(".model a");
  card.textContent = name;
  if (!settings.needsKey) card.href = `${root}/cards/${result.model}/${result.version}`;
  card.after(` (${settings.classCount(result)} classes)`);
  element.querySelector("table").setAttribute("aria-label", name);
  const classes = result.predictions.slice(0, settings.shownClasses);
  element.querySelector("tbody").replaceChildren(...(best === classes[0] ? [] : [bar(best)]), ...classes.map(bar));
  return element;
}

function bar({ label, score }) {
  const row = clone("bar-template");
  row.querySelector("th").textContent = label;
  const meter = row.querySelector("meter");
  meter.value = score;
  meter.setAttribute("aria-label", label);
  row.lastElementChild.textContent = percent(score);
  return row;
}

/** The time spent in each step, as a sentence. */
export function timing({ timing_ms: { total, decode, queue, inference }, batch_size: size }) {
  const ms = (value) => `${value.toFixed(0)} ms`;
  return (
    `${ms(total)} in total: ${ms(decode)} to decode the image, ${ms(queue)} in the queue, ` +
    `${ms(inference)} in the network, in a batch of ${size}.`
  );
}
