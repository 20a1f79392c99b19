// Parts of a page that the server renders anew: <section id="jobs" data-fragment data-on="sync:progress" data-poll="4">.
//
// The part named by its id is asked for with ?fragment=<id> at the page's address, or at data-source. It comes anew when
// a message of a type in data-on arrives, every data-poll seconds while no messages can arrive, and every data-every
// seconds. What did not change keeps its elements, so that focus, selection and scrolling stay.

import { pageAddress } from "./address.js";
import { isLive, onMessage } from "./live.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

const BUNDLE_MILLISECONDS = 250;
const DEADLINE_SECONDS = 20;
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("mediabus-fragments", { createHTML: (text) => text })
  : { createHTML: (text) => text };

/** What scripts say of an element while its form is sent, or was refused. */
const OURS = new Set(["aria-busy", "aria-invalid", "aria-errormessage"]);

const states = new WeakMap();

/** The elements of HTML that our server rendered; scripts in it don't run. */
export function parsed(html) {
  const page = new DOMParser().parseFromString(policy.createHTML(html), "text/html");
  return page.body;
}

export function fragmentAddress(name, source = pageAddress()) {
  const address = new URL(source, location.href);
  address.searchParams.set("fragment", name);
  address.hash = "";
  return address.href;
}

let isSignedOutTold = false;

/** Once: the page stays as it is, for there may be words or uploads in it that must not be lost. */
function tellSignedOut() {
  if (!isSignedOutTold) toast(t("common.signed_out"), { bad: true });
  isSignedOutTold = true;
}

/** The HTML of a part; throws where the server refuses or is not reached. */
export async function fetchFragment(address, seconds = DEADLINE_SECONDS) {
  const response = await fetch(address, {
    headers: { Accept: "text/html" },
    credentials: "same-origin",
    signal: AbortSignal.timeout(seconds * 1000),
  });
  const html = await response.text();
  if (response.status === 401) tellSignedOut();
  if (!response.ok) throw Object.assign(new Error(String(response.status)), { html });
  return html;
}

/** Have a part rendered anew, by its id; calls while one is under way become one more. */
export async function refresh(id) {
  const part = document.getElementById(id);
  if (!part) return;
  const state = states.get(part) ?? {};
  states.set(part, state);
  if (state.running) {
    state.again = true;
    return state.running;
  }
  state.running = (async () => {
    try {
      const html = await fetchFragment(fragmentAddress(id, part.dataset.source || pageAddress()));
      morphChildren(part, parsed(html));
      part.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
    } catch {
      // What is shown stays; the next message or poll tries again.
    }
  })();
  await state.running;
  state.running = null;
  if (state.again) {
    state.again = false;
    await refresh(id);
  }
}

/** Make the children of `target` those of `source`, keeping elements of the same id or data-key. */
export function morphChildren(target, source) {
  const keyed = new Map();
  for (const child of target.children) {
    const key = keyOf(child);
    if (key) keyed.set(key, child);
  }
  let place = behindFaults(target.firstChild);
  for (const wanted of [...source.childNodes]) {
    // The parser leaves out the space that a part begins with.
    while (isSpace(place) && !isSpace(wanted)) {
      const next = behindFaults(place.nextSibling);
      place.remove();
      place = next;
    }
    const key = wanted.nodeType === Node.ELEMENT_NODE ? keyOf(wanted) : null;
    let kept = key ? keyed.get(key) : place;
    if (!key) while (kept && kept.nodeType === Node.ELEMENT_NODE && keyOf(kept)) kept = kept.nextSibling;
    if (kept && isSame(kept, wanted)) {
      if (kept !== place) target.insertBefore(kept, place);
      else place = behindFaults(place.nextSibling);
      morph(kept, wanted);
    } else {
      target.insertBefore(document.importNode(wanted, true), place);
    }
  }
  while (place) {
    const next = behindFaults(place.nextSibling);
    place.remove();
    place = next;
  }
  for (const fault of target.querySelectorAll(":scope > .fault")) {
    if (!target.querySelector(`[aria-errormessage="${fault.id}"]`)) fault.remove();
  }
}

function isSpace(node) {
  return node?.nodeType === Node.TEXT_NODE && !node.data.trim();
}

/** What was told beside a field is no part of what the server renders: it stays as long as its field does. */
function behindFaults(node) {
  let place = node;
  while (place?.nodeType === Node.ELEMENT_NODE && place.classList.contains("fault")) place = place.nextSibling;
  return place;
}

function keyOf(node) {
  return node.id || node.dataset?.key || null;
}

function isSame(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (keyOf(one) ?? "") === (keyOf(other) ?? "");
}

function morph(target, source) {
  if (target.nodeType !== Node.ELEMENT_NODE) {
    if (target.nodeValue !== source.nodeValue) target.nodeValue = source.nodeValue;
    return;
  }
  // What the visitor is typing, has opened or has chosen is the visitor's.
  if (target.dataset.keep !== undefined || target.classList.contains("problem")) return;
  const isEdited = target === document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(target.nodeName);
  for (const { name, value } of [...source.attributes]) {
    if (isEdited && name === "value") continue;
    if (target.getAttribute(name) !== value) target.setAttribute(name, value);
  }
  for (const { name } of [...target.attributes]) {
    const isVisitors = name === "open" && /^(DETAILS|DIALOG)$/.test(target.nodeName);
    if (!source.hasAttribute(name) && !isVisitors && !OURS.has(name)) target.removeAttribute(name);
  }
  morphChildren(target, source);
}

/** Watch the parts below `root`; called for what is loaded later, too. */
export function watchFragments(root = document) {
  for (const part of root.querySelectorAll("[data-fragment]")) {
    if (part.dataset.watched) continue;
    part.dataset.watched = "yes";
    watch(part);
  }
}

function watch(part) {
  let bundled = null;
  const soon = () => {
    bundled ??= setTimeout(() => {
      bundled = null;
      if (part.isConnected) refresh(part.id);
    }, BUNDLE_MILLISECONDS);
  };
  const types = (part.dataset.on || "").split(/\s+/).filter(Boolean);
  const stops = types.map((type) => onMessage(type, soon));
  const every = Number(part.dataset.every || 0);
  const poll = Number(part.dataset.poll || 0);
  const smallest = Math.min(...[every, poll].filter((seconds) => seconds > 0));
  if (!Number.isFinite(smallest)) return;
  let last = Date.now();
  const timer = setInterval(() => {
    if (!part.isConnected) {
      clearInterval(timer);
      for (const stop of stops) stop();
      return;
    }
    const due = every > 0 ? (isLive() ? every : Math.min(every, poll || every)) : isLive() ? Infinity : poll;
    if (document.hidden || Date.now() - last < due * 1000) return;
    last = Date.now();
    refresh(part.id);
  }, Math.min(smallest * 1000, 1000));
}
