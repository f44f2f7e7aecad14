// Entry file of a worker thread of a run (workplace.ts): makes the workshop again from the same settings, then refits and measures.
import { basename, dirname } from 'node:path';
import { openDataset } from '../src/data/dataset.js';
import { parseModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { knowledgeOf } from '../src/recovery/knowledge.js';
import { crewMember } from '../src/runtime/crew-member.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { baseNetwork } from './base-network.js';
import { inlineEvaluator, measuredOn, type RecoveryContext } from './evaluator.js';
import { finish } from './finish.js';
import { matcher } from './ignore.js';
import { standardMutations } from './mutations/index.js';
import { createReplayer, surgeryWith } from './replay.js';
import type { Opening, PlacedJob } from './workplace.js';

// the casts: workplace.ts sends these
export const work = crewMember((opening) => {
  const place = openPlace(opening as Opening);
  return (job) => place(job as PlacedJob);
});

function openPlace(o: Opening): (job: PlacedJob) => Promise<unknown> {
  const surgery = surgeryWith(standardOps);
  const read = parseModel(o.bytes, { directory: dirname(o.path), name: basename(o.path) });
  const { model, quantized } = baseNetwork(read, standardOps);
  const base = surgery.analyse(model);
  const replayer = createReplayer(base, {
    surgery,
    mutations: standardMutations(surgery),
    ignore: matcher(o.ignore),
    roundTo: o.roundTo,
    maxRatio: o.maxRatio,
    knowledge: knowledgeOf(base, o.learnt),
  });
  const open = (path: string): RecoveryContext['dataset'] => openDataset(path, o.inputs);
  const { fit, batch, seed } = o;
  const dataset = open(o.data);
  const context: RecoveryContext = { replayer, runtime: ortRuntime(), dataset, fit, batch, seed, quantized };
  const others = new Map<string, RecoveryContext['dataset']>();
  const at = (path: string): RecoveryContext['dataset'] => {
    const data = others.get(path) ?? open(path);
    others.set(path, data);
    return data;
  };

  return async (job) => {
    if (job.kind === 'evaluate') {
      const { genome, effort, reference } = job;
      const [result] = await inlineEvaluator({ ...context, reference, concurrency: 1 }).evaluate([{ genome, effort }]);
      return result;
    }
    if (job.kind === 'measure') {
      const on = job.on.map(({ path, reference }) => ({ reference, dataset: path === undefined ? dataset : at(path) }));
      return measuredOn(context, job, on);
    }
    const { genome, macs, name, test, ...options } = job;
    if (test === undefined) return finish({ genome, macs }, name, { ...options, table: standardOps, context });
    const yardstick = { dataset: at(test.path), reference: test.reference };
    return finish({ genome, macs }, name, { ...options, test: yardstick, table: standardOps, context });
  };
}
