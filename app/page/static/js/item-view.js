// The view of one item: thumbnail, upload progress, predictions or error, and buttons.

import { predictionElements, timing } from "./predictions.js";
import { asCurl, asJson, copy } from "./export.js";
import { clone } from "./template.js";

const BUSY_REASONS = { not_ready: "The server is starting", draining: "The server is shutting down" };
const STATE_TEXTS = {
  waiting: () => "Waiting",
  sending: ({ progress }) => (progress < 1 ? "Uploading" : "Classifying"),
  busy: ({ seconds, reason }) => `${BUSY_REASONS[reason] ?? "The server is busy"}; trying again in ${seconds} s`,
  done: () => "",
  failed: () => "",
};

/** @returns {HTMLLIElement} an element that follows the state of its item */
export function itemView(item, { settings, root, onRetry, onRemove }) {
  const element = clone("item-template");
  const find = (selector) => element.querySelector(selector);
  const name = item.file.name;
  find(".file").textContent = name;
  find("progress").setAttribute("aria-label", `Upload of ${name}`);
  showThumbnail(find(".thumbnail"), item);

  nameButtons(element);
  find(".retry").addEventListener("click", () => {
    find(".remove").focus(); // this button is about to be hidden
    onRetry();
  });
  find(".remove").addEventListener("click", () => onRemove(element));
  find(".copy-curl").addEventListener("click", (event) => copy(asCurl(item, settings, root), event.currentTarget));
  find(".copy-json").addEventListener("click", (event) => copy(asJson(item), event.currentTarget));

  const showOutcome = () => {
    if (item.response) find(".outcome").replaceChildren(...predictionElements(item.response, settings, root), small(timing(item.response)));
    else if (item.problem) find(".outcome").replaceChildren(notice(item.problem.message));
    else find(".outcome").replaceChildren();
  };
  let shownState = null;
  const show = () => {
    find(".state").textContent = STATE_TEXTS[item.state](item);
    find(".state").hidden = item.isFinished;
    find("progress").hidden = item.isFinished;
    find("progress").value = item.progress;
    element.classList.toggle("failed", item.state === "failed");
    for (const selector of [".copy-curl", ".copy-json"]) find(selector).hidden = item.state !== "done";
    find(".retry").hidden = !(item.state === "failed" && item.problem.isRetryable);
    if (shownState === item.state) return; // only the progress has changed
    shownState = item.state;
    showOutcome();
  };
  item.addEventListener("change", show);
  settings.addEventListener("change", showOutcome, { signal: item.abort.signal });
  show();
  return element;
}

let count = 0;

/** Give each button an accessible name: its current text and the file name. */
function nameButtons(element) {
  count += 1;
  const heading = element.querySelector(".file");
  heading.id = `file-${count}`;
  for (const button of element.querySelectorAll("button")) {
    button.id = `${button.className}-${count}`;
    button.setAttribute("aria-labelledby", `${button.id} ${heading.id}`);
  }
}

async function showThumbnail(container, { file, thumbnail }) {
  const url = await thumbnail;
  if (url) container.querySelector("img").src = url;
  else {
    container.classList.add("none");
    container.textContent = /\.([a-z0-9]{1,5})$/i.exec(file.name)?.[1].toUpperCase() ?? "?";
  }
}

function notice(text) {
  const element = document.createElement("p");
  element.className = "notice";
  element.textContent = text;
  return element;
}

function small(text) {
  const element = document.createElement("p");
  element.append(document.createElement("small"));
  element.firstChild.textContent = text;
  return element;
}
