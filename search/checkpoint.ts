// A run's folder survives anything: files are written beside and renamed, measured candidates are appended line by line and
// flushed to the disk, a lock names the process that owns the folder. A half-written last line (kill -9) is ignored.
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { inWords, messageOf, PareError } from '../src/errors.js';

/** Writes beside, flushes, renames: readers see the old file or the new one, never half of it. */
export function writeWhole(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const beside = `${path}.${process.pid}.part`;
  const file = openSync(beside, 'w');
  try {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw inWords(error, path);
  }
}

export interface JsonLog<T> {
  /** What earlier runs wrote, in order. */
  readonly earlier: readonly T[];
  /** Appends lines and flushes them; `records` are in the log once this returns. */
  append(records: readonly T[]): void;
  close(): void;
}

/** Opens a file of one JSON record a line. `parse` throws for a record that does not fit. */
export function openJsonLog<T>(path: string, parse: (json: unknown) => T): JsonLog<T> {
  mkdirSync(dirname(path), { recursive: true });
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const whole = text.lastIndexOf('\n') + 1;
  const earlier: T[] = [];
  text
    .slice(0, whole)
    .split('\n')
    .forEach((line, i) => {
      if (line === '') return;
      try {
        earlier.push(parse(JSON.parse(line)));
      } catch (cause) {
        const reason = messageOf(cause);
        throw new PareError(`${path}, line ${i + 1}: not a record of a run (${reason}); start again in a new folder`, {
          cause,
        });
      }
    });
  const file = openSync(path, 'a');
  const length = Buffer.byteLength(text.slice(0, whole));
  if (length < statSync(path).size) ftruncateSync(file, length);
  return {
    earlier,
    append(records) {
      if (records.length === 0) return;
      const bytes = Buffer.from(records.map((r) => `${JSON.stringify(r)}\n`).join(''));
      const before = fstatSync(file).size;
      try {
        for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
        fsyncSync(file);
      } catch (error) {
        ftruncateSync(file, before);
        throw inWords(error, path);
      }
    },
    close: () => closeSync(file),
  };
}

/**
 * Takes a folder for this process and returns how to give it back. A folder with content is refused unless `resume`; a folder
 * that a living process holds is always refused; the lock of a dead process is taken over.
 */
export function claimFolder(folder: string, resume: boolean): () => void {
  const isNew = !existsSync(folder);
  if (!isNew && !statSync(folder).isDirectory()) {
    throw new PareError(`${folder}: is a file, and a run needs a folder; choose another --out`);
  }
  const content = isNew ? [] : readdirSync(folder);
  if (!resume && content.some((name) => name !== 'lock')) {
    throw new PareError(
      `${folder}: already holds a run, and runs are not overwritten; continue it with --resume or choose another --out`,
    );
  }
  makeFolder(folder);
  const unlock = lockOf(folder);
  return () => {
    unlock();
    // a run that could not begin leaves nothing
    if (isNew && readdirSync(folder).length === 0) rmdirSync(folder);
  };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    // On a read-only file system Node says that the folder does not exist: ask what there is above it.
    let above = dirname(resolve(folder));
    while (!existsSync(above) && dirname(above) !== above) above = dirname(above);
    try {
      accessSync(above, constants.W_OK);
    } catch (cause) {
      throw inWords(cause, folder);
    }
    throw inWords(error, folder);
  }
}

function lockOf(folder: string): () => void {
  const lock = join(folder, 'lock');
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const file = openSync(lock, 'wx');
      try {
        writeSync(file, `${process.pid}\n`);
      } catch (error) {
        rmSync(lock, { force: true });
        throw inWords(error, folder);
      } finally {
        closeSync(file);
      }
      sweep(folder);
      return () => rmSync(lock, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause; // Node's fs errors carry a code
      const owner = Number(readFileSync(lock, 'utf8'));
      if (owner !== process.pid && Number.isSafeInteger(owner) && owner > 0 && isAlive(owner)) {
        throw new PareError(`${folder}: process ${owner} is working in it; wait for it, or choose another --out`, {
          cause,
        });
      }
      rmSync(lock, { force: true });
    }
  }
  throw new PareError(`${folder}: another process took it at the same moment; choose another --out`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // alive, but another user's
  }
}

/** What a process that was killed while it wrote left beside its files. */
function sweep(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (/\.part$|(^|\/)\.[^/]*\.tmp$/.test(entry)) rmSync(join(folder, entry), { force: true });
  }
}
