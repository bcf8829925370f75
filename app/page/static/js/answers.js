// Answers as bars with figures, and in a sentence.

import { clone } from "./template.js";

/** "Most likely: dog", or in plain words that it is not sure. */
export function verdict({ predictions }, threshold) {
  const [top] = predictions;
  return top.score >= threshold ? `Most likely: ${top.label}` : `Not sure, perhaps: ${top.label}`;
}

export function percent(score) {
  return score < 0.0005 ? "< 0.1 %" : `${(score * 100).toFixed(1)} %`;
}

/** One element for each model that was asked. */
export function answerElements(answer, settings, root) {
  return answer.results.map((result) => answerElement(result, settings, root));
}

function answerElement(result, settings, root) {
  const element = clone("answer-template");
  element.querySelector(".verdict").textContent = verdict(result, settings.threshold);
  element.classList.toggle("unsure", result.predictions[0].score < settings.threshold);
  const name = `${result.model}, version ${result.version}`;
  const card = element.querySelector(".model a");
  card.textContent = name;
  if (!settings.needsKey) card.href = `${root}/cards/${result.model}/${result.version}`;
  card.after(`, which knows ${settings.classes(result)} classes`);
  element.querySelector("table").setAttribute("aria-label", name);
  element.querySelector("tbody").replaceChildren(...result.predictions.slice(0, settings.shown).map(bar));
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

/** Where the time went. */
export function timing({ timing_ms: { total, decode, queue, inference }, batch_size: size }) {
  const ms = (value) => `${value.toFixed(0)} ms`;
  return (
    `${ms(total)} in all: ${ms(decode)} to read the picture, ${ms(queue)} waiting, ` +
    `${ms(inference)} in the network, in a batch of ${size}.`
  );
}
