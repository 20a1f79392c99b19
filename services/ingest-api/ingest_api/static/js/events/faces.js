// A face on a photo and its row in the list below are shown together.

export function startFaces() {
  const show = (event) => {
    const part = event.target instanceof Element ? event.target.closest("[data-face]") : null;
    const scope = part?.closest("#drawer-content, .detail");
    for (const shown of document.querySelectorAll("[data-face].shown")) {
      if (shown.dataset.face !== part?.dataset.face) shown.classList.remove("shown");
    }
    for (const same of scope?.querySelectorAll(`[data-face="${part.dataset.face}"]`) ?? []) same.classList.add("shown");
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("click", (event) => {
    const box = event.target instanceof Element ? event.target.closest("g[data-face]") : null;
    box?.closest("#drawer-content, .detail").querySelector(`li[data-face="${box.dataset.face}"] input`)?.focus();
  });
}
