import { appendFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { claimFolder, openJsonLog, writeWhole } from '../../search/checkpoint.js';
import { PareError } from '../../src/errors.js';

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'pare-checkpoint-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const asNumber = (json: unknown): number => {
  if (typeof json !== 'number') throw new PareError('want a number');
  return json;
};

test('a whole file appears at once and leaves nothing beside it', () => {
  const path = join(folder, 'deep', 'front.json');
  writeWhole(path, 'first');
  writeWhole(path, Uint8Array.of(0x68, 0x69));
  expect(readFileSync(path, 'utf8')).toBe('hi');
  expect(readdirSync(join(folder, 'deep'))).toEqual(['front.json']);
});

describe('the log', () => {
  test('gives back what was appended, wherever the writing was cut off', () => {
    const path = join(folder, 'archive.jsonl');
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1 }), fc.nat(), (numbers, cut) => {
        rmSync(path, { force: true });
        const log = openJsonLog(path, asNumber);
        for (const n of numbers) log.append([n]);
        log.close();
        const text = readFileSync(path, 'utf8');
        const kept = text.slice(0, cut % (text.length + 1));
        writeFileSync(path, kept);
        const again = openJsonLog(path, asNumber);
        const whole = kept.split('\n').length - 1;
        expect(again.earlier).toEqual(numbers.slice(0, whole));
        again.append(numbers.slice(whole));
        again.close();
        expect(readFileSync(path, 'utf8')).toBe(text);
      }),
      { numRuns: 30 },
    );
  });

  test('a line in the middle that is no record is named', () => {
    const path = join(folder, 'archive.jsonl');
    appendFileSync(path, '1\n"two"\n3\n');
    expect(() => openJsonLog(path, asNumber)).toThrow(/archive.jsonl, line 2: not a record of a run \(want a number\)/);
  });
});

describe('a folder', () => {
  test('with a run in it is only taken to resume', () => {
    writeFileSync(join(folder, 'config.json'), '{}');
    expect(() => claimFolder(folder, false)).toThrow(/already holds a run.*--resume/);
    claimFolder(folder, true)();
    expect(readdirSync(folder)).toEqual(['config.json']);
  });

  test('of a living process is refused, of a dead one taken over', async () => {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
    writeFileSync(join(folder, 'lock'), `${child.pid}\n`);
    expect(() => claimFolder(folder, true)).toThrow(new RegExp(`process ${child.pid} is working in it`));
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    const release = claimFolder(folder, true);
    expect(readFileSync(join(folder, 'lock'), 'utf8')).toBe(`${process.pid}\n`);
    release();
    expect(existsSync(join(folder, 'lock'))).toBe(false);
  });
});
