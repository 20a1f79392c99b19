// Which media are chosen, whether they are in the document or not.

export class Choice extends EventTarget {
  #ids = new Set();
  #all = null;
  /** The last one that was chosen alone: ranges go from it. */
  anchor = null;

  get size() {
    return this.#all?.count ?? this.#ids.size;
  }

  get ids() {
    return [...this.#ids];
  }

  /** Everything that matches the filters of the list: `{ matching, count }`, or null where single ones are chosen. */
  get all() {
    return this.#all;
  }

  has(id) {
    return this.#all !== null || this.#ids.has(id);
  }

  toggle(id) {
    if (!this.#ids.delete(id)) this.#ids.add(id);
    this.anchor = id;
    this.#tell();
  }

  add(ids) {
    for (const id of ids) this.#ids.add(id);
    this.#tell();
  }

  /** These and no others. */
  set(ids) {
    this.#all = null;
    this.#ids = new Set(ids);
    this.#tell();
  }

  /** Everything that matches, as the API takes it; `count` is how much that was. */
  setAll(matching, count) {
    this.#ids = new Set();
    this.#all = { matching, count };
    this.#tell();
  }

  clear() {
    this.anchor = null;
    this.set([]);
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
