// A sample of each space against its table: parameters and FLOPs to the last digit by the table's own counter. All rows:
// `npm run bench -- spaces`.
import { expect, test } from 'vitest';
import { spaceOf } from '../../../src/predictor/spaces/index.js';
import { numberIn } from '../../../src/predictor/tables.js';
import { describeShared } from '../../shared.js';
import { accelFlops, countsOf, mrFlops, nb101Flops, transnasFlops } from './counters.js';
import { readsBack, tableRows } from './laws.js';

// NASLib counted networks with the heads of all Taskonomy classes; the benchmark trained 75 objects and 47 scenes
const allClasses: Readonly<Record<string, number>> = { class_object: 100, class_scene: 63 };

for (const kind of ['micro', 'macro']) {
  const file = `transnas101-${kind}-sample-proxies.csv.gz`;
  describeShared(`TransNAS-Bench-101 ${kind}`, [`tables/${file}`], () => {
    test('every task', () => {
      const space = spaceOf(`transnas101-${kind}`);
      const seen = new Set<string>();
      for (const row of tableRows(file).filter((_, i) => i % 151 === 3)) {
        const task = row.get('task')!;
        const classes = allClasses[task];
        const architecture = space.parse(row);
        readsBack(space, architecture);
        const counts = countsOf(architecture.build(classes === undefined ? { task } : { task, classes }));
        expect(counts.params).toBe(Math.round(numberIn(row, 'params_m_model')! * 1e6));
        expect(transnasFlops(counts, task)).toBe(Math.round(numberIn(row, 'flops_m_model')! * 1e6));
        seen.add(task);
      }
      expect(seen.size).toBeGreaterThan(5);
    });

    test('keys of all architectures read back', () => {
      const space = spaceOf(`transnas101-${kind}`);
      const rows = tableRows(`transnas101-${kind}.csv`);
      const found = rows.map((row) => space.parse(row));
      expect(found.filter((a, i) => a.key !== rows[i]!.get('arch_str'))).toEqual([]);
      expect(new Set(found.map((a) => a.key)).size).toBe(rows.length);
    });
  });
}

describeShared('NAS-Bench-MR', ['tables/nas-bench-mr.csv'], () => {
  test('the sample', () => {
    const space = spaceOf('nas-bench-mr');
    for (const row of tableRows('nas-bench-mr.csv').filter((_, i) => i % 211 === 0)) {
      const architecture = space.parse(row);
      expect(architecture.key).toBe(row.get('code'));
      const counts = countsOf(architecture.build({ task: 'cls-50-1000' }));
      expect(counts.params).toBe(Math.round(numberIn(row, 'params_m')! * 1e6));
      expect(mrFlops(counts)).toBe(Math.round(numberIn(row, 'flops_g')! * 1e9));
    }
  });
});

describeShared('Accel-NASBench', ['tables/accel-nasbench.csv'], () => {
  test('the sample', () => {
    const space = spaceOf('accel-nasbench');
    for (const row of tableRows('accel-nasbench.csv').filter((_, i) => i % 401 === 0)) {
      const architecture = space.parse(row);
      readsBack(space, architecture);
      const counts = countsOf(architecture.build());
      expect(counts.params).toBe(Math.round(numberIn(row, 'params_m')! * 1e6));
      expect(accelFlops(counts)).toBe(Math.round(numberIn(row, 'macs_m')! * 1e6));
    }
  });
});

describeShared('NAS-Bench-Macro', ['tables/nas-bench-macro.csv'], () => {
  test('the sample', () => {
    const space = spaceOf('nas-bench-macro');
    for (const row of tableRows('nas-bench-macro.csv').filter((_, i) => i % 311 === 0)) {
      const architecture = space.parse(row);
      expect(architecture.key).toBe(row.get('arch'));
      const counts = countsOf(architecture.build());
      expect(counts.params).toBe(numberIn(row, 'params'));
      expect(counts.macs).toBe(numberIn(row, 'flops'));
    }
  });
});

describeShared('NAS-Bench-101', ['tables/nb101-500.csv', 'tables/nb101-unlabelled.csv.gz'], () => {
  test('the sample; tuple and matrix say the same', () => {
    const space = spaceOf('nb101');
    for (const row of tableRows('nb101-500.csv').filter((_, i) => i % 31 === 0)) {
      const architecture = space.parse(row);
      expect(architecture.key).toBe(row.get('tuple'));
      readsBack(space, architecture);
      const other = space.parse(new Map([...row].filter(([column]) => column !== 'tuple')));
      expect([other.key, other.twins]).toEqual([architecture.key, architecture.twins]);
      const counts = countsOf(architecture.build());
      expect(counts.params).toBe(Math.round(numberIn(row, 'params')! * 1e6));
      expect(nb101Flops(counts)).toBe(Math.round(numberIn(row, 'flops')! * 1e6));
    }
  });

  test('the unlabelled cells are cells', () => {
    const space = spaceOf('nb101');
    const rows = tableRows('nb101-unlabelled.csv.gz').filter((_, i) => i % 20 === 0);
    expect(rows.map((row) => space.parse(row).key)).toEqual(rows.map((row) => row.get('tuple')));
  });
});
