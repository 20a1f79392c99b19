// Choosing everything that matches the filters, of which the list has loaded only a part.

import { call } from "../core/api.js";
import { language, t } from "../core/texts.js";
import { toast } from "../core/toasts.js";

const FILTERS = ["q", "entityType", "entityId", "status", "storageStatus", "before"];
const COUNTING_SECONDS = 60;
const numbers = new Intl.NumberFormat(language);

export function numberText(count) {
  return numbers.format(count);
}

/** The filters of an address as calls take them that act on all that match. */
export function matchingOf(address) {
  const asked = new URL(address, location.href).searchParams;
  const matching = {};
  for (const name of FILTERS) {
    const value = asked.get(name)?.trim();
    if (value) matching[name] = value;
  }
  if (asked.get("deleted") === "true") matching.deleted = true;
  return Object.keys(matching).length ? matching : { everything: true };
}

/** Offer it in the bar, and do it; what is loaded whole is chosen one by one. */
export class Everything {
  #list;
  #choice;
  #button;
  /** `{ address, asked }`: the count that the bar shows, for one address. */
  #count = null;

  constructor(list, choice, button) {
    this.#list = list;
    this.#choice = choice;
    this.#button = button;
    choice.addEventListener("change", () => this.#offer());
  }

  async choose() {
    if (this.#list.isWhole) {
      this.#choice.set(this.#list.loadedIds());
      return;
    }
    const address = this.#list.address;
    const isFocused = document.activeElement === this.#button;
    this.#button.setAttribute("aria-busy", "true");
    try {
      const { count, isMore } = await this.#counted();
      if (address !== this.#list.address) return;
      if (isMore) toast(t("media.too_many_match", { number: numberText(count) }), { bad: true });
      else if (count) this.#choice.setAll(matchingOf(address), count);
      // What is hidden can't keep the focus: it goes to what takes the choice back.
      if (isFocused && this.#button.hidden) this.#button.parentElement.querySelector('[data-do="clear"]').focus();
    } catch (error) {
      toast(error, { bad: true });
    } finally {
      this.#button.removeAttribute("aria-busy");
    }
  }

  async #offer() {
    if (!this.#choice.size) this.#count = null;
    const isOffered = this.#choice.size > 0 && !this.#choice.all && !this.#list.isWhole;
    this.#button.hidden = !isOffered;
    if (!isOffered) return;
    if (!this.#count) this.#button.textContent = t("media.choose_all");
    const address = this.#list.address;
    try {
      const { count, isMore } = await this.#counted();
      if (address === this.#list.address && !isMore) this.#button.textContent = t("media.choose_all_of", { number: numberText(count) });
    } catch {
      // It is only what the button says; who presses it is told what is wrong.
    }
  }

  #counted() {
    const address = this.#list.address;
    if (this.#count?.address !== address) {
      const asked = new URL("/api/admin/media/count", location.href);
      for (const [name, value] of Object.entries(matchingOf(address))) if (name !== "everything") asked.searchParams.set(name, value);
      const counting = { address, asked: call("GET", asked.href, undefined, { seconds: COUNTING_SECONDS }) };
      counting.asked.catch(() => {
        if (this.#count === counting) this.#count = null;
      });
      this.#count = counting;
    }
    return this.#count.asked;
  }
}
