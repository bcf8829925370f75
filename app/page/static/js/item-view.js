// An item on the page: thumbnail, progress, answer or problem, and its buttons.

import { answerElements, timing } from "./answers.js";
import { asCurl, asJson, copy } from "./export.js";
import { clone } from "./template.js";

const REASONS = { not_ready: "The server is starting", draining: "The server is shutting down" };
const STATES = {
  waiting: () => "Waiting for its turn",
  sending: ({ progress }) => (progress < 1 ? "Sending" : "Being classified"),
  busy: ({ seconds, reason }) => `${REASONS[reason] ?? "The server is busy"}; trying again in ${seconds} s`,
  done: () => "",
  failed: () => "",
};

/** @returns {HTMLLIElement} which follows its item, and leaves the page by `onRemove` */
export function itemView(item, { settings, root, onAgain, onRemove }) {
  const element = clone("item-template");
  const find = (selector) => element.querySelector(selector);
  const name = item.file.name;
  find(".file").textContent = name;
  find("progress").setAttribute("aria-label", `Upload of ${name}`);
  showPicture(find(".picture"), item);

  nameButtons(element);
  find(".again").addEventListener("click", () => {
    find(".remove").focus(); // this button is about to hide
    onAgain();
  });
  find(".remove").addEventListener("click", () => onRemove(element));
  find(".copy-curl").addEventListener("click", (event) => copy(asCurl(item, settings, root), event.currentTarget));
  find(".copy-json").addEventListener("click", (event) => copy(asJson(item), event.currentTarget));

  const showOutcome = () => {
    if (item.answer) find(".outcome").replaceChildren(...answerElements(item.answer, settings, root), small(timing(item.answer)));
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
    find(".again").hidden = !(item.state === "failed" && item.problem.mayPass);
    if (shown === item.state) return; // progress alone changes nothing else
    shown = item.state;
    showOutcome();
  };
  item.addEventListener("change", show);
  settings.addEventListener("change", showOutcome, { signal: item.abort.signal });
  show();
  return element;
}

let count = 0;

/** Each button is called by its own text, whatever that is just now, and by the file. */
function nameButtons(element) {
  count += 1;
  const heading = element.querySelector(".file");
  heading.id = `file-${count}`;
  for (const button of element.querySelectorAll("button")) {
    button.id = `${button.className}-${count}`;
    button.setAttribute("aria-labelledby", `${button.id} ${heading.id}`);
  }
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
