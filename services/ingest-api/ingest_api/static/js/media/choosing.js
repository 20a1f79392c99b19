// Choosing tiles: by mouse and touch, by ranges, and by the keyboard alone.

const KEYS = {
  ArrowRight: () => 1,
  ArrowLeft: () => -1,
  ArrowDown: (list) => list.columns,
  ArrowUp: (list) => -list.columns,
};

/** One tile is reached by Tab, the others by arrows from there. */
export function startChoosing(list, choice, everything) {
  let active = null;
  let withShift = false;
  const tiles = list.element;
  tiles.tabIndex = -1;
  tiles.setAttribute("aria-describedby", "tiles-hint");

  const activate = (tile) => {
    const before = active && list.tile(active);
    if (before) before.firstElementChild.tabIndex = -1;
    active = tile?.dataset.id ?? null;
    if (tile) tile.firstElementChild.tabIndex = 0;
  };
  const activateFirst = () => {
    const now = active && list.tile(active);
    if (!now?.isConnected) activate(tiles.querySelector(".tile:not(.absent)"));
  };
  const range = (id) => {
    const [from, to] = [list.indexOf(choice.anchor ?? active ?? id), list.indexOf(id)];
    if (from < 0 || to < 0) choice.toggle(id);
    else choice.add(list.idsBetween(from, to));
  };
  const choose = (id, isRange) => {
    // Of everything that matches, what was loaded stays chosen without this one.
    if (choice.all) choice.set(list.loadedIds().filter((one) => one !== id));
    else if (isRange && choice.anchor) range(id);
    else choice.toggle(id);
  };

  new MutationObserver(activateFirst).observe(tiles, { childList: true });
  activateFirst();
  tiles.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (tile && tile.dataset.id !== active) activate(tile);
  });
  tiles.addEventListener("pointerdown", (event) => (withShift = event.shiftKey));
  tiles.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile?.dataset.id) return;
    const isBox = event.target.matches("input");
    if (event.target.closest(".choice") && !isBox) return;
    if (!isBox && (event.ctrlKey || event.metaKey || (!choice.size && !event.shiftKey))) return;
    // The box shows what is chosen; it does not decide it.
    if (!isBox) event.preventDefault();
    choose(tile.dataset.id, event.shiftKey || (isBox && withShift));
  });

  tiles.addEventListener("keydown", async (event) => {
    const isChoosing = event.key === " " && event.target.closest(".tile");
    if (isChoosing && !event.target.matches("input")) {
      event.preventDefault();
      choose(event.target.closest(".tile").dataset.id, event.shiftKey);
      return;
    }
    const isEdge = event.key === "Home" || event.key === "End";
    if (!(event.key in KEYS) && !isEdge) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const from = Math.max(0, active === null ? 0 : list.indexOf(active));
    const to = event.key === "Home" ? 0 : event.key === "End" ? list.count - 1 : from + KEYS[event.key](list);
    if (event.shiftKey && !choice.all && choice.anchor === null && active !== null) choice.toggle(active);
    const tile = await list.reach(to);
    if (!tile) return;
    activate(tile);
    tile.firstElementChild.focus({ preventScroll: true });
    if (event.shiftKey && !choice.all) range(tile.dataset.id);
  });

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.target.closest?.("input:not([type=checkbox]), textarea, select")) return;
    if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      everything.choose();
    } else if (event.key === "Escape" && choice.size) {
      choice.clear();
    }
  });
  choice.addEventListener("change", () => tiles.classList.toggle("choosing", choice.size > 0));
}
