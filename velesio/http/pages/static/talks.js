// Talks: the conversations of this browser, kept in its own storage and nowhere else.

const PLACE = "velesio.talks";
const MOST = 40;

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(found) ? found.filter((talk) => talk.id && Array.isArray(talk.turns)) : [];
  } catch {
    return [];
  }
}

export class Talks {
  constructor() {
    this.all = load();
    this.current = this.all[0] ?? this.begin();
  }

  // A new conversation, unless the current one is still empty.
  begin() {
    if (this.current && !this.current.turns.length) return this.current;
    this.current = { id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), system: this.current?.system ?? "", turns: [] };
    this.all.unshift(this.current);
    this.all.length = Math.min(this.all.length, MOST);
    return this.current;
  }

  choose(id) {
    this.current = this.all.find((talk) => talk.id === id) ?? this.current;
  }

  remove() {
    this.all = this.all.filter((talk) => talk !== this.current);
    this.current = this.all[0];
    if (!this.current) this.begin();
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(PLACE, JSON.stringify(this.all.filter((talk) => talk.turns.length)));
    } catch { /* full or off: the conversation lasts as long as the page */ }
  }
}

export function titleOf(talk) {
  const text = talk.turns[0]?.text.trim().replaceAll(/\s+/g, " ") ?? "";
  return text.length > 48 ? `${text.slice(0, 47)}…` : text || "New conversation";
}
