// A new link is shown once; nobody can find its address out later.

import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";

const PIN_DIGITS = 6;

function newPin() {
  const numbers = crypto.getRandomValues(new Uint8Array(PIN_DIGITS * 4));
  // Those from 250 on would make small digits likelier.
  const digits = [...numbers].filter((number) => number < 250).map((number) => number % 10);
  return digits.slice(0, PIN_DIGITS).join("");
}

export function startLinks() {
  const form = document.getElementById("new-link-form");
  const made = document.getElementById("made-link");
  const address = document.getElementById("made-address");
  const share = document.getElementById("share-link");
  const pin = document.getElementById("field-pin");
  document.getElementById("make-pin").addEventListener("click", () => {
    pin.value = newPin();
    pin.focus();
  });
  form.addEventListener("done", (event) => {
    const { path, gallery } = event.detail.answer;
    address.value = new URL(path, location.href).href;
    document.getElementById("made-pin").hidden = !gallery.has_pin;
    document.getElementById("made-pin-text").textContent = pin.value;
    share.hidden = !navigator.share;
    made.showModal();
    address.select();
  });
  made.addEventListener("close", () => {
    address.value = "";
    document.getElementById("made-pin-text").textContent = "";
  });
  document.getElementById("copy-link").addEventListener("click", async () => {
    address.select();
    try {
      await navigator.clipboard.writeText(address.value);
      toast(t("common.copied"));
    } catch {
      toast(t("events.copy_by_hand"), { bad: true });
    }
  });
  share.addEventListener("click", () => {
    navigator.share({ url: address.value }).catch(() => {});
  });
}
