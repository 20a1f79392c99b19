// What the API refuses, in the page's language: the API itself speaks English.

import { language, says, t } from "./texts.js";

const LANGUAGE_OF_API = "en";
/** Of which the API's own words alone tell what is wrong. */
const OF_MANY_CAUSES = new Set(["bad_request", "conflict", "files_differ", "invalid_request", "storage_failed", "too_large", "unsupported_media_type"]);

/** What people read of a problem; of codes without words here what the API says. */
export function problemText({ code, title, detail, errors = [] }) {
  const own = detail || title;
  if (language === LANGUAGE_OF_API || !says(`problems.${code}`)) return own;
  const text = t(`problems.${code}`);
  if (errors.length) return `${text}: ${errors.map(({ field }) => field).join(", ")}`;
  return OF_MANY_CAUSES.has(code) && own ? `${text}. ${own}` : text;
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
