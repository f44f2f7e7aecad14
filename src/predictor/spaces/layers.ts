// Layers as the architecture spaces stack them: PyTorch's conventions, weights as placeholders.
import { graphBuilder, type GraphBuilder } from '../../ir/builder.js';
import type { Model } from '../../ir/graph.js';
import { DataType } from '../../ir/tensor.js';
import { reinitialized } from '../../training/reinit.js';
import { PareError } from '../../errors.js';
import type { Row } from '../tables.js';
import type { BuildOptions } from './space.js';

/** A value and its channels. */
export interface Feature {
  readonly value: string;
  readonly c: number;
}

export interface ConvOptions {
  readonly stride?: number;
  readonly group?: number;
  readonly bias?: boolean;
}

export interface Layers {
  readonly g: GraphBuilder;
  /** A weight without data. */
  weight(name: string, dims: readonly number[]): string;
  /** Padding keeps the size at stride 1. */
  conv(x: Feature, c: number, k: number, options?: ConvOptions): Feature;
  norm(x: Feature): Feature;
  /** An operator that keeps the channels. */
  apply(opType: string, x: Feature, attributes?: Parameters<GraphBuilder['op']>[2]): Feature;
  relu(x: Feature): Feature;
  /** Conv, BatchNormalization. */
  convNorm(x: Feature, c: number, k: number, options?: ConvOptions): Feature;
  /** From left to right. */
  sum(terms: readonly Feature[]): Feature;
  concat(parts: readonly Feature[]): Feature;
  /** Zeros of c channels, 1 / stride as high and wide as x. */
  zeros(x: Feature, c?: number, stride?: number): Feature;
  /** A matrix with a bias behind a vector. */
  matrix(x: Feature, c: number): Feature;
  /** Global average pool and a matrix. */
  classifier(x: Feature, classes: number): Feature;
}

/** Builds a network: `body` turns the input into the output. */
export function network(
  name: string,
  shape: readonly [number, number, number],
  options: BuildOptions,
  body: (layers: Layers, input: Feature) => Feature,
): Model {
  const g = graphBuilder({ name });
  const [c] = options.inputShape ?? shape;
  const input = g.input('input', DataType.FLOAT, ['N', ...(options.inputShape ?? shape)]);
  const result = body(layersOn(g), { value: input, c });
  g.output(g.op('Identity', [result.value], {}, { outputs: ['output'] }));
  const model = g.model();
  return options.weights === undefined ? model : reinitialized(model, options.weights);
}

export function layersOn(g: GraphBuilder): Layers {
  const weight: Layers['weight'] = (name, dims) => g.constant({ name, dataType: DataType.FLOAT, dims });
  const layers: Layers = {
    g,
    weight,
    conv(x, c, k, { stride = 1, group = 1, bias = false } = {}) {
      const p = (k - 1) >> 1;
      const inputs = [x.value, weight('conv.weight', [c, x.c / group, k, k])];
      if (bias) inputs.push(weight('conv.bias', [c]));
      const attributes = {
        kernel_shape: [k, k],
        strides: [stride, stride],
        pads: [p, p, p, p],
        ...(group === 1 ? {} : { group }),
      };
      return { value: g.op('Conv', inputs, attributes), c };
    },
    norm(x) {
      const part = (stem: string): string => weight(`norm.${stem}`, [x.c]);
      const inputs = [x.value, part('weight'), part('bias'), part('running_mean'), part('running_var')];
      return { value: g.op('BatchNormalization', inputs), c: x.c };
    },
    apply: (opType, x, attributes) => ({ value: g.op(opType, [x.value], attributes), c: x.c }),
    relu: (x) => layers.apply('Relu', x),
    convNorm: (x, c, k, o) => layers.norm(layers.conv(x, c, k, o)),
    sum(terms) {
      const [first, ...others] = terms;
      let value = first!.value;
      for (const t of others) value = g.op('Add', [value, t.value]);
      return { value, c: first!.c };
    },
    concat: (parts) => ({
      value: g.op(
        'Concat',
        parts.map((p) => p.value),
        { axis: 1 },
      ),
      c: parts.reduce((n, p) => n + p.c, 0),
    }),
    zeros(x, c = x.c, stride = 1) {
      const one = x.c === c;
      const steps = g.ints([stride, stride]);
      const far = Number.MAX_SAFE_INTEGER;
      const slice = (): string =>
        g.op('Slice', [
          x.value,
          ...[
            [0, 0],
            [far, far],
            [2, 3],
          ].map((v) => g.ints(v)),
          steps,
        ]);
      const small = stride === 1 ? x.value : slice();
      if (one) return { value: g.op('Mul', [small, g.floats(0)]), c };
      const single = g.op('Slice', [small, g.ints([0]), g.ints([1]), g.ints([1])]);
      return { value: g.op('Mul', [single, g.floats(new Float32Array(c), [1, c, 1, 1])]), c };
    },
    matrix(x, c) {
      const inputs = [x.value, weight('fc.weight', [c, x.c]), weight('fc.bias', [c])];
      return { value: g.op('Gemm', inputs, { transB: 1 }), c };
    },
    classifier: (x, classes) => layers.matrix(layers.apply('Flatten', layers.apply('GlobalAveragePool', x)), classes),
  };
  return layers;
}

/** The cell of the first of these columns that the row has. */
export function encodingIn(
  row: Row,
  space: string,
  keys: readonly string[],
): { readonly key: string; readonly text: string } {
  for (const key of keys) {
    const text = row.get(key);
    if (text !== undefined && text.trim() !== '') return { key, text: text.trim() };
  }
  const known = [...row.keys()].slice(0, 12).join(', ');
  throw new PareError(
    `space ${space} reads its architectures from the column ${keys.join(' or ')}, but the table has the columns ${known}`,
  );
}

/** Looks a task up. */
export function taskIn<T>(tasks: Readonly<Record<string, T>>, space: string, name: string): T {
  const found = Object.hasOwn(tasks, name) ? tasks[name] : undefined;
  if (found !== undefined) return found;
  throw new PareError(`space ${space} has no task "${name}": choose one of ${Object.keys(tasks).join(', ')}`);
}
