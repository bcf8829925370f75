// One picture to the server and its answer back.
// XMLHttpRequest, because fetch does not tell how much of an upload has gone.

const WORDS = {
  0: "The server cannot be reached. It may have stopped, the connection was lost, or the file was moved meanwhile.",
  413: "This picture is too large for the server, or for something on the way to it.",
  502: "The server cannot be reached by what stands before it.",
  504: "The answer took too long.",
};
const LONGEST_WAIT_S = 60;

/** What the server says when there is no answer; `status` is 0 where it says nothing. */
export class Problem extends Error {
  /** @param {{code?: string, detail?: string, request_id?: string} | null} said  problem+json, if it was that */
  constructor(status, said = null, retryAfter = 1) {
    super(words(status, said ?? {}));
    this.status = status;
    this.code = said?.code ?? (status ? `http_${status}` : "unreachable");
    this.retryAfter = retryAfter;
  }

  /** Asking once more can help. */
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** The server has too much to do for now, and may be asked again after `retryAfter` seconds. */
  get isBusy() {
    return this.status === 503 || this.status === 429;
  }
}

function words(status, { detail, request_id: id }) {
  if (status === 500) return `The server made a mistake with this picture.${id ? ` It has been logged as ${id}.` : ""}`;
  return detail ?? WORDS[status] ?? `The server answered with status ${status}.`;
}

/**
 * @param {Blob} picture
 * @param {{root: string, models: string[], topK: number, key?: string, signal: AbortSignal, onProgress?: (share: number) => void}} options
 * @returns {Promise<{request_id: string, results: object[], timing_ms: object, batch_size: number}>}
 *   with a list of results, however many models were asked; rejects with a Problem, or an AbortError
 */
export function classify(picture, { root, models, topK, key, signal, onProgress = () => {} }) {
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
      if (status === 200 && response) resolve(asList(response));
      else reject(new Problem(status, response, secondsUntil(request.getResponseHeader("Retry-After"))));
    };
    request.onerror = () => reject(new Problem(0));
    request.onabort = aborted;
    signal.addEventListener("abort", () => request.abort(), { once: true });
    const form = new FormData();
    form.append("file", picture, picture.name ?? "picture");
    request.send(form);
  });
}

/** The query of an address; the server knows `a@1` and `a@1,b@2`. */
export function query(models, topK) {
  const parts = models.length ? [`model=${models.map(encodeURIComponent).join(",").replaceAll("%40", "@")}`] : [];
  return [...parts, `top_k=${topK}`].join("&");
}

/** Retry-After is in seconds, or a date where a proxy says it. */
function secondsUntil(retryAfter) {
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Math.min(Math.max(Math.ceil(seconds || 1), 1), LONGEST_WAIT_S);
}

function asList(answer) {
  if (answer.results) return answer;
  const { model, version, predictions, ...rest } = answer;
  return { ...rest, results: [{ model, version, predictions }] };
}
