// Is a value plain JSON? Parameters of edits are stored in checkpoints and recipes.
import type { Json } from '../../search/genome.js';

export function isJson(value: unknown, depth = 0): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || depth > 50) return false;
  if (Array.isArray(value)) return value.every((v) => isJson(v, depth + 1));
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  return Object.values(value).every((v) => isJson(v, depth + 1));
}
