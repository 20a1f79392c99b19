// The tiles of a list that may be very long: the rows near the window are elements, all others are empty space.
//
// Pages of tiles are fetched by cursor, forgotten when they are far away, and fetched again when people come back. A page
// goes from its cursor to where the next page begins, so what is added or deleted moves the others and leaves no gap.

import { element } from "../core/dom.js";
import { fetchFragment, fragmentAddress, parsed } from "../core/fragments.js";
import { t } from "../core/texts.js";

const KEPT_PAGES = 24;
const GUESSED_TILES = 48;

export class TileList {
  #box;
  #list;
  #address;
  #choice;
  #pages = [];
  #elements = new Map();
  #skeletons = [];
  #epoch = 0;
  #frame = 0;
  #loadingMore = null;
  #row = { columns: 1, height: 1 };

  /** `box` holds the first page as the server rendered it. */
  constructor(box, address, choice) {
    this.#box = box;
    this.#address = address;
    this.#choice = choice;
    this.#list = box.querySelector("ul");
    this.#adopt(box);
    addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(this.#list);
    choice.addEventListener("change", () => this.#markAll());
    this.render();
  }

  get element() {
    return this.#list;
  }

  get address() {
    return this.#address;
  }

  get columns() {
    return this.#row.columns;
  }

  get count() {
    return this.#pages.reduce((sum, page) => sum + page.count, 0);
  }

  /** Whether the ids of all there is are here. */
  get isWhole() {
    return !this.#next() && this.#pages.every((page) => page.ids);
  }

  /** The ids from one index to another, both included; without those of pages that were never here. */
  idsBetween(one, other) {
    const [from, to] = one < other ? [one, other] : [other, one];
    return this.loadedIds(from, to + 1);
  }

  loadedIds(from = 0, to = Infinity) {
    const ids = [];
    let start = 0;
    for (const page of this.#pages) {
      if (start >= to) break;
      if (page.ids) ids.push(...page.ids.slice(Math.max(0, from - start), Math.max(0, to - start)));
      start += page.count;
    }
    return ids;
  }

  indexOf(id) {
    let start = 0;
    for (const page of this.#pages) {
      const at = page.ids?.indexOf(id) ?? -1;
      if (at >= 0) return start + at;
      start += page.count;
    }
    return -1;
  }

  tile(id) {
    return this.#elements.get(id)?.tile ?? null;
  }

  /** The tile at an index, fetched if need be and moved into the window; null where the list ends before. */
  async reach(index) {
    while (index >= this.count && this.#next()) {
      const before = this.count;
      await this.#loadMore();
      if (this.count === before) return null;
    }
    if (index < 0 || index >= this.count) return null;
    const found = this.#at(index);
    if (!found.page.tiles) await this.#load(found.page);
    this.#scrollTo(index);
    this.render();
    const { page, place } = this.#at(index) ?? {};
    return page?.tiles?.[place] ?? null;
  }

  /** Show another list from its beginning. */
  async show(address) {
    const epoch = ++this.#epoch;
    this.#address = address;
    this.#box.setAttribute("aria-busy", "true");
    try {
      const answer = await this.#fetch("");
      if (epoch !== this.#epoch) return;
      this.#begin(answer);
      this.render();
    } finally {
      if (epoch === this.#epoch) this.#box.removeAttribute("aria-busy");
    }
  }

  /** Fetch the pages of these media anew; what is in no page yet is new, and comes at the top. */
  async refresh(ids) {
    const pages = new Set();
    for (const id of ids) pages.add(this.#pages.find((page) => page.ids?.includes(id)) ?? this.#pages[0]);
    for (const page of pages) {
      if (page && this.#pages.includes(page)) await this.#load(page);
    }
    // Where more was added than a page takes, its rest has pages of its own.
    for (let page; (page = this.#pages.find((one) => one.isGap && !one.failed)); ) await this.#load(page);
  }

  refreshTop() {
    return this.#pages.length ? this.refresh([this.#pages[0].ids?.[0]]) : this.show(this.#address);
  }

  /** Those in the document that have no outcome yet. */
  unfinished() {
    return [...this.#list.querySelectorAll("[data-unfinished]")].map((tile) => tile.dataset.id);
  }

  /** What brings the list back as it is, for `restore`. */
  get state() {
    return { scroll: scrollY, pages: this.#pages.map(({ cursor, after, count, next }) => [cursor, after, count, next]) };
  }

  /** Go back to where `state` was; the first page is in the document already. */
  restore({ scroll, pages }) {
    const [first] = this.#pages;
    const further = pages.slice(1).map(([cursor, after, count, next]) => ({ cursor, after, count, next, ids: null, tiles: null }));
    if (first && further.length) {
      this.#pages = [first, ...further];
      this.#fit(first, first.tiles, first.next);
    }
    this.render();
    scrollTo({ top: scroll, behavior: "instant" });
    this.render();
    this.refresh([]);
  }

  render() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.#list.isConnected) return;
    this.#measure();
    const { columns, height } = this.#row;
    const count = this.count;
    const above = -this.#list.getBoundingClientRect().top;
    const rows = Math.ceil(count / columns);
    const firstRow = Math.min(Math.max(0, Math.floor((above - innerHeight) / height)), Math.max(0, rows - 1));
    const endRow = Math.max(firstRow + 1, Math.ceil((above + 2 * innerHeight) / height));
    const [from, to] = [firstRow * columns, Math.min(count, endRow * columns)];
    this.#put(from, to);
    this.#list.style.setProperty("padding-top", `${firstRow * height}px`);
    this.#list.style.setProperty("padding-bottom", `${Math.max(0, rows - Math.max(endRow, 1)) * height}px`);
    this.#forgetFar(from, to);
    if (endRow * columns >= count && this.#next()) this.#loadMore();
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => this.render());
  }

  #measure() {
    const style = getComputedStyle(this.#list);
    const columns = style.gridTemplateColumns.split(" ").length;
    const tile = this.#list.querySelector(".tile:not(.absent)");
    if (tile) this.#row = { columns, height: tile.getBoundingClientRect().height + Number.parseFloat(style.rowGap || "0") };
    else this.#row.columns = columns;
  }

  #at(index) {
    let start = 0;
    for (const page of this.#pages) {
      if (index < start + page.count) return { page, place: index - start };
      start += page.count;
    }
    return null;
  }

  #next() {
    return this.#pages.at(-1)?.next ?? "";
  }

  /** Have the document show the tiles from one index to another, moving none that stays. */
  #put(from, to) {
    const wanted = [];
    let [start, absent] = [0, 0];
    for (const page of this.#pages) {
      const [first, end] = [Math.max(from, start), Math.min(to, start + page.count)];
      if (first < end && !page.tiles) this.#load(page);
      for (let index = first; index < end; index += 1) wanted.push(page.tiles?.[index - start] ?? this.#skeleton(absent++));
      start += page.count;
    }
    const stays = new Set(wanted);
    const focused = document.activeElement?.closest?.(".tile");
    for (const child of [...this.#list.children]) {
      if (stays.has(child)) continue;
      if (child === focused) this.#list.focus({ preventScroll: true });
      child.remove();
    }
    wanted.forEach((tile, place) => {
      if (this.#list.children[place] !== tile) this.#list.insertBefore(tile, this.#list.children[place] ?? null);
    });
  }

  #skeleton(number) {
    return (this.#skeletons[number] ??= element(
      "li",
      { class: "tile absent", "aria-hidden": "true" },
      element("span", { class: "picture" }),
      element("span", { class: "about" }, element("span", {}, "\u00a0"), element("span", {}, "\u00a0")),
    ));
  }

  #scrollTo(index) {
    const { columns, height } = this.#row;
    const list = this.#list.getBoundingClientRect();
    const top = list.top + Math.floor(index / columns) * height;
    const [highest, lowest] = [72, innerHeight - height - 96];
    if (top < highest) scrollBy({ top: top - highest, behavior: "instant" });
    else if (top > lowest) scrollBy({ top: Math.min(top - lowest, top - highest), behavior: "instant" });
  }

  #forgetFar(from, to) {
    const here = this.#pages.filter((page) => page.tiles);
    if (here.length <= KEPT_PAGES) return;
    let start = 0;
    const distances = new Map();
    for (const page of this.#pages) {
      distances.set(page, Math.max(start - to, from - (start + page.count), 0));
      start += page.count;
    }
    here.sort((one, other) => distances.get(other) - distances.get(one));
    for (const page of here.slice(0, here.length - KEPT_PAGES)) {
      if (distances.get(page) === 0) return;
      for (const id of page.ids) this.#elements.delete(id);
      page.tiles = null;
    }
  }

  #adopt(root) {
    this.#begin(this.#read(root));
  }

  #begin(answer) {
    this.#pages = [];
    const kept = this.#elements;
    this.#elements = new Map();
    const page = { cursor: "", after: "", ids: [], count: 0, tiles: [], next: "" };
    this.#pages.push(page);
    this.#fit(page, answer.tiles, answer.next, kept);
    this.#tellEmpty(answer.empty);
  }

  #tellEmpty(empty) {
    this.#box.querySelector(":scope > .empty")?.remove();
    if (empty) this.#list.after(empty);
  }

  #read(root) {
    const list = root.querySelector("ul.tiles");
    return { tiles: [...list.children], next: list.dataset.next, empty: root.querySelector(".empty") };
  }

  async #fetch(cursor) {
    const address = new URL(this.#address, location.href);
    if (cursor) address.searchParams.set("cursor", cursor);
    const answer = this.#read(parsed(await fetchFragment(fragmentAddress("tiles", address.href))));
    this.#box.querySelector(":scope > .load-failed")?.remove();
    return answer;
  }

  #load(page) {
    page.loading ??= this.#loadNow(page).finally(() => {
      page.loading = null;
    });
    return page.loading;
  }

  async #loadNow(page) {
    const epoch = this.#epoch;
    let answer;
    try {
      answer = await this.#fetch(page.cursor);
    } catch {
      page.failed = true;
      this.#tellFailure();
      return;
    }
    if (epoch !== this.#epoch || !this.#pages.includes(page)) return;
    page.failed = false;
    const hadRows = Math.ceil(this.count / this.#row.columns);
    this.#fit(page, answer.tiles, answer.next);
    if (page === this.#pages[0]) this.#tellEmpty(this.count ? null : answer.empty);
    this.#stay(page, Math.ceil(this.count / this.#row.columns) - hadRows);
    this.render();
  }

  /** What came above the window moves nothing in it. */
  #stay(page, rows) {
    if (!rows || page !== this.#pages[0]) return;
    const above = -this.#list.getBoundingClientRect().top;
    if (above > this.#row.height) scrollBy({ top: rows * this.#row.height, behavior: "instant" });
  }

  /** Make tiles the page's, up to where the next page begins. */
  #fit(page, tiles, next, known = this.#elements) {
    const at = this.#pages.indexOf(page);
    const following = this.#pages[at + 1];
    const own = following ? tiles.filter((tile) => tile.dataset.id >= following.after) : tiles;
    page.next = following ? following.cursor : next;
    const last = own.at(-1)?.dataset.id;
    if (following && next && own.length === tiles.length && last > following.after) {
      page.next = next;
      const gap = { cursor: next, after: last, ids: null, count: GUESSED_TILES, tiles: null, next: following.cursor, isGap: true };
      this.#pages.splice(at + 1, 0, gap);
    }
    page.isGap = false;
    page.tiles = own.map((tile) => this.#kept(tile, known));
    page.ids = page.tiles.map((tile) => tile.dataset.id);
    page.count = page.ids.length;
  }

  /** The element that shows the same already, so that its picture and its focus stay. */
  #kept(tile, known) {
    const id = tile.dataset.id;
    const have = known.get(id);
    if (have?.tile === tile) return tile;
    const html = tile.outerHTML;
    if (have?.html === html) {
      this.#elements.set(id, have);
      return have.tile;
    }
    const made = document.adoptNode(tile);
    const isFocused = have?.tile.contains(document.activeElement);
    this.#elements.set(id, { tile: made, html });
    made.firstElementChild.tabIndex = have?.tile.firstElementChild.tabIndex ?? -1;
    made.querySelector("input").tabIndex = -1;
    this.#mark(made);
    if (isFocused) {
      have.tile.replaceWith(made);
      made.firstElementChild.focus({ preventScroll: true });
    }
    return made;
  }

  #mark(tile) {
    const isChosen = this.#choice.has(tile.dataset.id);
    tile.classList.toggle("chosen", isChosen);
    tile.querySelector("input").checked = isChosen;
  }

  #markAll() {
    for (const { tile } of this.#elements.values()) this.#mark(tile);
  }

  #loadMore() {
    this.#loadingMore ??= this.#loadMoreNow().finally(() => {
      this.#loadingMore = null;
    });
    return this.#loadingMore;
  }

  async #loadMoreNow() {
    const last = this.#pages.at(-1);
    const page = { cursor: last.next, after: last.ids?.at(-1) ?? last.after, ids: null, count: 0, tiles: null, next: "" };
    const epoch = this.#epoch;
    let answer;
    try {
      answer = await this.#fetch(page.cursor);
    } catch {
      this.#tellFailure();
      return;
    }
    if (epoch !== this.#epoch || this.#pages.at(-1) !== last) return;
    this.#pages.push(page);
    this.#fit(page, answer.tiles, answer.next);
    this.#soon();
  }

  #tellFailure() {
    if (this.#box.querySelector(":scope > .load-failed")) return;
    const again = element("button", { type: "button" }, t("media.load_again"));
    const told = element("div", { class: "load-failed", role: "alert" }, element("p", {}, t("media.load_failed")), again);
    again.addEventListener("click", () => {
      told.remove();
      for (const page of this.#pages) page.failed = false;
      this.render();
    });
    this.#box.append(told);
  }
}
