// Calls of the API, as any client makes them, and the errors they can end in.

import { sign } from "./sigv4.js";

const REKOGNITION = "RekognitionService";
const RECOLLECT = "Recollect";
const AWS_JSON = "application/x-amz-json-1.1";
const ATTEMPTS_MAX = 4;
const FIRST_PAUSE_MS = 250;
const SKEW_MIN_MS = 60_000;

// The four calls that SDKs make repeatable by a token.
const ONCE = new Set(["CreateUser", "DeleteUser", "AssociateFaces", "DisassociateFaces"]);
// Our own operations, which Rekognition does not have.
const OURS = new Set([
  "CreateAccessKey",
  "DeleteAccessKey",
  "GetCaller",
  "GetPolicies",
  "ListAccessKeys",
  "PutPolicies",
  "ReadAudit",
  "UpdateAccessKey",
]);
const BUSY = new Set(["ThrottlingException", "ProvisionedThroughputExceededException"]);

/** The root of the API: one folder above the console, so that a path prefix works. */
export const ROOT = new URL("../", import.meta.url);

/** An answer that is an error, or no answer at all (code NoAnswer). */
export class ApiError extends Error {
  constructor(operation, code, message, status, requestId) {
    super(message);
    Object.assign(this, { operation, code, status, requestId });
  }
}

/** The API on behalf of one signed-in person. */
export class Api extends EventTarget {
  /**
   * @param {{kind: "key", keyId: string, secret: string, token?: string, region: string}
   *   | {kind: "bearer", bearer: string} | {kind: "nobody"}} credentials
   */
  constructor(credentials) {
    super();
    this.credentials = credentials;
    /** Who the server says is calling, and what of the administration it lets them use. */
    this.caller = { Administration: [] };
    this.skewMs = 0;
  }

  /** Call an operation in the AWS dialect; an answer that says "busy" is asked for again. */
  async call(operation, params = {}, signal = undefined) {
    if (ONCE.has(operation)) params = { ClientRequestToken: token(), ...params };
    const service = OURS.has(operation) ? RECOLLECT : REKOGNITION;
    const headers = { "content-type": AWS_JSON, "x-amz-target": `${service}.${operation}` };
    const body = JSON.stringify(params);
    for (let attempt = 1; ; attempt++) {
      const started = performance.now();
      const response = await this.post(operation, ROOT, headers, body, signal);
      const answer = await readJson(response);
      const requestId = response.headers.get("x-amzn-RequestId");
      this.#report({ operation, status: response.status, requestId, started });
      if (response.ok && answer !== null) return answer;

      const error = errorOf(operation, response, answer, requestId);
      const busy = BUSY.has(error.code) || [429, 503].includes(response.status);
      const again = busy || this.#corrected(error, response);
      if (!again || attempt === ATTEMPTS_MAX) throw error;
      if (busy) await pause(FIRST_PAUSE_MS * 2 ** attempt * Math.random(), signal);
    }
  }

  /** Ask who the server takes this person for. */
  async identify() {
    this.caller = { ...this.caller, ...(await this.call("GetCaller")) };
  }

  /** Post a body to an address of this server with the person's credentials. */
  async post(operation, url, headers, body, signal) {
    const method = "POST";
    let sent = headers;
    if (this.credentials.kind === "bearer") {
      sent = { ...headers, authorization: `Bearer ${this.credentials.bearer}` };
    } else if (this.credentials.kind === "key") {
      const now = new Date(Date.now() + this.skewMs);
      sent = await sign({ method, url, headers, body }, this.credentials, now);
    }
    const options = { method, headers: sent, body, signal, credentials: "omit", cache: "no-store" };
    try {
      return await fetch(url, options);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(operation, "NoAnswer", "The server did not answer.", 0, null);
    }
  }

  // A clock that is wrong by minutes makes every signature wrong; the server's is in its answer.
  #corrected(error, response) {
    if (error.code !== "InvalidSignatureException" || this.skewMs !== 0) return false;
    const skewMs = Date.parse(response.headers.get("date")) - Date.now();
    if (!(Math.abs(skewMs) > SKEW_MIN_MS)) return false;
    this.skewMs = skewMs;
    return true;
  }

  #report({ operation, status, requestId, started }) {
    const detail = { operation, status, requestId, ms: performance.now() - started };
    this.dispatchEvent(new CustomEvent("answer", { detail }));
  }
}

function token() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join(
    "",
  );
}

async function readJson(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

function errorOf(operation, response, answer, requestId) {
  const code = String(answer?.__type ?? `HTTP ${response.status}`)
    .split("#")
    .pop();
  const message = String(answer?.message ?? answer?.Message ?? "The answer has no text.");
  return new ApiError(operation, code, message, response.status, requestId);
}

/** Wait, or stop waiting when the page is left. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
