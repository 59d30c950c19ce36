// Rows: a table's body that keeps its elements while its data changes, so that what has the focus keeps it.

import { fill } from "./dom.js";

export class Rows {
  // `key(item)` tells items apart; `make(item)` gives `{element, update(item)}`.
  constructor(body, key, make) {
    this.body = body;
    this.key = key;
    this.make = make;
    this.known = new Map();
  }

  set(items, otherwise = null) {
    if (!items.length && otherwise) {
      this.known.clear();
      fill(this.body, otherwise);
      return;
    }
    if (!this.known.size) fill(this.body);
    const now = new Map();
    let place = this.body.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      const row = this.known.get(key) ?? this.make(item);
      const print = JSON.stringify(item);
      if (row.print !== print) {
        row.update(item);
        row.print = print;
      }
      now.set(key, row);
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
    }
    for (const [key, row] of this.known) if (!now.has(key)) row.element.remove();
    this.known = now;
  }
}
