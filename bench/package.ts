// The package as people get it: `npm run bench -- package`. Packed, installed into an empty project without any install script, it
// counts and pares the shipped example, is imported, and type-checks under the strictest rules. Needs the npm registry (or its cache).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../test/shared-path.js';

const PROGRAM = `import { analyse, readModel, standardOps, type Mutation, type Plugin } from 'pare-onnx';

const mutation: Mutation = {
  name: 'nothing',
  summary: 'does nothing',
  law: 'exact',
  propose: () => undefined,
  apply: (_params, { analysis }) => analysis.model,
};
export const plugin: Plugin = { mutations: [mutation] };
const { cost }: { readonly cost: { readonly macs: number } } = analyse(readModel(process.argv[2] ?? ''), standardOps);
console.log(cost.macs);
`;

const TSCONFIG = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023'],
    types: ['node'],
    typeRoots: [join(projectRoot, 'node_modules', '@types')],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    outDir: 'out',
  },
  files: ['use.ts'],
};

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pare-package-'));
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  const sh = (command: string, args: readonly string[], cwd = folder): string =>
    execFileSync(command, args, {
      cwd,
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      maxBuffer: 2 ** 28,
    });
  const timed = <T>(what: string, act: () => T): T => {
    const started = performance.now();
    const result = act();
    console.log(`${what.padEnd(62)} ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return result;
  };
  try {
    // built by `npm run bench` already: prepack would take dist away from under this program
    const packed = timed('npm pack', () =>
      sh('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], projectRoot),
    );
    // the cast: what npm prints
    const [info] = JSON.parse(packed) as readonly [
      { filename: string; size: number; files: readonly { path: string }[] },
    ];
    const strays = info.files
      .map((f) => f.path)
      .filter((p) => !/^(dist\/(src|search)|examples)\/|^(README\.md|LICENSE|package\.json)$/.test(p));
    if (strays.length > 0) throw new Error(`the package holds ${strays.join(', ')}`);
    console.log(`${info.files.length} files, ${(info.size / 1e6).toFixed(2)} MB packed`);
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
    timed('npm install, no install script of anyone run', () =>
      sh('npm', [
        'install',
        '--ignore-scripts',
        '--no-audit',
        '--no-fund',
        '--prefer-offline',
        join(folder, info.filename),
      ]),
    );
    const installed = join(folder, 'node_modules', 'pare-onnx');
    const scripts =
      (JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { scripts?: Record<string, string> })
        .scripts ?? {};
    const own = ['preinstall', 'install', 'postinstall'].filter((s) => s in scripts);
    if (own.length > 0) throw new Error(`the package has install scripts: ${own.join(', ')}`);
    const shapes = join(installed, 'examples', 'shapes');
    const model = join(shapes, 'shapes-resnet.onnx');
    const pare = join(folder, 'node_modules', '.bin', 'pare');
    const counted = timed('pare count --json', () => sh(pare, ['count', model, '--json']));
    const { macs } = JSON.parse(counted) as { macs: number };
    timed('pare optimize --flops 60% (6 candidates, 1 member)', () =>
      sh(pare, [
        'optimize',
        model,
        '--data',
        join(shapes, 'calib.json'),
        '--flops=60%',
        '--evaluations=6',
        '--members=1',
        '--seed=1',
        '--out=pared',
        '--json',
      ]),
    );
    const files = readdirSync(join(folder, 'pared', 'candidates'));
    if (files.length === 0) throw new Error('no candidate was written');
    timed('pare count --plugin (an example of the package)', () =>
      sh(pare, ['count', model, '--plugin', join(installed, 'examples', 'plugins', 'fuse-branches.mjs')]),
    );
    writeFileSync(join(folder, 'use.ts'), PROGRAM);
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG));
    timed('tsc, strict, on a program that imports it', () =>
      sh(join(projectRoot, 'node_modules', '.bin', 'tsc'), ['-p', '.']),
    );
    const said = timed('node, the same program', () => sh(process.execPath, ['out/use.js', model]));
    if (Number(said) !== macs) throw new Error(`the program counts ${said.trim()} MACs, the command ${macs}`);
    const maps = existsSync(join(installed, 'dist', 'bench'));
    console.log(
      `${macs} MACs by the command and by the program; pared to ${files.join(', ')}${maps ? '; dist/bench ships!' : ''}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}
