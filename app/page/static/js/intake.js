// Pictures come in: chosen, dropped, pasted, or one of the examples.

/** @param {(files: File[]) => void} take  called with at least one file */
export function intake({ input, examples, form, problem }, take) {
  const some = (files) => {
    say("");
    if (files.length) take([...files]);
  };
  const say = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  const chosen = () => {
    some(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
  input.multiple = true;
  input.required = false;
  input.addEventListener("change", chosen);
  form.addEventListener("submit", (event) => event.preventDefault());

  const highlight = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    highlight(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || highlight(false));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    highlight(false);
    const { files, folders } = sorted(event.dataTransfer);
    some(files);
    if (folders) say("Folders are left out. Open them, and drop the pictures in them.");
  });
  document.addEventListener("paste", (event) => some(event.clipboardData?.files ?? []));

  examples.addEventListener("click", async (event) => {
    const src = event.target.closest("button")?.dataset.src;
    if (!src) return;
    try {
      const response = await fetch(src);
      if (!response.ok) throw new Error(`status ${response.status}`);
      const blob = await response.blob();
      some([new File([blob], src.split("/").pop(), { type: blob.type })]);
    } catch {
      say("The example cannot be fetched. The server may have stopped.");
    }
  });

  if (input.files.length) chosen(); // before the scripts had run
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** Files, and whether there were folders, which browsers hand over as files that cannot be read. */
function sorted(dataTransfer) {
  const items = [...dataTransfer.items].filter((item) => item.kind === "file");
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory ?? false;
  return { files: items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()), folders: items.some(isFolder) };
}
