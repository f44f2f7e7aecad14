// A map of bounded size that forgets what was used longest ago.

export interface Cache<V> {
  get(key: string): V | undefined;
  set(key: string, value: V, size: number): void;
}

/** `limit`: sum of the sizes kept; the newest entry always stays. */
export function boundedCache<V>(limit: number): Cache<V> {
  const entries = new Map<string, { readonly value: V; readonly size: number }>();
  let total = 0;
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry.value;
    },
    set(key, value, size) {
      entries.set(key, { value, size });
      total += size;
      for (const [old, entry] of entries) {
        if (total <= limit || entries.size === 1) break;
        entries.delete(old);
        total -= entry.size;
      }
    },
  };
}
