// What went wrong, in the guest's language wherever there are words for it.

import { ApiProblem } from "../core/api.js";
import { element } from "../core/dom.js";
import { t } from "../core/texts.js";

const KNOWN = new Set([
  "consent_needed",
  "no_face",
  "not_found",
  "pin_needed",
  "search_off",
  "service_unavailable",
  "too_large",
  "too_many_attempts",
  "too_many_requests",
  "wrong_pin",
]);

export function wordsFor(error) {
  if (!(error instanceof ApiProblem)) return error.message;
  if (KNOWN.has(error.code)) return t(`gallery.problem_${error.code}`);
  if (error.errors.some(({ field }) => field === "file")) return t("gallery.problem_picture");
  return error.message;
}

/** Tell it at the place, where screen readers hear of it; nothing for no error. */
export function tell(place, error = null) {
  place.replaceChildren(...(error ? [element("p", { class: "notice bad", role: "alert" }, wordsFor(error))] : []));
}
