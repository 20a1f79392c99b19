// All photos of the gallery, some more whenever the end comes into sight.

import { call } from "../core/api.js";
import { toast } from "../core/toasts.js";
import { tileOf } from "./photos.js";
import { wordsFor } from "./problems.js";

const AT_ONCE = 48;

export function startListing(root) {
  const more = document.getElementById("all-more");
  if (!more) return;
  const list = document.getElementById("all-photos");
  let cursor = root.dataset.cursor;
  more.addEventListener("click", async () => {
    if (!cursor || more.getAttribute("aria-busy")) return;
    more.setAttribute("aria-busy", "true");
    try {
      const query = new URLSearchParams({ limit: AT_ONCE, cursor });
      const answer = await call("GET", `${root.dataset.address}/photos?${query}`);
      list.append(...answer.photos.map((photo) => tileOf({ id: photo.id, url: photo.preview_url, hasOriginal: photo.has_original })));
      cursor = answer.next_cursor;
      more.hidden = !cursor;
    } catch (error) {
      toast(wordsFor(error), { bad: true });
    } finally {
      more.removeAttribute("aria-busy");
    }
  });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) more.click();
  }, { rootMargin: "600px" }).observe(more);
}
