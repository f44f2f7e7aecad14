// The one error a user of Pare is meant to read; any other error is a defect of Pare itself.

export interface PareErrorOptions extends ErrorOptions {
  /** What the program ends with: 2, what the user can mend, unless told otherwise. */
  readonly exitCode?: number;
}

/**
 * An error for the user: one sentence that names the thing, the rule it breaks and the way out. The command line
 * prints the sentence without a stack and exits with its code.
 */
export class PareError extends Error {
  override readonly name = 'PareError';
  readonly exitCode: number;

  constructor(message: string, options: PareErrorOptions = {}) {
    super(oneLine(message), options);
    this.exitCode = options.exitCode ?? 2;
  }
}

/** Names in a file may be anything: what would break the line or turn its direction is shown by its code, what is endless is cut. */
function oneLine(message: string): string {
  // eslint-disable-next-line no-control-regex -- these characters are what is looked for
  const shown = message.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (c) => {
    const code = c.codePointAt(0)!.toString(16);
    return c === '\n' ? '\\n' : `\\u${code.padStart(4, '0')}`;
  });
  return shown.length <= MAX_LENGTH
    ? shown
    : `${shown.slice(0, 0.75 * MAX_LENGTH)} ... ${shown.slice(-0.2 * MAX_LENGTH)}`;
}

const MAX_LENGTH = 1200;

/** Throws a {@link PareError}; usable where an expression is wanted: `map.get(key) ?? fail('...')`. */
export function fail(message: string, options?: ErrorOptions): never {
  throw new PareError(message, options);
}

/** Undefined where a {@link PareError} says that it does not fit. */
export function orNothing<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof PareError) return undefined;
    throw error;
  }
}

/** What the system says of a file or of memory that the user can do something about, as a sentence; other errors as they are. */
export function inWords(error: unknown, file?: string): unknown {
  if (!(error instanceof Error) || error instanceof PareError) return error;
  // the cast: Node's system errors carry code and path
  const { code, path } = error as NodeJS.ErrnoException;
  const words = code === undefined ? undefined : (SYSTEM_ERRORS.get(code) ?? PATH_ERRORS.get(code));
  if (words === undefined) return error;
  return new PareError(`${file === undefined && path === undefined ? '' : `${file ?? path}: `}${words}`, {
    cause: error,
  });
}

/** Throws what is to be said of a file that could not be read or written (`doing`). */
export function failAt(doing: 'read' | 'write', path: string, cause: unknown): never {
  const said = inWords(cause, path);
  throw said instanceof PareError ? said : new PareError(`cannot ${doing} ${path}: ${messageOf(cause)}`, { cause });
}

/** What an unknown error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Is it the machine's state, and not what was being done, that made this fail? Causes are looked at as well. */
export function isOfTheSystem(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException; // as above
  if (code !== undefined && (SYSTEM_ERRORS.has(code) || code.startsWith('ERR_WORKER'))) return true;
  return isOfTheSystem(error.cause);
}

const SYSTEM_ERRORS: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'the disk is full; make room, or choose another folder (a run in it goes on with --resume)'],
  ['EDQUOT', 'the disk quota is used up; make room, or choose another folder (a run in it goes on with --resume)'],
  ['EFBIG', 'the file would be larger than this system allows; raise the limit (ulimit -f), or choose another folder'],
  ['EROFS', 'the folder is read-only; choose one that can be written'],
  ['EACCES', 'permission denied; choose a place that may be read and written'],
  ['EPERM', 'the system does not permit it; choose a place that may be read and written'],
  ['EIO', 'the disk reports an error; check it, or choose another folder'],
  ['EMFILE', 'too many files are open; raise the limit (ulimit -n) and go on'],
  ['ENFILE', 'too many files are open on this machine; close some programs and go on'],
]);

const PATH_ERRORS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file or folder; check the path'],
  ['ENOTDIR', 'a part of this path is a file, not a folder; choose another place'],
  ['EISDIR', 'is a folder; give the name of a file'],
  ['ENAMETOOLONG', 'the name is longer than this system allows; check the path'],
  ['ELOOP', 'links on this path lead in a circle; check the path'],
]);
