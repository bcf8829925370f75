// How far all of it is, in one sentence that screen readers announce.

/** "3 of 20 done, 1 of them failed." */
export function summary(items) {
  const over = items.filter((item) => item.isOver).length;
  const failed = items.filter((item) => item.state === "failed").length;
  const busy = items.filter((item) => item.state === "busy");
  if (!items.length) return "";
  const counted = over < items.length ? `${over} of ${items.length} done` : `${plural(items.length, "picture")} done`;
  const parts = [failed ? `${counted}, ${failed} of them failed` : counted];
  if (busy.length) parts.push("the server is busy, and will be asked again");
  return `${parts.join("; ")}.`;
}

function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
