// One file out of a front: the smallest member that holds a condition, `accuracy>-0.5` (points below the original), `accuracy>0.92`
// or `macs<40%`; several joined by commas.
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../src/errors.js';
import type { FrontMember } from './finish.js';
import type { FrontFile } from './front-file.js';

/** Copies the member to OUT/picked.onnx; throws PareError when none holds. */
export function pick(condition: string, out: string, front: FrontFile): { from: string; file: string } {
  const tests = condition.split(',').map((part) => test(part, front));
  const member = front.candidates
    .filter((m) => tests.every((holds) => holds(m)))
    .reduce<FrontMember | undefined>((a, b) => (a === undefined || b.macs < a.macs ? b : a), undefined);
  if (member === undefined) {
    const best = front.candidates.map((m) => m.measured.value.toFixed(4)).join(', ');
    throw new PareError(`--pick ${condition}: no member of the front holds it; their ${front.metric} is ${best}`);
  }
  const file = join(out, 'picked.onnx');
  copyFileSync(join(out, member.file), `${file}.part`);
  renameSync(`${file}.part`, file);
  return { from: member.file, file };
}

function test(part: string, front: FrontFile): (m: FrontMember) => boolean {
  const found = /^\s*(accuracy|score|macs|flops|params)\s*(<=?|>=?)\s*([+-]?[0-9.]+(?:e[0-9]+)?)\s*(%?)\s*$/i.exec(
    part,
  );
  const number = Number(found?.[3]);
  if (found === null || !Number.isFinite(number)) {
    throw new PareError(`--pick ${part}: write a condition such as "accuracy>-0.5", "accuracy>0.92" or "macs<40%"`);
  }
  const name = found[1]!.toLowerCase();
  const percent = found[4] === '%';
  const above = found[2]!.startsWith('>');
  const value = (m: FrontMember): number => {
    if (name === 'accuracy' || name === 'score') return m.measured.value;
    return name === 'params' ? m.params : name === 'flops' ? 2 * m.macs : m.macs;
  };
  const limit = ((): number => {
    if (name === 'accuracy' || name === 'score') {
      const relative = /^[+-]/.test(found[3]!);
      if (relative) return front.original.measured.value + number / 100;
      return percent || number > 1 ? number / 100 : number;
    }
    const whole = name === 'params' ? front.original.params : front.original.macs * (name === 'flops' ? 2 : 1);
    return percent ? (number / 100) * whole : number;
  })();
  return (m) => (above ? value(m) >= limit : value(m) <= limit);
}
