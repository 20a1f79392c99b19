// Calls of the API: JSON in, JSON out, problem details as errors, a deadline on each.

import { faultText, problemText, problemWords } from "./problems.js";
import { t } from "./texts.js";

export class ApiProblem extends Error {
  /** `text` is said in place of what the problem says. */
  constructor(status, problem, text = "") {
    super(text || problemText(problem) || String(status));
    /** Apart: what is said of it here, and what the API itself says. */
    this.words = text ? null : problemWords(problem);
    this.status = status;
    this.code = problem.code;
    this.problem = problem;
    /** What is wrong with single fields: [{field, message}] */
    this.errors = (problem.errors ?? []).map((fault) => ({ ...fault, message: faultText(fault) }));
  }
}

/** The API can't be reached, or did not answer in time: whether the call had an effect is unknown. */
export class NotReached extends Error {
  constructor() {
    super(t("common.offline"));
  }
}

/**
 * Ask the API; `body` is FormData or what becomes JSON. Resolves to the answer's JSON, or null where it has none.
 * Throws ApiProblem or NotReached.
 */
export async function call(method, address, body = undefined, { seconds = 30, headers = {}, signal = undefined } = {}) {
  const sent = { Accept: "application/json", ...headers };
  let content = body;
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    sent["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  const deadline = AbortSignal.timeout(seconds * 1000);
  let response;
  try {
    response = await fetch(address, {
      method,
      headers: sent,
      body: content,
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new NotReached();
  }
  const isJson = /[/+]json/.test(response.headers.get("content-type") || "");
  const told = isJson ? await response.json() : null;
  if (response.ok) return told;
  if (response.status === 401) throw new ApiProblem(401, told || {}, t("common.signed_out"));
  throw new ApiProblem(response.status, told || { title: `${response.status} ${response.statusText}` });
}
