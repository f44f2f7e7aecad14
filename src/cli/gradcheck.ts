// `pare gradcheck MODEL`: the gradient rule of every operator in a network against central differences in onnxruntime.
import type { CommandModule } from 'yargs';
import { checkGradients, describeCheck, type GradientCheck } from '../measure/gradcheck.js';
import { standardOps } from '../ops/index.js';
import { createRng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import { formatTable } from './format.js';
import { inputOption, jsonOption, openModel, parseInputDims, wholeNumber } from './options.js';

interface Arguments {
  readonly model: string;
  readonly input: string[];
  readonly elements: number;
  readonly seed: number;
  readonly json: boolean;
}

export const gradcheckCommand: CommandModule<object, Arguments> = {
  command: 'gradcheck <model>',
  describe: 'Check the gradient rule of every operator against central differences, for people who add operators',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('input', inputOption)
      .option('elements', {
        type: 'number',
        default: 8,
        describe: 'elements of each input to compare',
        coerce: wholeNumber('elements', 1),
      })
      .option('seed', { type: 'number', default: 0, describe: 'seed of the made-up inputs' })
      .option('json', jsonOption)
      .example('$0 gradcheck model.onnx', 'one line per kind of node; exit code 1 when a rule is wrong'),
  handler: async (args) => {
    const model = openModel(args.model, { allowMissingData: true });
    const runtime = ortRuntime();
    const checks: GradientCheck[] = [];
    try {
      const options = {
        runtime,
        table: standardOps,
        rng: createRng(args.seed).fork('gradcheck'),
        elements: args.elements,
        dims: parseInputDims(args.input, model),
      };
      for await (const check of checkGradients(model, options)) checks.push(check);
    } finally {
      await runtime.close();
    }
    console.log(args.json ? JSON.stringify(checks.map(asJson), undefined, 2) : describe(checks));
    const wrong = checks.filter((c) => c.verdict === 'wrong');
    // a wrong rule is a defect of Pare (or of a plug-in), not of the model: exit code 1
    if (wrong.length > 0) {
      throw new Error(`gradients differ from central differences: ${wrong.map((c) => describeCheck(c)).join(', ')}`);
    }
  },
};

function asJson({ node, count, verdict, error, compared }: GradientCheck): object {
  return { operator: node.opType, node: node.name || node.outputs[0], count, verdict, error, compared };
}

function describe(checks: readonly GradientCheck[]): string {
  const rows = checks.map((c) => [
    c.node.opType,
    c.node.name === '' ? (c.node.outputs[0] ?? '') : c.node.name,
    String(c.count),
    String(c.compared),
    c.error === undefined ? '' : c.error.toExponential(1),
    c.verdict,
  ]);
  const of = (verdict: string): number => checks.filter((c) => c.verdict === verdict).length;
  const none = [...new Set(checks.filter((c) => c.verdict === 'no rule').map((c) => c.node.opType))];
  const summary = `${of('ok')} kinds of nodes agree, ${of('wrong')} do not, ${checks.length - of('ok') - of('wrong')} not checked`;
  const missing = none.length === 0 ? [] : [`without a gradient rule: ${none.join(', ')}`];
  return [
    formatTable(['operator', 'first node', 'nodes', 'elements', 'error', 'verdict'], rows, [
      'nodes',
      'elements',
      'error',
    ]),
    '',
    summary,
    ...missing,
  ].join('\n');
}
