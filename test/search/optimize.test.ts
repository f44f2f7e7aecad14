import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countCost } from '../../src/analysis/cost.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import type { OptimizeOptions, OptimizeReport } from '../../search/optimize.js';
import { pick } from '../../search/pick.js';
import { describeShared, sharedPath } from '../shared.js';
import { contentOf } from '../small-run.js';
import { runToEnd, smallEffort } from './open-search.js';

let folder = '';
let runtime: Runtime;

const settings = (out: string, changes: Partial<OptimizeOptions> = {}): OptimizeOptions => ({
  model: sharedPath('models', 'mnist-cntk.onnx'),
  data: join(folder, 'data.json'),
  out: join(folder, out),
  wishes: { flops: '60%' },
  evaluations: 10,
  seed: '7',
  runtime,
  table: standardOps,
  version: '0.0.0',
  effort: smallEffort,
  ...changes,
});

describeShared(
  'optimize, on the MNIST network',
  ['models/mnist-cntk.onnx', 'images/mnist-t10k-images-idx3-ubyte.gz'],
  () => {
    beforeAll(() => {
      runtime = ortRuntime();
      folder = mkdtempSync(join(tmpdir(), 'pare-optimize-'));
      for (const kind of ['images-idx3', 'labels-idx1']) {
        const name = `mnist-t10k-${kind}-ubyte`;
        writeFileSync(join(folder, name), gunzipSync(readFileSync(sharedPath('images', `${name}.gz`))));
      }
      const manifest = {
        format: 'idx',
        files: ['mnist-t10k-images-idx3-ubyte', 'mnist-t10k-labels-idx1-ubyte'],
        limit: 300,
      };
      writeFileSync(join(folder, 'data.json'), JSON.stringify({ ...manifest, metric: 'top1' }));
    });
    afterAll(async () => {
      await runtime.close();
      rmSync(folder, { recursive: true, force: true });
    });

    test(
      'a front below the budget, equal for equal seeds, and equal again when it was killed in between',
      { timeout: 240_000 },
      async () => {
        const reports: OptimizeReport[] = [];
        let copies = 0;
        const { front, evaluations, measured } = await runToEnd(settings('a'), (report) => {
          reports.push(report);
          // What a kill -9 leaves behind at this moment: the files, the lock of a dead process, half a line.
          if (report.stage !== 'seeds' && report.stage !== 'measured') return;
          copies++;
          if (copies !== 2) return;
          cpSync(join(folder, 'a'), join(folder, 'killed'), { recursive: true });
          writeFileSync(join(folder, 'killed', 'lock'), '2147483646\n');
          writeFileSync(join(folder, 'killed', 'archive.jsonl'), '{"genome":[{"mut', { flag: 'a' });
        });
        expect(evaluations).toBe(10);
        expect(front.reached).toBe(true);
        expect(front.candidates.length).toBeGreaterThan(0);
        const original = readModel(sharedPath('models', 'mnist-cntk.onnx'));
        const whole = countCost(original, standardOps, inferShapes(original, standardOps, { dynamic: 1 })).macs;
        for (const member of front.candidates) {
          expect(member.why!.effects.length).toBeGreaterThan(0);
          const model = readModel(join(folder, 'a', member.file));
          const { macs } = countCost(model, standardOps, inferShapes(model, standardOps, { dynamic: 1 }));
          expect(macs).toBe(member.macs);
          expect(macs).toBeLessThanOrEqual(0.6 * whole);
          expect(JSON.parse(model.metadata.get('pare.recipe')!)).toEqual(member.genome);
        }
        // The budget was used: what lands within 1 % under it is handed over unless something smaller turned out better.
        const landed = measured.map((m) => m.macs).filter((macs) => macs <= 0.6 * whole);
        expect(Math.max(...landed)).toBeGreaterThan(0.594 * whole);
        expect(front.candidates[0]!.measured.value).toBeGreaterThan(0.8);

        await runToEnd(settings('b'));
        expect(contentOf(join(folder, 'b'))).toEqual(contentOf(join(folder, 'a')));

        let fresh = 0;
        await runToEnd(settings('killed', { resume: true }), (report) => {
          if (report.stage === 'measured' || report.stage === 'seeds') fresh++;
        });
        expect(fresh).toBeGreaterThan(0);
        expect(contentOf(join(folder, 'killed'))).toEqual(contentOf(join(folder, 'a')));

        await expect(runToEnd(settings('a'))).rejects.toThrow(/already holds a run.*--resume/);
        await expect(runToEnd(settings('a', { resume: true, seed: '8' }))).rejects.toThrow(/other settings \(seed\)/);

        const all = front.candidates.map((c) => c.macs);
        expect(pick('accuracy>-50', join(folder, 'a'), front).from).toBe(
          front.candidates[all.indexOf(Math.min(...all))]!.file,
        );
        expect(() => pick('accuracy>1.5%,macs<0.0001%', join(folder, 'a'), front)).toThrow(/no member of the front/);
        expect(() => pick('beauty>3', join(folder, 'a'), front)).toThrow(/write a condition/);
      },
    );

    test('a run that the clock ended is repeated by its count', async () => {
      const timed = await runToEnd(settings('clock', { evaluations: 100, timeMs: 1 }));
      expect(timed.evaluations).toBeGreaterThan(0);
      expect(timed.evaluations).toBeLessThan(100);
      await runToEnd(settings('count', { evaluations: timed.evaluations }));
      expect(contentOf(join(folder, 'count'))).toEqual(contentOf(join(folder, 'clock')));
    });

    test('a budget out of reach ends with the best that is in reach, and says so', async () => {
      const { front } = await runToEnd(settings('tight', { wishes: { flops: '0.1%' }, evaluations: 4 }));
      expect(front.reached).toBe(false);
      expect(front.note).toMatch(/out of reach.*best it can reach/);
      expect(front.candidates.length).toBeGreaterThan(0);
    });

    test('parameters and a lowest accuracy together', async () => {
      const wishes = { params: '70%', minAccuracy: '50%' };
      const { front } = await runToEnd(settings('both', { wishes, evaluations: 6 }));
      expect(front.candidates[0]!.params).toBeLessThanOrEqual(0.7 * front.original.params);
    });

    test('wishes that are none are named', async () => {
      await expect(runToEnd(settings('bad', { wishes: { flops: 'half' } }))).rejects.toThrow(
        /--flops half: give a share/,
      );
    });
  },
);
