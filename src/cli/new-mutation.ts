// `pare new-mutation NAME`: a mutation that works, and its test, to be changed into one's own.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { failAt, PareError } from '../errors.js';
import { jsonOption } from './options.js';

interface Arguments {
  readonly name: string;
  readonly out: string;
  readonly json: boolean;
}

export const newMutationCommand: CommandModule<object, Arguments> = {
  command: 'new-mutation <name>',
  describe: 'Write a mutation of your own to start from, and its test',
  builder: (y) =>
    y
      .positional('name', { type: 'string', demandOption: true, describe: 'lower-case words joined by hyphens' })
      .option('out', { type: 'string', default: '.', describe: 'folder to write into' })
      .option('json', jsonOption)
      .example('$0 new-mutation drop-relu', 'writes drop-relu.mjs and drop-relu.test.mjs'),
  handler: ({ name, out, json }) => {
    if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) {
      throw new PareError(
        `"${name}" is no name of a mutation: give lower-case words joined by hyphens, such as drop-relu`,
      );
    }
    const files = [
      [join(out, `${name}.mjs`), mutationText(name)],
      [join(out, `${name}.test.mjs`), testText(name)],
    ] as const;
    const there = files.find(([path]) => existsSync(path));
    if (there !== undefined) throw new PareError(`${there[0]} is there already: choose another name or --out`);
    try {
      mkdirSync(out, { recursive: true });
      for (const [path, text] of files) writeFileSync(path, text, { flag: 'wx' });
    } catch (error) {
      failAt('write', out, error);
    }
    const written = files.map(([path]) => path);
    console.log(
      json
        ? JSON.stringify({ written })
        : `written: ${written.join(', ')}\ntest it:  node --test ${written[1]}\nuse it:   pare optimize MODEL --flops 60% --data D --plugin ${written[0]}`,
    );
  },
};

function mutationText(name: string): string {
  return `// A mutation for Pare: \`propose\` finds a place and says what to do there as plain JSON, \`apply\` does it. The graph is read-only: give
// back a changed copy, and the very same objects where nothing changes. Everything is checked after each application.
// Test: node --test ${name}.test.mjs      Use: pare optimize MODEL --flops 60% --data D --plugin ${name}.mjs
import { PareError } from 'pare-onnx';

/** @type {readonly import('pare-onnx').Mutation[]} */
export const mutations = [
  {
    name: '${name}',
    summary: 'takes one Relu out; what follows gets its input',
    // 'exact': outputs are unchanged, and that is tested. 'approximate': they may change, and the search judges by measuring.
    law: 'approximate',
    // All randomness comes from rng: equal seeds, equal runs. Nothing to do: undefined.
    propose({ analysis, ignore }, rng) {
      const { graph } = analysis.model;
      const open = graph.nodes.filter((n) => n.opType === 'Relu' && !ignore(n.name) && !isOutput(graph, n.outputs[0]));
      return open.length === 0 ? undefined : { value: rng.pick(open).outputs[0] };
    },
    // Deterministic. MACs never rise, inputs and outputs of the network stay as they are.
    apply(params, { analysis }) {
      const { model } = analysis;
      const { graph } = model;
      const relu = graph.nodes.find((n) => n.opType === 'Relu' && n.outputs[0] === params.value);
      // another edit may have been there before: a PareError says that this one does not fit any more
      if (relu === undefined || isOutput(graph, params.value)) throw new PareError(\`${name}: there is no Relu "\${params.value}"\`);
      const nodes = graph.nodes
        .filter((n) => n !== relu)
        .map((n) =>
          n.inputs.includes(params.value)
            ? { ...n, inputs: n.inputs.map((x) => (x === params.value ? relu.inputs[0] : x)) }
            : n,
        );
      return { ...model, graph: { ...graph, nodes } };
    },
  },
];

function isOutput(graph, name) {
  return graph.outputs.some((o) => o.name === name);
}
`;
}

function testText(name: string): string {
  return `// node --test ${name}.test.mjs
import assert from 'node:assert/strict';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { analyse, createRng, floatTensor, openPlugins, parseModelText } from 'pare-onnx';

const file = fileURLToPath(new URL('./${name}.mjs', import.meta.url));

// A network in ONNX's text syntax, to be changed into one that your mutation is about; readModel('model.onnx') takes a file.
const rng = createRng('weights');
const model = withWeights(parseModelText(\`
  <ir_version: 8, opset_import: ["" : 17]>
  net (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
  <float[8, 3, 3, 3] w1, float[4, 8, 3, 3] w2>
  {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    b = Relu (a)
    y = Conv <pads = [1, 1, 1, 1]> (b, w2)
  }
\`));

test('${name}: what it makes is a network that runs', () => {
  const said = [];
  const plugins = openPlugins([file], { report: (sentence) => said.push(sentence) });
  try {
    const analysis = analyse(model, plugins.table);
    // proposes and applies; graph, shapes, MACs, law and a run in onnxruntime are looked at
    said.push(...plugins.rehearse(() => analysis));
    assert.deepEqual(said, []);
    const [mutation] = plugins.mutations;
    const context = { analysis, ignore: () => false, roundTo: 1, maxRatio: 1 };
    const params = mutation.propose(context, createRng('a seed'));
    assert.notEqual(params, undefined, 'it found no place in this network');
    const made = mutation.apply(params, context);
    assert.equal(made.graph.nodes.length, model.graph.nodes.length - 1);
    assert.equal(mutation.propose({ ...context, analysis: analyse(made, plugins.table) }, createRng('a seed')), undefined);
    // an edit that does not fit any more says so
    assert.throws(() => mutation.apply({ value: 'nowhere' }, context), { name: 'PareError' });
  } finally {
    plugins.close();
  }
});

function withWeights(model) {
  const initializers = [...model.graph.initializers.values()].map(({ name, dims }) => {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => 0.1 * rng.normal());
    return [name, floatTensor(name, dims, values)];
  });
  return { ...model, graph: { ...model.graph, initializers: new Map(initializers) } };
}
`;
}
