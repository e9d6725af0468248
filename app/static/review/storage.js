// Values stored in this browser, below the prefix "tevit:".

/** @param {string} key */
export function readValue(key) {
  try {
    return localStorage.getItem(`tevit:${key}`);
  } catch {
    return null; // storage is disabled
  }
}

/**
 * The keys that begin with `start`, without it.
 * @param {string} start
 */
export function keysFrom(start) {
  try {
    const prefix = `tevit:${start}`;
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  } catch {
    return [];
  }
}

/**
 * @param {string} key
 * @param {string | null} text null: forget it
 * @returns whether the browser has stored it
 */
export function writeValue(key, text) {
  try {
    if (text === null) localStorage.removeItem(`tevit:${key}`);
    else localStorage.setItem(`tevit:${key}`, text);
    return true;
  } catch {
    return false;
  }
}
