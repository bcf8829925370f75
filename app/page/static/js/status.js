// How far all of it is, in one sentence that screen readers announce.

/** "3 of 20 pictures: 2 classified, 1 failed." */
export function summary(items) {
  const over = items.filter((item) => item.isOver).length;
  const failed = items.filter((item) => item.state === "failed").length;
  const busy = items.filter((item) => item.state === "busy");
  if (!items.length) return "";
  const counted = `${items.length} picture${items.length === 1 ? "" : "s"}`;
  const parts = [`${over - failed} classified`];
  if (failed) parts.push(`${failed} failed`);
  if (busy.length) parts.push("the server will be asked again for the others");
  return `${over < items.length ? `${over} of ${counted}` : counted}: ${parts.join(", ")}.`;
}
