// `pare verify ORIGINAL CANDIDATE`: graph check, interface, a run in onnxruntime, MACs recounted, difference of the outputs.
import type { CommandModule } from 'yargs';
import { PareError } from '../errors.js';
import { verifyModels, type Verification } from '../measure/verify.js';
import { sha256OfFile } from '../onnx/read.js';
import { standardOps } from '../ops/index.js';
import { isolatedRuntime } from '../runtime/isolated.js';
import { ortRuntime } from '../runtime/ort.js';
import { plainCut, verifyParts, weightBytes } from '../../search/verify-parts.js';
import { formatCount, formatPercent } from './format.js';
import { inputOption, jsonOption, openModel, parseInputDims } from './options.js';

interface Arguments {
  readonly original: string;
  readonly candidate: string;
  readonly input: string[];
  readonly json: boolean;
}

export const verifyCommand: CommandModule<object, Arguments> = {
  command: 'verify <original> <candidate>',
  describe: 'Check that a candidate is valid, runs, and has the interface of its original',
  builder: (y) =>
    y
      .positional('original', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .positional('candidate', { type: 'string', demandOption: true, describe: 'ONNX file made from it' })
      .option('input', inputOption)
      .option('json', jsonOption)
      .example(
        '$0 verify model.onnx out/candidates/03.onnx',
        'all checks of one exported file; exit code 2 when one fails',
      ),
  handler: async (args) => {
    const original = openModel(args.original);
    const candidate = openModel(args.candidate);
    const dims = parseInputDims(args.input, original);
    const originalSha256 = await sha256OfFile(args.original);
    const sources = { original: args.original, candidate: args.candidate };
    // in a process of its own: nothing is known yet of what the file does to onnxruntime
    const runtime = isolatedRuntime();
    let result: Verification;
    const shared = { table: standardOps, originalSha256, dims };
    const cut = weightBytes(original) + weightBytes(candidate) > WHOLE_BYTES ? plainCut(candidate) : undefined;
    try {
      result =
        cut === undefined
          ? await verifyModels(original, candidate, { ...shared, runtime, sources })
          : // every node that is run is one of the original's own
            await verifyParts(original, candidate, cut, { ...shared, runtime: ortRuntime() });
    } finally {
      await runtime.close();
    }
    console.log(args.json ? JSON.stringify(asJson(result), undefined, 2) : describe(result));
    const failed = result.checks.find((c) => !c.ok);
    if (failed !== undefined)
      throw new PareError(`"${args.candidate}" fails the check "${failed.name}": ${failed.detail}`);
  },
};

/** Weights of both networks up to which they are run whole. */
const WHOLE_BYTES = 2 ** 30;

function asJson(result: Verification): object {
  const { relativeError, ...rest } = result;
  return { ...rest, ...(relativeError === undefined ? {} : { relativeError: Object.fromEntries(relativeError) }) };
}

function describe({ checks, macs, params, relativeError, recipe, uncounted }: Verification): string {
  const part = (p: { readonly original: number; readonly candidate?: number }): string => {
    if (p.candidate === undefined) return `unknown, of ${formatCount(p.original)}`;
    const share = p.original === 0 ? '' : ` (${formatPercent(p.candidate / p.original)})`;
    return `${formatCount(p.candidate)} of ${formatCount(p.original)}${share}`;
  };
  const lines = checks.map((c) => `${c.ok ? 'ok  ' : 'FAIL'}  ${c.name.padEnd(10)}${c.detail}`);
  lines.push('', `MACs        ${part(macs)}`, `parameters  ${part(params)}`);
  for (const [name, error] of relativeError ?? []) {
    lines.push(`difference  ${error.toPrecision(3)} of output "${name}" on made-up inputs (relative)`);
  }
  if (uncounted.length > 0) lines.push('', 'not counted:', ...uncounted.map((reason) => `  ${reason}`));
  if (recipe !== undefined) {
    lines.push(
      '',
      `recipe of pare ${recipe.version}, seed ${recipe.seed}, from ${recipe.sourceSha256}:`,
      `  ${recipe.genome}`,
    );
  }
  return lines.join('\n');
}
