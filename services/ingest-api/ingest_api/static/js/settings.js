// The trial of the bucket, with its outcome beside the button, and the way to an entity type.

import { call } from "./core/api.js";
import { element } from "./core/dom.js";
import { errorWords, withOwnWords } from "./core/problems.js";
import { t } from "./core/texts.js";

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("#test-s3") : null;
  if (!button || button.getAttribute("aria-busy") === "true") return;
  const place = document.getElementById("test-s3-outcome");
  const say = (words, kind) => place.replaceChildren(element("p", { class: `notice ${kind}` }, ...words));
  button.setAttribute("aria-busy", "true");
  say([t("settings.testing")], "");
  try {
    // What stands in the fields is tried before it is saved.
    const wanted = {};
    for (const name of (button.dataset.fields ?? "").split(" ").filter(Boolean)) {
      const value = button.form.elements[name].value.trim();
      wanted[name] = value || null;
    }
    const outcome = await call("POST", "/api/admin/media/settings/test-s3", button.dataset.fields ? wanted : undefined, { seconds: 10 });
    const words = t(`settings.trial_${outcome.code}`, { bucket: outcome.bucket, count: outcome.objectCount ?? 0 });
    // A failure is told in more words by the API, and logs are searched by them.
    say(outcome.success ? [words] : withOwnWords(words, outcome.message), outcome.success ? "good" : "bad");
  } catch (error) {
    say(errorWords(error), "bad");
  } finally {
    button.removeAttribute("aria-busy");
  }
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "open-entity-type") return;
  event.preventDefault();
  const name = event.target.querySelector("input").value.trim();
  if (name) location.assign(`/admin/media/settings/entity-types/${encodeURIComponent(name)}`);
});
