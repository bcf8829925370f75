// Sends one image to the server and returns its response.
// XMLHttpRequest is used because fetch does not report upload progress.

const MESSAGES = {
  0: "The server cannot be reached. It may have stopped, the connection may be down, or the file may have been moved.",
  413: "This image is too large for the server, or for a proxy in front of it.",
  502: "The proxy cannot reach the server.",
  504: "The response took too long.",
};
const MAX_RETRY_AFTER_S = 60;

/** An error response of the server, or a network error (`status` 0). */
export class Problem extends Error {
  /** @param {{code?: string, detail?: string, request_id?: string} | null} body  problem+json, if the response has it */
  constructor(status, body = null, retryAfter = 1) {
    super(message(status, body ?? {}));
    this.status = status;
    this.code = body?.code ?? (status ? `http_${status}` : "unreachable");
    this.retryAfter = retryAfter;
  }

  /** The same request may succeed later. */
  get isRetryable() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** The server is busy; the request may be sent again after `retryAfter` seconds. */
  get isBusy() {
    return this.status === 503 || this.status === 429;
  }
}

function message(status, { detail, request_id: id }) {
  if (status === 500) return `The server failed to classify this image.${id ? ` Its log has the details under request ID ${id}.` : ""}`;
  return detail ?? MESSAGES[status] ?? `The server responded with status ${status}.`;
}

/**
 * @param {Blob} image
 * @param {{root: string, models: string[], topK: number, key?: string, signal: AbortSignal, onProgress?: (fraction: number) => void}} options
 * @returns {Promise<{request_id: string, results: object[], timing_ms: object, batch_size: number}>}
 *   with a list of results, also for a single model; rejects with a Problem, or an AbortError
 */
export function classify(image, { root, models, topK, key, signal, onProgress = () => {} }) {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new DOMException("Removed", "AbortError"));
    if (signal.aborted) {
      aborted();
      return;
    }
    const request = new XMLHttpRequest();
    request.open("POST", `${root}/v1/classify?${query(models, topK)}`);
    if (key) request.setRequestHeader("X-API-Key", key);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200 && response) resolve(withResultList(response));
      else reject(new Problem(status, response, secondsUntil(request.getResponseHeader("Retry-After"))));
    };
    request.onerror = () => reject(new Problem(0));
    request.onabort = aborted;
    signal.addEventListener("abort", () => request.abort(), { once: true });
    const form = new FormData();
    form.append("file", image, image.name ?? "image");
    request.send(form);
  });
}

/** The query string of a request. "@" and "," stay unescaped, as in `a@1,b@2`. */
export function query(models, topK) {
  const parts = models.length ? [`model=${models.map(encodeURIComponent).join(",").replaceAll("%40", "@")}`] : [];
  return [...parts, `top_k=${topK}`].join("&");
}

/** Retry-After is a number of seconds, or a date if a proxy sets it. */
function secondsUntil(retryAfter) {
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Math.min(Math.max(Math.ceil(seconds || 1), 1), MAX_RETRY_AFTER_S);
}

function withResultList(response) {
  if (response.results) return response;
  const { request_id, timing_ms, batch_size, ...result } = response;
  return { request_id, timing_ms, batch_size, results: [result] };
}
