// The ways to add images: choose, drop or paste files, or click an example.

/** @param {(files: File[]) => void} onFiles  called with at least one file */
export function fileInput({ input, examples, form, problem }, onFiles) {
  const add = (files) => {
    showProblem("");
    if (files.length) onFiles([...files]);
  };
  const showProblem = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  const addChosen = () => {
    add(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
  input.multiple = true;
  input.required = false;
  input.addEventListener("change", addChosen);
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
    const { files, hasFolders } = droppedFiles(event.dataTransfer);
    add(files);
    if (hasFolders) showProblem("Folders cannot be dropped. Open the folder and drop the images in it.");
  });
  document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));

  examples.addEventListener("click", async (event) => {
    const src = event.target.closest("button")?.dataset.src;
    if (!src) return;
    try {
      const response = await fetch(src);
      if (!response.ok) throw new Error(`status ${response.status}`);
      const blob = await response.blob();
      add([new File([blob], src.split("/").pop(), { type: blob.type })]);
    } catch {
      showProblem("The example could not be loaded. The server may have stopped.");
    }
  });

  if (input.files.length) addChosen(); // chosen before the scripts ran
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** The dropped files without folders, which browsers present as unreadable files. */
function droppedFiles(dataTransfer) {
  const items = [...dataTransfer.items].filter((item) => item.kind === "file");
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory ?? false;
  return { files: items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()), hasFolders: items.some(isFolder) };
}
