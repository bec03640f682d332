// A value that components show: they are drawn again after it was set, at most once for each frame.
import { useEffect, useState } from "./html.js";

export class Store {
  #listeners = new Set();
  #frame = 0;

  constructor(value) {
    this.value = value;
  }

  set(change) {
    this.value = { ...this.value, ...change };
    // A hidden tab has no frames, but its timers run.
    if (!this.#frame) this.#frame = document.hidden ? setTimeout(this.#show, 50) : requestAnimationFrame(this.#show);
  }

  #show = () => {
    this.#frame = 0;
    for (const listener of this.#listeners) listener(this.value);
  };

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export const useStore = (store) => {
  const [value, show] = useState(store.value);
  useEffect(() => {
    show(store.value);
    return store.listen(show);
  }, [store]);
  return value;
};
