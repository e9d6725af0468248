// A cache that drops the least recently used entries.

/**
 * @template K, V
 */
export class LruCache {
  /**
   * @param {number} limit sum of weights; one entry stays whatever it weighs
   * @param {{ weigh?: (value: V) => number, onEvict?: (value: V) => void }} options weigh: by default 1 for each entry
   */
  constructor(limit, { weigh = () => 1, onEvict = () => {} } = {}) {
    this.limit = limit;
    this.weigh = weigh;
    this.onEvict = onEvict;
    /** @type {Map<K, V>} from the least to the most recently used */
    this.entries = new Map();
    this.weight = 0;
  }

  /** @param {K} key */
  get(key) {
    const value = this.entries.get(key);
    if (value === undefined) return undefined;
    this.entries.delete(key);
    this.entries.set(key, value);
    return value;
  }

  /**
   * The value without marking it as used.
   * @param {K} key
   */
  peek(key) {
    return this.entries.get(key);
  }

  /**
   * @param {K} key
   * @param {V} value
   */
  set(key, value) {
    this.delete(key);
    this.entries.set(key, value);
    this.weight += this.weigh(value);
    for (const [oldest, evicted] of this.entries) {
      if (this.weight <= this.limit || this.entries.size === 1) break;
      this.delete(oldest);
      this.onEvict(evicted);
    }
  }

  /** @param {K} key */
  delete(key) {
    const value = this.entries.get(key);
    if (value === undefined) return;
    this.entries.delete(key);
    this.weight -= this.weigh(value);
  }

  clear() {
    for (const value of this.entries.values()) this.onEvict(value);
    this.entries.clear();
    this.weight = 0;
  }
}
