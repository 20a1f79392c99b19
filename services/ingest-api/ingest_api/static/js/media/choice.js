// Which media are chosen, whether they are in the document or not.

export class Choice extends EventTarget {
  #ids = new Set();
  /** The last one that was chosen alone: ranges go from it. */
  anchor = null;

  get size() {
    return this.#ids.size;
  }

  get ids() {
    return [...this.#ids];
  }

  has(id) {
    return this.#ids.has(id);
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
    this.#ids = new Set(ids);
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
