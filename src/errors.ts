// The one error a user of Pare is meant to read; any other error is a defect of Pare itself.

/**
 * An error for the user: one sentence that names the thing, the rule it breaks and the way out. The command line
 * prints the sentence without a stack and exits with code 2.
 */
export class PareError extends Error {
  override readonly name = 'PareError';
}

/** Throws a {@link PareError}; usable where an expression is wanted: `map.get(key) ?? fail('...')`. */
export function fail(message: string, options?: ErrorOptions): never {
  throw new PareError(message, options);
}
