// Tiles of photos, which of them are chosen, and one of them large.

import { comeBack, pageAddress, standIn, startDrawer } from "../core/address.js";
import { t } from "../core/texts.js";

const SWIPE_PX = 45;

/** `photo` is {id, url, hasOriginal}. */
export function tileOf(photo) {
  const tile = document.getElementById("photo-tile").content.firstElementChild.cloneNode(true);
  tile.dataset.photo = photo.id;
  if (!photo.hasOriginal) delete tile.dataset.original;
  const image = tile.querySelector("img");
  if (photo.url) image.src = photo.url;
  const pick = tile.querySelector(".pick");
  if (pick) pick.hidden = !photo.hasOriginal;
  return tile;
}

/** Let the guest choose; `searchId` names the search that found them, or null. */
export function startChoosing(root, searchId) {
  const bar = document.getElementById("chosen");
  if (!bar) return () => {};
  const boxes = () => [...root.querySelectorAll('.tile input[type="checkbox"]')];
  const update = () => {
    for (const box of boxes()) box.closest(".tile").classList.toggle("chosen", box.checked);
    const ids = new Set(boxes().filter((box) => box.checked).map((box) => box.closest(".tile").dataset.photo));
    bar.hidden = ids.size === 0;
    document.getElementById("chosen-count").textContent = t("gallery.chosen", { count: ids.size });
    document.getElementById("chosen-ids").value = [...ids].join(",");
    // Where the link lists all photos, they need not be among those that were found.
    document.getElementById("chosen-search").value = root.dataset.lists === undefined ? (searchId() ?? "") : "";
  };
  root.addEventListener("change", update);
  document.getElementById("chosen-none").addEventListener("click", () => {
    for (const box of boxes()) box.checked = false;
    update();
  });
  return update;
}

export function startViewing(root, searchId) {
  const viewer = document.getElementById("viewer");
  const picture = document.getElementById("viewer-picture");
  const original = document.getElementById("viewer-original");
  let tiles = [];
  let place = 0;

  const show = (index) => {
    place = (index + tiles.length) % tiles.length;
    const tile = tiles[place];
    picture.src = tile.querySelector("img").src;
    document.getElementById("viewer-place").textContent = t("gallery.place", { number: place + 1, all: tiles.length });
    if (original) {
      const found = tile.closest("#found") && searchId();
      original.hidden = tile.dataset.original === undefined;
      original.href = `${root.dataset.address}/photos/${tile.dataset.photo}/original${found ? `?search_id=${found}` : ""}`;
    }
  };
  root.addEventListener("click", (event) => {
    const tile = event.target.closest("[data-views]")?.closest(".tile");
    if (!tile) return;
    tiles = [...tile.parentElement.children];
    show(tiles.indexOf(tile));
    viewer.showModal();
    standIn(pageAddress()).then(() => viewer.open || comeBack());
  });
  // Going back leads to the photos, not away from the gallery.
  startDrawer(
    () => {
      if (!tiles[place]?.isConnected) return;
      show(place);
      viewer.showModal();
    },
    () => viewer.close(),
  );
  document.getElementById("viewer-previous").addEventListener("click", () => show(place - 1));
  document.getElementById("viewer-next").addEventListener("click", () => show(place + 1));
  // Of the document: what had the focus may be hidden with the next photo, and then nothing in the viewer has it.
  document.addEventListener("keydown", (event) => {
    if (!viewer.open) return;
    if (event.key === "ArrowLeft") show(place - 1);
    if (event.key === "ArrowRight") show(place + 1);
  });
  let begun = null;
  viewer.addEventListener("pointerdown", (event) => {
    begun = event.pointerType === "mouse" ? null : event.clientX;
  });
  viewer.addEventListener("pointerup", (event) => {
    if (begun === null) return;
    const moved = event.clientX - begun;
    begun = null;
    if (Math.abs(moved) > SWIPE_PX) show(place + (moved < 0 ? 1 : -1));
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("close", () => {
    if (viewer.open) return;
    comeBack();
    tiles[place]?.querySelector("[data-views]").focus();
    picture.removeAttribute("src");
  });
}
