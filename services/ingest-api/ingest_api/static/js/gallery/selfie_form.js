// A dialog that asks for a consent first, then for a picture, and sends both.

import { ApiProblem, call } from "../core/api.js";
import { Selfie } from "./selfie.js";
import { tell } from "./problems.js";

const ANSWER_SECONDS = 90;

export class SelfieForm {
  /** `answered(answer, picture)` gets what the server said. */
  constructor(dialog, answered) {
    this.dialog = dialog;
    this.answered = answered;
    this.form = dialog.querySelector("form");
    this.agrees = dialog.querySelector("[data-agrees]");
    this.sends = dialog.querySelector("[data-sends]");
    this.problem = dialog.querySelector(".problem");
    this.selfie = new Selfie(dialog.querySelector("[data-selfie]"), () => this.update());
    this.agrees.addEventListener("change", () => {
      tell(this.problem);
      if (!this.agrees.checked) this.selfie.clear();
      this.update();
      if (this.agrees.checked) dialog.querySelector('[data-step="picture"]').scrollIntoView({ block: "nearest" });
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(this.selfie.picture);
    });
    dialog.addEventListener("close", () => {
      this.selfie.clear();
      tell(this.problem);
      this.update();
    });
    // What a browser filled in from an earlier visit is no consent.
    this.agrees.checked = false;
    this.update();
  }

  update() {
    this.dialog.querySelector('[data-step="picture"]').hidden = !this.agrees.checked;
    this.sends.hidden = !this.agrees.checked || this.selfie.picture === null;
    if (!this.sends.hidden) {
      tell(this.problem);
      this.sends.focus();
    }
  }

  /** Send a picture with what was agreed to; `choose` names a face of several, counted from 0. */
  async send(picture, choose = null) {
    if (picture === null || !this.agrees.checked || this.sends.getAttribute("aria-busy")) return;
    tell(this.problem);
    const body = new FormData();
    if (this.form.dataset.consent) body.append("consent_version", this.form.dataset.consent);
    if (choose !== null) body.append("choose", String(choose));
    body.append("file", picture, "me.jpg");
    this.sends.setAttribute("aria-busy", "true");
    this.form.setAttribute("aria-busy", "true");
    try {
      this.answered(await call("POST", this.form.dataset.address, body, { seconds: ANSWER_SECONDS }), picture);
    } catch (error) {
      if (!this.dialog.open) this.dialog.showModal();
      if (error instanceof ApiProblem && error.code === "consent_needed") this.askAnew(error.problem);
      tell(this.problem, error);
    } finally {
      this.sends.removeAttribute("aria-busy");
      this.form.removeAttribute("aria-busy");
    }
  }

  /** The text has changed since the page was loaded. */
  askAnew({ consent_text: text, consent_version: version }) {
    if (version !== undefined) this.form.dataset.consent = version;
    const words = this.form.querySelector("[data-consent-text]");
    if (words && text) words.textContent = text;
    this.agrees.checked = false;
    this.update();
  }
}
