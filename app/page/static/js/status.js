// The overall progress as one sentence, which screen readers announce.

/** "3 of 20 images: 2 classified, 1 failed." */
export function summary(items) {
  const finished = items.filter((item) => item.isFinished).length;
  const failed = items.filter((item) => item.state === "failed").length;
  const isBusy = items.some((item) => item.state === "busy");
  if (!items.length) return "";
  const images = `${items.length} image${items.length === 1 ? "" : "s"}`;
  const parts = [`${finished - failed} classified`];
  if (failed) parts.push(`${failed} failed`);
  if (isBusy) parts.push("the others will be sent again");
  return `${finished < items.length ? `${finished} of ${images}` : images}: ${parts.join(", ")}.`;
}
