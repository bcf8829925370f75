// An item on the page: thumbnail, progress, answer or problem, and its buttons.

import { answerElements, timing } from "./answers.js";
import { asCurl, asJson, copy } from "./export.js";
import { clone } from "./template.js";

const STATES = {
  waiting: () => "Waiting for its turn",
  sending: ({ progress }) => (progress < 1 ? "Sending" : "Being classified"),
  busy: ({ seconds }) => `The server is busy; trying again in ${seconds} s`,
  done: () => "",
  failed: () => "",
};

/** @returns {HTMLLIElement} which follows its item, and leaves the page by `onRemove` */
export function itemView(item, { settings, place, onAgain, onRemove }) {
  const element = clone("item-template");
  const find = (selector) => element.querySelector(selector);
  const name = item.file.name;
  find(".file").textContent = name;
  find("progress").setAttribute("aria-label", `Upload of ${name}`);
  showPicture(find(".picture"), item);

  for (const button of element.querySelectorAll("button")) button.setAttribute("aria-label", `${button.textContent}: ${name}`);
  find(".again").addEventListener("click", onAgain);
  find(".remove").addEventListener("click", () => onRemove(element));
  find(".copy-curl").addEventListener("click", (event) => copy(asCurl(item, settings, place.address), event.currentTarget));
  find(".copy-json").addEventListener("click", (event) => copy(asJson(item), event.currentTarget));

  const showOutcome = () => {
    if (item.answer) find(".outcome").replaceChildren(...answerElements(item.answer, settings, place.root), small(timing(item.answer)));
    else if (item.problem) find(".outcome").replaceChildren(notice(item.problem.message));
    else find(".outcome").replaceChildren();
  };
  let shown = null;
  const show = () => {
    find(".state").textContent = STATES[item.state](item);
    find(".state").hidden = item.isOver;
    find("progress").hidden = item.isOver;
    find("progress").value = item.progress;
    element.classList.toggle("failed", item.state === "failed");
    for (const selector of [".copy-curl", ".copy-json"]) find(selector).hidden = item.state !== "done";
    find(".again").hidden = item.state !== "failed";
    if (shown === item.state) return; // progress alone changes nothing else
    shown = item.state;
    showOutcome();
  };
  item.addEventListener("change", show);
  settings.addEventListener("change", showOutcome, { signal: item.abort.signal });
  show();
  return element;
}

async function showPicture(place, { file, thumbnail }) {
  const url = await thumbnail;
  if (url) place.querySelector("img").src = url;
  else {
    place.classList.add("none");
    place.textContent = /\.([a-z0-9]{1,5})$/i.exec(file.name)?.[1].toUpperCase() ?? "?";
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
