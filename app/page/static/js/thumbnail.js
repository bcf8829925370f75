// Small pictures, made in the browser from what it can decode.

const SIDE = 320;

/** @returns {Promise<string | null>} a data URI; null where the browser cannot show such a file */
export async function thumbnail(file) {
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
