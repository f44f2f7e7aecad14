// The predictor as one ONNX file: graph network, adapters, trunk and the ranking of unknown spaces, with all of its weights; what it was
// trained on stands in the file's metadata, so that nobody judges it by labels it has seen.
import { z } from 'zod';
import { PareError } from '../errors.js';
import { graphBuilder } from '../ir/builder.js';
import type { Model } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import { readModel } from '../onnx/read.js';
import { graphFeatureNames } from './graph-features.js';
import { emitNetwork, weightDims, type NetworkSize, type Weights } from './network.js';
import { emitTrunk } from './trunk.js';

const labelSchema = z.object({
  space: z.string(),
  column: z.string(),
  /** Transform of the label, see labels.ts. */
  mode: z.enum(['stand-flops', 'stand', 'none', 'scores']),
  mean: z.number(),
  deviation: z.number().positive(),
  knots: z.array(z.number()).readonly().optional(),
  /** Spearman on held-out rows of the corpus: adapter, trunk. */
  heldOut: z.tuple([z.number(), z.number()]),
});

const cardSchema = z.object({
  format: z.literal(1),
  seed: z.string(),
  size: z.object({ width: z.number().int().positive(), layers: z.number().int().positive() }),
  /** Names of the graph features, in their order. */
  features: z.array(z.string()),
  /** One for each adapter and output of the trunk, in their order. */
  labels: z.array(labelSchema),
  /** Training rows by space. */
  rows: z.record(z.string(), z.number()),
  /** What the base saw before any label: methods of pretraining. */
  pretrained: z.string(),
  /** Graphs without labels that it saw beside those rows, by source. */
  unlabelled: z.record(z.string(), z.number()).optional(),
});

/** What the file says of itself. */
export type PredictorCard = z.infer<typeof cardSchema>;
export type LearntLabel = z.infer<typeof labelSchema>;

export interface PredictorFile {
  readonly card: PredictorCard;
  readonly weights: Weights;
}

const KEY = 'pare.predictor';

/** The model that holds everything; it also runs as a whole. */
export function predictorModel({ card, weights }: PredictorFile): Model {
  const g = graphBuilder({ name: 'pare-predictor' });
  const size: NetworkSize = card.size;
  const values = emitNetwork(g, size, weights);
  g.output(values.latent, DataType.FLOAT, ['graphs', size.width]);
  g.output(values.base, DataType.FLOAT, ['graphs', 1]);
  if (values.adapters.length > 0) {
    const all = g.op('Concat', values.adapters, { axis: 1 }, { outputs: ['adapters'] });
    g.output(all, DataType.FLOAT, ['graphs', values.adapters.length]);
  }
  const trunk = g.op('Identity', [emitTrunk(g, weights)], {}, { outputs: ['trunk'] });
  g.output(trunk, DataType.FLOAT, ['graphs', card.labels.length]);
  const rank = g.op('Identity', [emitRank(g, weights)], {}, { outputs: ['rank'] });
  g.output(rank, DataType.FLOAT, ['graphs', 1]);
  const model = g.model();
  return { ...model, producerName: 'pare', metadata: new Map([[KEY, JSON.stringify(card)]]) };
}

/** Opens a file written from {@link predictorModel}. */
export function readPredictor(path: string): PredictorFile {
  return openPredictor(readModel(path), path);
}

export function openPredictor(model: Model, path: string): PredictorFile {
  const text = model.metadata.get(KEY);
  if (text === undefined) {
    throw new PareError(`${path} is no predictor: it was not written by "pare predictor pretrain"`);
  }
  const parsed = cardSchema.safeParse(parseJson(text, path));
  if (!parsed.success) throw new PareError(`${path}: its description is damaged (${parsed.error.issues[0]?.message})`);
  const card = parsed.data;
  const names = graphFeatureNames();
  if (card.features.join() !== names.join()) {
    throw new PareError(
      `${path} reads other graph features than this version of Pare computes: write it again with "pare predictor pretrain"`,
    );
  }
  const wanted = [...weightDims(card.size, card.labels.length).keys()];
  const { initializers } = model.graph;
  const weights = new Map([...initializers].filter(([name]) => /^(base|adapter\d+|trunk|rank)\//.test(name)));
  const missing = wanted.find((name) => !weights.has(name));
  if (missing !== undefined) throw new PareError(`${path}: the tensor "${missing}" is missing`);
  return { card, weights };
}

/** Leading features of the corpus to one number that ranks graphs of any space: a linear form (see rank.ts). */
function emitRank(g: ReturnType<typeof graphBuilder>, weights: Weights): string {
  const w = g.constant(weights.get('rank/w')!);
  return g.op('MatMul', ['graph.features', w]);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new PareError(`${path}: its description is damaged`, { cause: error });
  }
}
