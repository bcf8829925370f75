// Thumbnails, made in the browser.

const SIDE_PX = 320;
const MAX_FILE_BYTES = 50e6; // decoding a larger file may take gigabytes of memory

let last = Promise.resolve();

/**
 * Thumbnails are made one after the other, since decoding a photo takes about 50 MB.
 * @returns {Promise<string | null>} a data URI; null if the browser cannot decode the file or the item was removed
 */
export function thumbnail(file, signal) {
  last = last.then(() => (signal.aborted || file.size > MAX_FILE_BYTES ? null : make(file)));
  return last;
}

async function make(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const url = scaled(bitmap, bitmap.width, bitmap.height, SIDE_PX).toDataURL("image/jpeg", 0.8);
    bitmap.close();
    return url;
  } catch {
    return null;
  }
}

/** Draw an image or a video frame on a canvas whose longer side has at most `side` pixels. */
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
