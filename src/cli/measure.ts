// `pare measure MODEL --data D`: accuracy or another metric with its interval, latency, and how far it is from a reference.
import { availableParallelism } from 'node:os';
import type { CommandModule } from 'yargs';
import { openDataset } from '../data/dataset.js';
import { checkData } from '../measure/check-data.js';
import { evaluate, type Evaluation } from '../measure/evaluate.js';
import { compareLatency, measureLatency, type Latency, type LatencyComparison } from '../measure/latency.js';
import { withSession } from '../runtime/runtime.js';
import { formatEstimate, formatPoints, formatShare } from './format.js';
import {
  inputOption,
  jsonOption,
  openModel,
  openRuntime,
  parseInputDims,
  runtimeOption,
  wholeNumber,
} from './options.js';

interface Arguments {
  readonly model: string;
  readonly data: string;
  readonly reference: string | undefined;
  readonly threads: number;
  readonly batch: number;
  readonly 'latency-batch': number;
  readonly latency: boolean;
  readonly check: boolean;
  readonly input: string[];
  readonly runtime: 'onnxruntime' | 'tfjs';
  readonly json: boolean;
}

export const measureCommand: CommandModule<object, Arguments> = {
  command: 'measure <model>',
  describe: 'Measure accuracy (or another metric) and latency, alone or against a reference',
  builder: (y) =>
    y
      .positional('model', { type: 'string', demandOption: true, describe: 'ONNX file' })
      .option('data', { type: 'string', demandOption: true, describe: 'data manifest (.json) or .npz file' })
      .option('reference', {
        type: 'string',
        describe: 'ONNX file to compare with; needed when the data have no labels',
      })
      .option('threads', {
        type: 'number',
        default: 1,
        coerce: wholeNumber('threads', 1),
        describe: 'threads of onnxruntime when latency is measured; the metric does not depend on it',
      })
      .option('batch', {
        type: 'number',
        default: 32,
        coerce: wholeNumber('batch', 1),
        describe: 'samples a run for the metric',
      })
      .option('latency-batch', {
        type: 'number',
        default: 1,
        coerce: wholeNumber('latency-batch', 1),
        describe: 'samples a run when latency is measured',
      })
      .option('latency', {
        type: 'boolean',
        default: true,
        describe: 'measure latency (--no-latency: the metric alone)',
      })
      .option('check', {
        type: 'boolean',
        default: true,
        describe: 'look for mistakes in the data (--no-check: do not)',
      })
      .option('runtime', runtimeOption)
      .option('input', inputOption)
      .option('json', jsonOption)
      .example('$0 measure small.onnx --data test.json --reference big.onnx', 'accuracy, difference and speed-up'),
  handler: async (args) => {
    const result = await measure(args);
    for (const finding of result.findings) console.error(`pare: warning: ${finding}`);
    console.log(args.json ? JSON.stringify(asJson(args, result), undefined, 2) : describe(args, result));
  },
};

interface Result {
  /** What computed the metric. */
  readonly ran: string;
  readonly evaluation: Evaluation;
  readonly latency: Latency | undefined;
  readonly comparison: LatencyComparison | undefined;
  readonly findings: readonly string[];
}

async function measure(args: Arguments): Promise<Result> {
  const model = openModel(args.model);
  const dims = parseInputDims(args.input, model);
  if (args.reference !== undefined) openModel(args.reference);
  const runtime = await openRuntime(args.runtime, Math.min(8, availableParallelism()));
  const ran = runtime.name;
  try {
    return await withSession(runtime, args.model, {}, async (session) => {
      const dataset = openDataset(args.data, session.inputs);
      const options = { batch: args.batch, concurrency: runtime.concurrency };
      const [evaluation, findings] =
        args.reference === undefined
          ? [await evaluate(session, dataset, options), args.check ? await checkData(session, dataset) : []]
          : await withSession(runtime, args.reference, {}, async (reference) => [
              await evaluate(session, dataset, { ...options, reference }),
              args.check ? await checkData(reference, dataset) : [],
            ]);
      if (!args.latency) return { ran, evaluation, findings, latency: undefined, comparison: undefined };
      const batch = dataset.fixedBatch ?? args['latency-batch'];
      const feeds = dataset.batch(Array.from({ length: batch }, (_, i) => i % dataset.size)).inputs;
      const timing = { threads: args.threads, batch, dims, feeds };
      if (args.reference === undefined) {
        const latency = await measureLatency(args.model, timing);
        return { ran, evaluation, findings, latency, comparison: undefined };
      }
      const comparison = await compareLatency(args.reference, args.model, timing);
      return { ran, evaluation, findings, latency: comparison.candidate, comparison };
    });
  } finally {
    await runtime.close();
  }
}

function asJson(args: Arguments, { ran, evaluation, latency, comparison, findings }: Result): object {
  const { metric, value, n, ci95, higherIsBetter, nonFinite, versus } = evaluation;
  return {
    model: args.model,
    data: args.data,
    runtime: ran,
    metric,
    value,
    n,
    ci95,
    higherIsBetter,
    nonFinite,
    latencyMs: latency ?? null,
    ...(versus === undefined
      ? {}
      : {
          reference: { model: args.reference, ...versus.reference, latencyMs: comparison?.reference ?? null },
          difference: versus.difference ?? null,
          agreement: versus.agreement ?? null,
          kl: versus.kl ?? null,
          relativeError: versus.relativeError,
          outputs: Object.fromEntries(versus.outputs),
          speedup: comparison?.speedup ?? null,
        }),
    findings,
  };
}

function describe(args: Arguments, { ran, evaluation, latency, comparison }: Result): string {
  const { metric, n, higherIsBetter, nonFinite, versus } = evaluation;
  const show = higherIsBetter ? formatShare : formatEstimate;
  const row = (name: string, text: string): string => `${name.padEnd(16)}${text}`;
  const lines = [row(metric, `${show(evaluation)}   n = ${n}, by ${ran}; brackets: 95 % interval`)];
  if (nonFinite > 0) lines.push(row('not finite', `outputs of ${nonFinite} samples`));
  if (versus !== undefined) {
    if (versus.reference !== undefined) lines.push(row('reference', show(versus.reference)));
    if (versus.difference !== undefined) {
      lines.push(row('difference', `${(higherIsBetter ? formatPoints : formatEstimate)(versus.difference)}, paired`));
    }
    if (versus.agreement !== undefined && metric !== 'agreement')
      lines.push(row('agreement', formatShare(versus.agreement)));
    if (versus.kl !== undefined) lines.push(row('KL divergence', `${formatEstimate(versus.kl)} nats`));
    if (metric !== 'relative-error') lines.push(row('relative error', formatEstimate(versus.relativeError)));
    if (versus.outputs.size > 1) {
      for (const [name, e] of versus.outputs) lines.push(row('', `output "${name}" ${formatEstimate(e)}`));
    }
  }
  if (latency !== undefined) {
    const { threads, batch, runs } = latency;
    const said = `onnxruntime, ${threads} ${threads === 1 ? 'thread' : 'threads'}, batch ${batch}, ${runs} runs`;
    lines.push(row('latency', `median ${latency.median.toFixed(3)} ms, p90 ${latency.p90.toFixed(3)} ms   ${said}`));
  }
  if (comparison !== undefined) {
    const { median, p90 } = comparison.reference;
    lines.push(row('reference', `median ${median.toFixed(3)} ms, p90 ${p90.toFixed(3)} ms`));
    lines.push(row('speed-up', `${formatEstimate(comparison.speedup)} times, in alternating rounds`));
  }
  if (args.reference === undefined) lines.push('', 'compare with the network it was made from: --reference ORIGINAL');
  return lines.join('\n');
}
