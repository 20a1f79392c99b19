// What the API refuses, in the page's language: the API itself speaks English.

import { element } from "./dom.js";
import { language, says, t } from "./texts.js";

const LANGUAGE_OF_API = "en";
/** Of which the API's own words alone tell what is wrong. */
const OF_MANY_CAUSES = new Set(["bad_request", "conflict", "files_differ", "invalid_request", "storage_failed", "too_large", "unsupported_media_type"]);

/**
 * What people read of a problem: `text`, of codes without words here what the API says. `own` is what the API says where
 * `text` says it in another language, and `isNeeded` where it says more.
 */
export function problemWords({ code, reason, title, detail, errors = [] }) {
  const own = detail || title;
  const key = [`failures.${reason}`, `problems.${code}`, `failures.${code}`].find(says);
  if (language === LANGUAGE_OF_API || !key) return { text: own, own: "", isNeeded: false };
  const fields = errors.length ? `: ${errors.map(({ field }) => field).join(", ")}` : "";
  return { text: t(key) + fields, own: own ?? "", isNeeded: !fields && key === `problems.${code}` && OF_MANY_CAUSES.has(code) };
}

/** The same as one text. */
export function problemText(problem) {
  const { text, own, isNeeded } = problemWords(problem);
  return isNeeded && own ? `${text}. ${own}` : text;
}

/** What tells an error that was thrown: its words, and in the API's language what it says itself. */
export function errorWords(error) {
  const { text, own, isNeeded } = error.words ?? { text: error.message || t("common.failed"), own: "" };
  if (!own) return [text];
  return isNeeded ? withOwnWords(text, own) : [element("span", { title: own }, text)];
}

/** What tells `text`, and below it what the API says, `own`; in the API's language that alone. */
export function withOwnWords(text, own) {
  if (language === LANGUAGE_OF_API) return [own];
  return [element("span", {}, text), element("span", { class: "original quiet small", lang: LANGUAGE_OF_API }, own)];
}

/** What people read of why a job or a file of it failed. The codes are those of the service that failed, not of the API. */
export function failureText({ code, detail }) {
  if (!says(`failures.${code}`)) return problemText({ code, title: code, detail });
  return language === LANGUAGE_OF_API && detail ? detail : t(`failures.${code}`);
}

/** What is wrong with one field, of a problem's errors. */
export function faultText({ message, code, values = {} }) {
  return says(`faults.${code}`) ? t(`faults.${code}`, { ...values, message }) : message;
}
