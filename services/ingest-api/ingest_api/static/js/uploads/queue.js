// Uploads, a few at a time: from the file to what becomes of it, through pauses, refusals and a server that is away.
//
// Each file has an Idempotency-Key for as long as the page lives, so sending it again never makes a second one of it.
//
// Where they go is said by a destination:
//   address, headers         of the request
//   accepted(item, answer)   what is kept of the answer; `note` is shown
//   isFollowed               whether something follows that takes a while; then also
//     listen(hear)           to tell of it by hear(item, {status, progress, error})
//     look(item)             to ask for it; resolves to the same, or to null
//     retry(item)            to have it tried again

import { ApiProblem } from "../core/api.js";
import { sizeText } from "../core/formats.js";
import { isLive } from "../core/live.js";
import { failureText } from "../core/problems.js";
import { t } from "../core/texts.js";

const IN_FLIGHT = 4;
const TRIES = 6;
const LONGEST_WAIT_SECONDS = 60;
const LOOK_EVERY_MILLISECONDS = 2000;
const LOOKS_AT_ONCE = 6;
/** Messages may be lost between a sign-in and the WebSocket; what nothing is heard of is asked for. */
const SILENCE_MILLISECONDS = 10_000;
const SEND_SECONDS = 30 * 60;

/** The same file is refused for the same reason again. */
const HOPELESS = new Set([413, 415, 422]);

export const ENDED = new Set(["done", "failed", "cancelled"]);

/** Tells "change" whenever something did; `items` are in the order in which they were added. */
export class UploadQueue extends EventTarget {
  items = [];
  isPaused = false;
  /** Until when the server asked to wait, in milliseconds; 0 if it did not. */
  waitsUntil = 0;
  isOffline = false;
  #limitBytes;
  #destination;
  #timer = null;

  constructor(limitBytes, destination) {
    super();
    this.#limitBytes = limitBytes;
    this.#destination = destination;
    destination.listen?.((item, told) => this.#hear(item, told));
    setInterval(() => this.#look(), LOOK_EVERY_MILLISECONDS);
    addEventListener("online", () => this.#begin());
  }

  /** `fields` are the text fields of each upload. */
  add(files, fields) {
    for (const file of files) {
      const item = { id: key(), key: key(), file, fields, state: "waiting", sent: 0, progress: 0, tries: 0, why: "", isAccepted: false, heardAt: 0 };
      const fault = this.#faultOf(file);
      if (fault) Object.assign(item, { state: "failed", why: fault, isFinal: true });
      this.items.push(item);
    }
    this.#tell();
    this.#begin();
  }

  /** Whether a file that was sent is not done yet. */
  get isFollowed() {
    return this.#destination.isFollowed;
  }

  get isRunning() {
    return this.items.some((item) => item.state === "waiting" || item.state === "uploading");
  }

  pause() {
    this.isPaused = true;
    for (const item of this.items) {
      if (item.state === "uploading") this.#giveUp(item, "waiting");
    }
    this.#tell();
  }

  resume() {
    this.isPaused = false;
    this.waitsUntil = 0;
    this.#tell();
    this.#begin();
  }

  cancel(item) {
    if (item.state === "uploading") this.#giveUp(item, "cancelled");
    else if (item.state === "waiting") item.state = "cancelled";
    this.#tell();
    this.#begin();
  }

  cancelAll() {
    for (const item of this.items) {
      if (item.state === "waiting") item.state = "cancelled";
      else if (item.state === "uploading") this.#giveUp(item, "cancelled");
    }
    this.#tell();
  }

  async retry(item) {
    if (item.isFinal || (item.state !== "failed" && item.state !== "cancelled")) return;
    Object.assign(item, { why: "", tries: 0 });
    if (!item.isAccepted) {
      item.state = "waiting";
      this.#tell();
      this.#begin();
      return;
    }
    item.state = "processing";
    this.#tell();
    try {
      await this.#destination.retry(item);
      item.heardAt = Date.now();
    } catch (error) {
      this.#end(item, "failed", error.message);
    }
  }

  retryFailed() {
    for (const item of this.items) if (item.state === "failed") this.retry(item);
  }

  clearEnded() {
    this.items = this.items.filter((item) => item.state !== "done" && item.state !== "cancelled");
    this.#tell();
  }

  clear() {
    this.items = this.items.filter((item) => !ENDED.has(item.state));
    this.#tell();
  }

  #faultOf(file) {
    if (file.size === 0) return t("uploads.is_empty");
    if (file.size > this.#limitBytes) return t("uploads.too_large", { size: sizeText(file.size), limit: sizeText(this.#limitBytes) });
    if (file.type && !file.type.startsWith("image/")) return t("uploads.no_picture");
    return null;
  }

  #begin() {
    if (this.isPaused) return;
    const wait = this.waitsUntil - Date.now();
    if (wait > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#begin(), wait);
      return;
    }
    this.waitsUntil = 0;
    let free = IN_FLIGHT - this.items.filter((item) => item.state === "uploading").length;
    for (const item of this.items) {
      if (free <= 0) break;
      if (item.state !== "waiting") continue;
      free -= 1;
      this.#send(item);
    }
  }

  #send(item) {
    Object.assign(item, { state: "uploading", sent: 0 });
    item.tries += 1;
    const form = new FormData();
    // Fields first, so that the server knows them when the bytes come.
    for (const [name, value] of Object.entries(item.fields)) if (value) form.append(name, value);
    form.append("file", item.file, item.file.name);
    const request = new XMLHttpRequest();
    item.request = request;
    request.open("POST", this.#destination.address);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", item.key);
    for (const [name, value] of Object.entries(this.#destination.headers)) request.setRequestHeader(name, value);
    request.timeout = SEND_SECONDS * 1000;
    request.upload.addEventListener("progress", (event) => {
      item.sent = event.lengthComputable ? event.loaded / event.total : 0;
      this.#tell();
    });
    request.addEventListener("load", () => item.request === request && this.#answered(item, request));
    for (const type of ["error", "timeout"]) request.addEventListener(type, () => item.request === request && this.#unreached(item));
    request.send(form);
    this.#tell();
  }

  #answered(item, request) {
    item.request = null;
    this.isOffline = false;
    const answer = jsonOf(request.responseText);
    if (request.status >= 200 && request.status < 300) {
      Object.assign(item, { tries: 0, isAccepted: true, heardAt: Date.now(), ...this.#destination.accepted(item, answer) });
      item.state = this.isFollowed ? "processing" : "done";
      this.dispatchEvent(new CustomEvent("accepted", { detail: item }));
      if (this.isFollowed) this.#tell();
      else this.#end(item, "done", item.note);
    } else if (request.status === 429 || request.status === 503) {
      this.#waitFor(item, Number(request.getResponseHeader("Retry-After")) || 5);
    } else if (request.status >= 500 && item.tries < TRIES) {
      this.#waitFor(item, 2 ** item.tries);
    } else if (request.status === 401) {
      item.state = "waiting";
      this.isPaused = true;
      this.dispatchEvent(new CustomEvent("signed-out"));
      this.#tell();
    } else {
      item.isFinal = HOPELESS.has(request.status);
      this.#end(item, "failed", reasonOf(answer, request));
    }
    this.#begin();
  }

  /** The file waits, and all others with it. */
  #waitFor(item, seconds) {
    item.state = "waiting";
    this.waitsUntil = Math.max(this.waitsUntil, Date.now() + 1000 * Math.min(seconds, LONGEST_WAIT_SECONDS));
    this.#tell();
  }

  async #unreached(item) {
    item.request = null;
    // A file that was moved or changed since it was chosen fails like a connection; reading it tells which of both it is.
    try {
      await item.file.slice(0, 1).arrayBuffer();
    } catch {
      Object.assign(item, { isFinal: true });
      this.#end(item, "failed", t("uploads.unreadable"));
      this.#begin();
      return;
    }
    this.isOffline = true;
    if (item.tries < TRIES) this.#waitFor(item, 2 ** (item.tries - 1));
    else this.#end(item, "failed", t("common.offline"));
    this.#begin();
  }

  #giveUp(item, state) {
    const request = item.request;
    item.request = null;
    request?.abort();
    Object.assign(item, { state, sent: 0 });
  }

  #hear(item, told) {
    if (item.state !== "processing") return;
    item.heardAt = Date.now();
    item.progress = Math.max(item.progress, told.progress);
    if (told.status === "completed") this.#end(item, "done", "");
    else if (told.status === "failed") this.#end(item, "failed", told.error ? failureText(told.error) : "");
    else this.#tell();
  }

  /** Ask how those fare of which nothing was heard. */
  #look() {
    const silence = isLive() ? SILENCE_MILLISECONDS : 0;
    const now = Date.now();
    const silent = this.items.filter((item) => item.state === "processing" && now - item.heardAt > silence);
    silent.sort((one, other) => one.heardAt - other.heardAt);
    for (const item of silent.slice(0, LOOKS_AT_ONCE)) {
      item.heardAt = now;
      this.#destination.look(item).then((told) => told && this.#hear(item, told));
    }
    if (this.waitsUntil) this.#tell();
  }

  #end(item, state, why) {
    Object.assign(item, { state, why });
    this.dispatchEvent(new CustomEvent("ended", { detail: item }));
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Where there is no TLS, browsers have no randomUUID. */
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function jsonOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function reasonOf(answer, request) {
  const problem = new ApiProblem(request.status, { title: `${request.status} ${request.statusText}`, ...answer });
  return problem.errors.map(({ field, message }) => `${field}: ${message}`).join("; ") || problem.message;
}
