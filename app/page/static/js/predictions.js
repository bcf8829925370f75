// Predictions as a sentence and as bars with percentages.

import { clone } from "./template.js";

/** "Most likely: dog", or "Not sure, perhaps: dog" below the threshold. */
export function verdict({ predictions }, threshold) {
  const [top] = predictions;
  return top.score >= threshold ? `Most likely: ${top.label}` : `Not sure, perhaps: ${top.label}`;
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
  element.querySelector(".verdict").textContent = verdict(result, settings.threshold);
  element.classList.toggle("unsure", result.predictions[0].score < settings.threshold);
  const name = `${result.model}, version ${result.version}`;
  const card = element.querySelector(".model a");
  card.textContent = name;
  if (!settings.needsKey) card.href = `${root}/cards/${result.model}/${result.version}`;
  card.after(` (${settings.classCount(result)} classes)`);
  element.querySelector("table").setAttribute("aria-label", name);
  element.querySelector("tbody").replaceChildren(...result.predictions.slice(0, settings.shownClasses).map(bar));
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
