// Every snippet of the guides to plug-ins is run: modules are opened and tried on a network, programs and commands are executed.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { analyse } from '../../src/analysis/analyse.js';
import { parseModelText } from '../../src/ir/text.js';
import { openPlugins } from '../../src/plugin/load.js';
import { createRng } from '../../src/rng.js';
import { fillRandom } from '../analysis/random-weights.js';
import { projectRoot } from '../shared.js';
import { builtProgram } from '../small-run.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-guide-'));
  mkdirSync(join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  symlinkSync(projectRoot, join(folder, 'node_modules', 'pare-onnx'));
  const shapes = join(projectRoot, 'examples', 'shapes');
  copyFileSync(join(shapes, 'shapes-resnet.onnx'), join(folder, 'model.onnx'));
  for (const name of ['calib.json', 'shapes-train.npz']) copyFileSync(join(shapes, name), join(folder, name));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The snippets of a language in a guide's section (the whole guide without one). */
function snippets(guide: string, language: string, section?: string): string[] {
  let text = readFileSync(join(projectRoot, guide), 'utf8');
  if (section !== undefined) {
    const from = text.indexOf(section);
    if (from < 0) throw new Error(`${guide} has no section "${section}"`);
    text = text.slice(from, text.indexOf('\n## ', from + 1));
  }
  const found = [...text.matchAll(new RegExp('^( *)```' + language + '\\n([\\s\\S]*?)^\\1```', 'gm'))];
  return found.map(([, indent, body]) => body!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}

const model = fillRandom(
  parseModelText(`
  <ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
  net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[16,3,3,3] w, float[4,16,1,1] v>
  { a = Conv <pads = [1,1,1,1]> (x, w)
    b = com.acme.Swish (a)
    c = Dropout (b)
    y = Conv (c, v) }
  <domain: "com.acme", opset_import: ["" : 17]> Swish (x) => (y) { s = Sigmoid (x) y = Mul (x, s) }`),
  createRng('guide'),
);

test('README: the modules are plug-ins that work', () => {
  const modules = snippets('README.md', 'js', '## Plug-ins');
  expect(modules.length).toBe(2);
  const files = modules.map((text, i) => {
    const file = join(folder, `readme-${i}.mjs`);
    writeFileSync(file, text);
    return file;
  });
  const said: string[] = [];
  const plugins = openPlugins(files, { report: (s) => said.push(s) });
  try {
    said.push(...plugins.rehearse((table) => analyse(model, table)));
    expect(said).toEqual([]);
    const analysis = analyse(model, plugins.table);
    const group = analysis.groups.groups.find((g) => g.size === 16)!;
    const evenly = plugins.criteria.get('evenly')!({ analysis, group, rng: createRng(1) })!;
    expect(evenly.slice(0, 4)).toEqual(Float64Array.of(0, 1, 0, 1));
    const context = { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 };
    const [drop] = plugins.mutations;
    const made = drop!.apply(drop!.propose(context, createRng(1))!, context);
    expect(made.graph.nodes.map((n) => n.opType)).toEqual(['Conv', 'Swish', 'Identity', 'Conv']);
  } finally {
    plugins.close();
  }
});

test.skipIf(!existsSync(builtProgram))('README: the commands, in order', { timeout: 240_000 }, () => {
  const commands = snippets('README.md', 'sh', '## Plug-ins')[0]!.trim().split('\n');
  expect(commands.length).toBe(3);
  for (const line of commands) {
    // the shortest run there is
    const short = line.includes(' optimize ') ? ['--evaluations', '2', '--members', '1', '--out', 'out'] : [];
    const words = line.split(' ').concat(short);
    const [name, args] = [words[0], words.slice(1)];
    const run =
      name === 'npx'
        ? spawnSync(process.execPath, [builtProgram, ...args.slice(1)], { cwd: folder, encoding: 'utf8' })
        : spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: {} });
    expect([line, run.status, run.stderr.includes('warning')]).toEqual([line, 0, false]);
  }
  const config = JSON.parse(readFileSync(join(folder, 'out', 'config.json'), 'utf8')) as {
    plugins: { file: string }[];
  };
  expect(config.plugins.map((p) => p.file)).toEqual(['skip-relu.mjs']);
});

test.skipIf(!existsSync(builtProgram))('CONTRIBUTING: the program', () => {
  const [text] = snippets('CONTRIBUTING.md', 'js');
  writeFileSync(join(folder, 'try.mjs'), text!);
  copyFileSync(join(projectRoot, 'examples', 'plugins', 'fuse-branches.mjs'), join(folder, 'my-plugin.mjs'));
  const said = execFileSync(process.execPath, ['try.mjs'], { cwd: folder, encoding: 'utf8' });
  expect(said.trim()).toBe("[ 'fuse-branches' ] []");
});
