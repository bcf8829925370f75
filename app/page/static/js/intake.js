// Pictures come in: chosen, dropped, pasted, or one of the examples.

/** @param {(files: File[]) => void} take  called with at least one file */
export function intake({ input, examples, form }, take) {
  const some = (files) => {
    if (files.length) take([...files]);
  };

  input.multiple = true;
  input.required = false;
  input.addEventListener("change", () => {
    some(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  let depth = 0; // of elements below the pointer: leaving one enters another
  const over = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(-depth);
    some(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => some(event.clipboardData?.files ?? []));

  examples.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { src } = button.dataset;
    const blob = await (await fetch(src)).blob();
    take([new File([blob], src.split("/").pop(), { type: blob.type })]);
  });
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}
