// The command line in this process; what it prints is collected.
import { vi } from 'vitest';
import { runCommandLine } from '../src/cli/command-line.js';

export interface Printed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Both, in the order in which they were printed. */
  readonly text: string;
}

export async function pare(...args: string[]): Promise<Printed> {
  const lines: { readonly to: 'out' | 'err'; readonly text: string }[] = [];
  const spies = [
    vi.spyOn(console, 'log').mockImplementation((text: string) => void lines.push({ to: 'out', text })),
    vi.spyOn(console, 'error').mockImplementation((text: string) => void lines.push({ to: 'err', text })),
  ];
  try {
    const code = await runCommandLine(args);
    const of = (to?: 'out' | 'err'): string =>
      lines
        .filter((l) => to === undefined || l.to === to)
        .map((l) => l.text)
        .join('\n');
    return { code, out: of('out'), err: of('err'), text: of() };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
