// Small pictures, made in the browser from what it can decode.

const SIDE = 320;
const MOST_BYTES = 50e6; // beyond that a browser may need gigabytes

let last = Promise.resolve();

/**
 * One after the other: a photograph takes fifty megabytes while it is decoded.
 * @returns {Promise<string | null>} a data URI; null where the browser cannot show such a file, or nobody waits for it
 */
export function thumbnail(file, signal) {
  last = last.then(() => (signal.aborted || file.size > MOST_BYTES ? null : make(file)));
  return last;
}

async function make(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const url = scaled(bitmap, bitmap.width, bitmap.height, SIDE).toDataURL("image/jpeg", 0.8);
    bitmap.close();
    return url;
  } catch {
    return null;
  }
}

/** A canvas with a picture or a frame of a video, reduced to `side` pixels at most. */
export function scaled(source, width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}
