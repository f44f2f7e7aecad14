// A scratch Python environment in the system's temporary folder, for benches that run peers beside us. Made on first use.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Path of the interpreter of an environment that has these packages; undefined, with the reason printed, when it cannot be had. */
export function scratchPython(name: string, packages: readonly string[]): string | undefined {
  const folder = join(tmpdir(), `pare-bench-${name}`);
  const python = join(folder, 'bin', 'python');
  const ready = join(folder, 'ready');
  if (existsSync(ready)) return python;
  try {
    execFileSync('python3', ['-m', 'venv', folder]);
    execFileSync(python, ['-m', 'pip', 'install', '--quiet', ...packages], { stdio: ['ignore', 'ignore', 'inherit'] });
    execFileSync('touch', [ready]);
    return python;
  } catch (error) {
    console.log(`No Python environment for ${name}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
