// `pare optimize` to a budget as users run it, the front it leaves, and the peer onnxsim on the same network and images.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sharedPath } from '../../test/shared-path.js';
import type { Task } from './cifar.js';
import { pare } from './pare.js';
import { scratchPython } from './scratch-python.js';

interface Measure {
  readonly metric: string;
  readonly value: number;
  readonly n: number;
  readonly ci95: readonly [number, number];
  readonly difference?: { readonly value: number; readonly ci95: readonly [number, number] };
  readonly relativeError?: number;
}

export interface FrontMember {
  readonly file: string;
  readonly macs: number;
  readonly params: number;
  readonly predicted: unknown;
  /** On the held-out part of the calibration data: what the run chose by. */
  readonly measured: Measure;
  /** On the test images: printed, never used. */
  readonly test?: Measure;
}

export interface FrontFile {
  readonly original: { readonly macs: number; readonly test?: Measure };
  readonly candidates: readonly FrontMember[];
}

export interface Run {
  readonly out: string;
  readonly seconds: number;
  readonly front: FrontFile;
}

/** Runs `pare optimize` in a scratch folder. */
export function optimize(task: Task, options: readonly string[]): Run {
  const out = join(mkdtempSync(join(tmpdir(), `pare-${task.name}-`)), 'out');
  const started = performance.now();
  pare(['optimize', task.model, '--data', task.data, '--test', task.test, '--out', out, ...options]);
  const seconds = (performance.now() - started) / 1000;
  // The cast: the file was just written by our own command.
  return { out, seconds, front: JSON.parse(readFileSync(join(out, 'front.json'), 'utf8')) as FrontFile };
}

export const percent = (fraction: number): string => (100 * fraction).toFixed(2);

export function showMeasure(m: Measure | undefined): string {
  if (m === undefined) return '-';
  const difference =
    m.difference === undefined
      ? ''
      : `, ${percent(m.difference.value)} [${percent(m.difference.ci95[0])}, ${percent(m.difference.ci95[1])}] against the original`;
  return `${percent(m.value)} % [${percent(m.ci95[0])}, ${percent(m.ci95[1])}] (n ${m.n})${difference}`;
}

/** Prints the front; the member that the run itself holds to be the most accurate (on held-out calibration data) is marked. */
export function printFront(label: string, { front, seconds, out }: Run): FrontMember | undefined {
  const best = front.candidates.toSorted((a, b) => b.measured.value - a.measured.value)[0];
  console.log(`${label}: ${seconds.toFixed(0)} s, ${out}; original on test ${showMeasure(front.original.test)}`);
  for (const c of front.candidates.toSorted((a, b) => b.macs - a.macs)) {
    const share = percent(c.macs / front.original.macs);
    console.log(
      `  ${c === best ? '*' : ' '} ${share} % MACs: held-out ${percent(c.measured.value)} %, test ${showMeasure(c.test)}`,
    );
  }
  return best;
}

export interface PeerRow {
  readonly tool: string;
  readonly macs: number;
  readonly ratio: number;
  readonly top1: number;
}

/** onnxsim's structured pruning at several sparsities, no training; empty where its packages cannot be installed. */
export function onnxsimFloor(task: Task, sparsities: readonly number[]): PeerRow[] {
  const python = scratchPython('onnxsim', ['onnx', 'onnxruntime', 'onnxsim==0.8.1', 'numpy']);
  if (python === undefined) return [];
  const script = sharedPath('peers', 'onnxsim_floor.py');
  const args = [script, task.model, task.test, task.data, '--sparsity', ...sparsities.map(String), '--json'];
  const output = execFileSync(python, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 2 ** 28,
  });
  // The cast: the script's documented output; rows of a failed attempt carry no macs.
  const rows = JSON.parse(output.slice(output.indexOf('['))) as Partial<PeerRow>[];
  return rows.filter((r): r is PeerRow => r.macs !== undefined && r.top1 !== undefined);
}

/** The peer's best top-1 among its results with at least as many MACs, the nearest of them: a comparison in its favour. */
export function peerAt(rows: readonly PeerRow[], macs: number): PeerRow | undefined {
  const larger = rows.filter((r) => r.tool !== 'original' && r.macs >= macs);
  const nearest = Math.min(...larger.map((r) => r.macs));
  return larger.filter((r) => r.macs <= 1.001 * nearest).toSorted((a, b) => b.top1 - a.top1)[0];
}
