// Six plug-ins that misbehave, in one run: `npm run bench -- hostile-plugins [evaluations=8]`. Each is well-behaved while it is tried out
// and turns on the search later (and, in a second run, at once). What is checked: one sentence names each of them, its case is saved, the
// run ends with exit code 0 and a front whose every file is a valid network within the budget.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isolatedRuntime } from '../src/runtime/isolated.js';
import { verifyModels } from '../src/measure/verify.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { projectRoot } from '../test/shared-path.js';
import { formatTable } from '../src/cli/format.js';
import { builtProgram } from '../test/small-run.js';

/** name -> what it does instead, and what is said of it. */
const HOSTILE: Readonly<Record<string, readonly [string, RegExp]>> = {
  throws: [`throw new Error('no luck');`, /threw: no luck/],
  'never-returns': ['for (;;);', /took longer than 10 s/],
  'eats-memory': ['const all = []; for (;;) all.push(new Uint8Array(5e7).fill(1));', /MiB of memory|took longer/],
  'returns-garbage': ['return { graph: [1, 2, 3], opsets: "none" };', /gave what cannot be used/],
  'edits-its-input': ['context.analysis.model.graph.nodes.length = 0; return context.analysis.model;', /threw: Cannot/],
  'exits-the-process': ['process.exit(0);', /ended the process with exit code 0/],
};

function text(name: string, act: string, atOnce: boolean): string {
  return `export const mutations = [{
  name: '${name}', summary: 'misbehaves', law: 'exact',
  propose: (context, rng) => ({ well: ${atOnce ? 'false' : `rng.path.startsWith('rehearsal')`}, n: rng.int(1000) }),
  apply(params, context) {
    if (params.well) return context.analysis.model;
    ${act}
  },
}];
`;
}

export async function run([evaluations = '8']: readonly string[]): Promise<void> {
  let failed = false;
  for (const atOnce of [false, true]) {
    const folder = mkdtempSync(join(tmpdir(), 'pare-hostile-'));
    try {
      failed = !(await search(folder, atOnce, evaluations)) || failed;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  if (failed) process.exitCode = 1;
}

async function search(folder: string, atOnce: boolean, evaluations: string): Promise<boolean> {
  const plugins = Object.entries(HOSTILE).flatMap(([name, [act]]) => {
    const path = join(folder, `${name}.mjs`);
    writeFileSync(path, text(name, act, atOnce));
    return ['--plugin', path];
  });
  const shapes = join(projectRoot, 'examples', 'shapes');
  const model = join(shapes, 'shapes-resnet.onnx');
  const out = join(folder, 'out');
  const started = performance.now();
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      builtProgram,
      'optimize',
      model,
      '--data',
      join(shapes, 'calib.json'),
      '--flops=60%',
      '--seed=1',
      `--evaluations=${evaluations}`,
      '--members=2',
      '--json',
      '--out',
      out,
      ...plugins,
    ],
    { encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const seconds = (performance.now() - started) / 1000;
  const lines = stderr.split('\n');
  const cases = existsSync(join(out, 'plugin-cases')) ? readdirSync(join(out, 'plugin-cases')) : [];
  let contained = 0;
  const rows = Object.entries(HOSTILE).map(([name, [, sentence]]) => {
    const said = lines.filter((l) => l.includes(`mutation "${name}"`));
    const saved = cases.some((c) => c.endsWith(`mutation-${name}`));
    const ok = said.length === 1 && sentence.test(said[0]!) && saved;
    if (ok) contained++;
    return [
      name,
      ok ? 'contained' : 'NOT CONTAINED',
      said[0]?.replace(/.* is disabled: /, '').replace(/;.*/, '') ?? 'nothing was said',
    ];
  });
  console.log(
    `\nmisbehaving ${atOnce ? 'at once' : 'during the search'}: exit code ${status}, ${seconds.toFixed(0)} s`,
  );
  console.log(formatTable(['plug-in', 'outcome', 'what was said'], rows));
  if (status !== 0) {
    console.log(stderr.slice(-2000));
    return false;
  }
  const valid = await validMembers(out, model);
  console.log(
    `${contained} of ${rows.length} contained; front: ${valid.members} networks, ${valid.ok} of them valid and within 60 % of the MACs`,
  );
  return contained === rows.length && valid.members > 0 && valid.ok === valid.members;
}

async function validMembers(out: string, model: string): Promise<{ members: number; ok: number }> {
  // the cast: optimize has just written it
  const front = JSON.parse(readFileSync(join(out, 'front.json'), 'utf8')) as {
    readonly candidates: readonly { readonly file: string }[];
  };
  const runtime = isolatedRuntime();
  try {
    let ok = 0;
    for (const { file } of front.candidates) {
      const verified = await verifyModels(readModel(model), readModel(join(out, file)), {
        runtime,
        table: standardOps,
      });
      if (verified.ok && verified.macs.candidate! <= 0.6 * verified.macs.original) ok++;
    }
    return { members: front.candidates.length, ok };
  } finally {
    await runtime.close();
  }
}
