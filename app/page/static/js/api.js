// One picture to the server and its answer back.
// XMLHttpRequest, because fetch does not tell how much of an upload has gone.

const NOWHERE = "The server cannot be reached. It may have stopped, or the connection was lost.";
const FAULT = "The server made a mistake with this picture. It has been logged";

/** What the server says when there is no answer; `status` is 0 where it says nothing. */
export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail = NOWHERE, request_id = "" }, retryAfter = NaN) {
    super(status >= 500 && status !== 503 && status !== 504 ? `${FAULT}${request_id ? ` as ${request_id}` : ""}.` : detail);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** The server has too much to do for now, and said when to ask again. */
  get isBusy() {
    return this.status === 503;
  }
}

/**
 * @param {Blob} picture
 * @param {{root: string, models: string[], topK: number, signal: AbortSignal, onProgress?: (share: number) => void}} options
 * @returns {Promise<{request_id: string, results: object[], timing_ms: object, batch_size: number}>}
 *   with a list of results, however many models were asked; rejects with a Problem, or an AbortError
 */
export function classify(picture, { root, models, topK, signal, onProgress = () => {} }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${root}/v1/classify?${query(models, topK)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200 && response) resolve(asList(response));
      else reject(new Problem(response ?? { status }, Number(request.getResponseHeader("Retry-After") ?? NaN)));
    };
    request.onerror = () => reject(new Problem({}));
    request.onabort = () => reject(new DOMException("Removed", "AbortError"));
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

function asList(answer) {
  if (answer.results) return answer;
  const { model, version, predictions, ...rest } = answer;
  return { ...rest, results: [{ model, version, predictions }] };
}
