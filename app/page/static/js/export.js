// Results for other programs: curl, JSON and CSV, copied to the clipboard or saved as a file.

import { announce } from "./announce.js";
import { query } from "./api.js";

/** The curl command that repeats a request; run it in the folder of the image. */
export function asCurl(item, settings, root) {
  // First quoted for curl, which treats some characters of a file name as separators, then for the shell.
  const file = `file=@"${item.file.name.replace(/["\\]/g, "\\$&")}"`;
  const key = settings.needsKey ? '-H "X-API-Key: $KEY" ' : ""; // never the key itself, since commands get shared
  return `curl ${key}-F ${shellQuoted(file)} ${shellQuoted(`${location.origin}${root}/v1/classify?${query(item.models, settings.shownClasses)}`)}`;
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function asJson(item) {
  return JSON.stringify(record(item), null, 2);
}

/** All finished items as one JSON document. */
export function allAsJson(items) {
  return JSON.stringify(items.filter((item) => item.isFinished).map(record), null, 2);
}

function record({ file, response, problem }) {
  if (response) return { file: file.name, ...response };
  return { file: file.name, error: { status: problem.status, code: problem.code, detail: problem.message } };
}

/** One line per predicted class, and one per failed item. */
export function allAsCsv(items) {
  const lines = [["file", "model", "version", "rank", "label", "score", "error"]];
  for (const { file, response, problem } of items.filter((item) => item.isFinished)) {
    if (problem) lines.push([file.name, "", "", "", "", "", problem.message]);
    for (const { model, version, predictions } of response?.results ?? []) {
      predictions.forEach(({ label, score }, i) => lines.push([file.name, model, version, i + 1, label, score, ""]));
    }
  }
  return lines.map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
}

/** A field as in RFC 4180, always quoted. A leading apostrophe keeps spreadsheets from evaluating a file name as a formula. */
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

/** Copy text to the clipboard; the button shows the outcome for a moment. */
export async function copy(text, button) {
  button.dataset.label ??= button.textContent;
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text); // browsers offer the clipboard only over https and on localhost
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
  const isCopied = document.execCommand("copy");
  area.remove();
  if (!isCopied) throw new Error("the browser did not copy");
}
