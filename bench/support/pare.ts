// Runs the command line as users do, in a process of its own.

import { execFileSync, type ExecFileSyncOptions } from 'node:child_process';
import { builtProgram } from '../../test/small-run.js';

/** Standard output of `pare ARGS`; progress and errors go through. */
export function pare(args: readonly string[], options: ExecFileSyncOptions = {}): string {
  const output = execFileSync(process.execPath, [builtProgram, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 30,
    ...options,
  });
  return output.toString();
}

/** The JSON that `pare ARGS --json` prints. */
export function pareJson(args: readonly string[]): unknown {
  return JSON.parse(pare([...args, '--json']));
}
