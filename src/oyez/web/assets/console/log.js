// What the console has seen, newest last: a bounded list, which a person can hold still while more arrives.
import { Store } from "../store.js";

export const MAX_ROWS = 500;
const MAX_PREVIEW = 240;
const MAX_DETAIL = 20_000;

export class EventLog extends Store {
  #next = 0;

  constructor() {
    super({ rows: [], held: [], paused: false, dropped: 0 });
  }

  // `row` has a kind (event, sent, answer, refused, published, state, error), a name, and the arguments.
  add(row) {
    const { rows, held, paused, dropped } = this.value;
    const args = row.args ?? [];
    const made = { ...row, args, id: this.#next++, time: new Date(), preview: cut(args.map(write).join(", "), MAX_PREVIEW) };
    const list = [...(paused ? held : rows), made];
    const over = Math.max(0, list.length - MAX_ROWS);
    const kept = over ? list.slice(over) : list;
    this.set(paused ? { held: kept, dropped: dropped + over } : { rows: kept, dropped: dropped + over });
    return made.id;
  }

  // Add to a row that is already there, such as the position that follows an event.
  amend(id, change) {
    const amendIn = (list) => list.map((row) => (row.id === id ? { ...row, ...change } : row));
    this.set({ rows: amendIn(this.value.rows), held: amendIn(this.value.held) });
  }

  pause(paused) {
    if (paused) return this.set({ paused });
    const rows = [...this.value.rows, ...this.value.held].slice(-MAX_ROWS);
    this.set({ rows, held: [], paused });
  }

  clear() {
    this.set({ rows: [], held: [], dropped: 0 });
  }
}

const replaceBinary = (key, value) => {
  if (value instanceof ArrayBuffer) return `‹${value.byteLength} bytes›`;
  return ArrayBuffer.isView(value) ? `‹${value.byteLength} bytes›` : value;
};

export const write = (value, indent) => JSON.stringify(value, replaceBinary, indent) ?? "";

const cut = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);

export const writeDetail = (row) => {
  const text = row.args.map((value) => write(value, 2)).join("\n");
  return text.length > MAX_DETAIL ? `${text.slice(0, MAX_DETAIL)}\n… ${text.length - MAX_DETAIL} more characters` : text;
};

export const matches = (row, filter) => {
  const wanted = filter.trim().toLowerCase();
  return !wanted || `${row.name} ${row.preview}`.toLowerCase().includes(wanted);
};
