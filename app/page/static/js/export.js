// Answers for other programs: curl, JSON, CSV; to the clipboard or to a file.

import { announce } from "./announce.js";
import { query } from "./api.js";

/** The command that asks the same again, from the folder in which the picture lies. */
export function asCurl(item, settings, root) {
  // In curl's own quotes, since a name may hold its separators; then in the shell's.
  const file = `file=@"${item.file.name.replace(/["\\]/g, "\\$&")}"`;
  const key = settings.needsKey ? '-H "X-API-Key: $KEY" ' : ""; // never the key itself: commands are shown to others
  return `curl ${key}-F ${shellQuoted(file)} ${shellQuoted(`${location.origin}${root}/v1/classify?${query(item.models, settings.shown)}`)}`;
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function asJson(item) {
  return JSON.stringify(record(item), null, 2);
}

/** All items that are over, as one JSON document. */
export function allAsJson(items) {
  return JSON.stringify(items.filter((item) => item.isOver).map(record), null, 2);
}

function record({ file, answer, problem }) {
  if (answer) return { file: file.name, ...answer };
  return { file: file.name, error: { status: problem.status, code: problem.code, detail: problem.message } };
}

/** A line for each class of each answer, and one for each item that failed. */
export function allAsCsv(items) {
  const lines = [["file", "model", "version", "rank", "label", "score", "error"]];
  for (const { file, answer, problem } of items.filter((item) => item.isOver)) {
    if (problem) lines.push([file.name, "", "", "", "", "", problem.message]);
    for (const { model, version, predictions } of answer?.results ?? []) {
      predictions.forEach(({ label, score }, i) => lines.push([file.name, model, version, i + 1, label, score, ""]));
    }
  }
  return lines.map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
}

/** RFC 4180, always in quotes; a leading apostrophe keeps a spreadsheet from running a file name as a formula. */
function field(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return `"${text.replaceAll('"', '""')}"`;
}

/** Save text as a file. */
export function download(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** To the clipboard; the button says for a moment that it is there. */
export async function copy(text, button) {
  button.dataset.label ??= button.textContent;
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text); // browsers have no clipboard for pages that came neither by https nor from localhost
    button.textContent = "Copied";
  } catch {
    button.textContent = "Could not copy";
  }
  button.focus({ preventScroll: true });
  announce(button.textContent);
  setTimeout(() => (button.textContent = button.dataset.label), 1500);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser did not copy");
}
