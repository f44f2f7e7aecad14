// Operators of all families in small models of text: our types are those of the tensors that onnxruntime makes, and MACs are
// those counted by hand. Covers what ONNX's own cases leave out: com.microsoft, ai.onnx.ml, old versions, loops.

import { afterAll, expect, test } from 'vitest';
import { countCost } from '../../src/analysis/cost.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import type { Model, ValueInfo } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { parseModelText } from '../../src/ir/text.js';
import { encodeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { tensorOfNumbers, withSession, type RuntimeTensor } from '../../src/runtime/runtime.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

/** Title, opset, inputs, outputs, body, MACs by hand. Inputs with data are constants. */
type Case = readonly [string, number, string, string, string, number?];

const ms = 'com.microsoft';
const ml = 'ai.onnx.ml';

// T x B x directions x gates x H x (I + H)
const recurrent: readonly Case[] = (['LSTM', 'GRU', 'RNN'] as const).flatMap((op): Case[] => {
  const gates = { LSTM: 4, GRU: 3, RNN: 1 }[op];
  const both = `float[2,${5 * gates},3] w, float[2,${5 * gates},5] r`;
  const one = `float[1,${5 * gates},3] w, float[1,${5 * gates},5] r`;
  return [
    [
      `${op}, both directions`,
      14,
      `float[7,2,3] x, ${both}`,
      'y, h',
      `y, h = ${op} <hidden_size=5, direction="bidirectional"> (x, w, r)`,
      7 * 2 * 2 * gates * 5 * 8,
    ],
    [
      `${op}, last state only`,
      14,
      `float[7,2,3] x, ${one}`,
      'h',
      `"", h = ${op} <hidden_size=5> (x, w, r)`,
      7 * 2 * gates * 5 * 8,
    ],
  ];
});

const control: readonly Case[] = [
  [
    'Loop: a fixed count',
    17,
    'float[2,3] x, int64 n = {4}, bool on = {1}, float[3,3] w',
    'last, all',
    `last, all = Loop (n, on, x) <body = b (int64 i, bool c, float[2,3] s) => (bool c2, float[2,3] s2, float[2,3] out)
     { c2 = Identity(c) s2 = MatMul(s, w) out = Identity(s2) }>`,
    4 * 2 * 3 * 3,
  ],
  [
    'Scan: two states, backwards, other axes',
    17,
    'float[2] s, float[2,5] x, float[2,2] w',
    'last, all',
    `last, all = Scan <num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1], scan_output_axes=[1],
      body = b (float[2] a, float[2] e) => (float[2] a2, float[2] o) { m = MatMul(e, w) a2 = Add(a, m) o = Identity(a2) }> (s, x)`,
    5 * 4,
  ],
  [
    'If: the branch that is known',
    17,
    'float[2,3] x, bool yes = {1}, float[3,4] w',
    'y',
    `y = If (yes) <then_branch = t () => (float[2,4] a) { a = MatMul(x, w) }, else_branch = e () => (float[2,3] b) { b = Neg(x) }>`,
    24,
  ],
];

const image: readonly Case[] = [
  [
    'Resize by scales that are no binary fractions',
    13,
    'float[1,2,10,7] x, float[4] s = {1.0, 1.0, 0.7, 1.3}',
    'y',
    'y = Resize (x, , s)',
  ],
  ['Resize to sizes', 13, 'float[1,2,4,4] x, int64[4] s = {1, 2, 7, 3}', 'y', 'y = Resize (x, , , s)'],
  [
    'Resize of the last axes, ratio kept',
    18,
    'float[1,2,4,8] x, int64[2] s = {7, 9}',
    'y',
    'y = Resize <axes=[2,3], keep_aspect_ratio_policy="not_larger"> (x, , , s)',
  ],
  ['Resize 10', 10, 'float[1,2,4,8] x, float[4] s = {1.0, 1.0, 2.0, 1.5}', 'y', 'y = Resize (x, s)'],
  ['Upsample 7', 7, 'float[1,2,4,8] x', 'y', 'y = Upsample <scales=[1.0,1.0,2.0,3.0]> (x)'],
  ['Slice 1', 9, 'float[4,5,6] x', 'y', 'y = Slice <axes=[0,2], starts=[1,-3], ends=[1000,-1]> (x)'],
  ['Pad 2', 10, 'float[4,5] x', 'y', 'y = Pad <pads=[1,0,2,3], mode="reflect"> (x)'],
  ['Split 11', 11, 'float[4,6] x', 'a, b', 'a, b = Split <axis=1, split=[2,4]> (x)'],
  [
    'Squeeze 11 after Unsqueeze 11',
    11,
    'float[4,6] x',
    'z',
    'y = Unsqueeze <axes=[0,-1]> (x) z = Squeeze <axes=[0]> (y)',
  ],
  ['OneHot', 13, 'int64[2,3] x, int64[1] d = {7}, float[2] v', 'y', 'y = OneHot <axis=1> (x, d, v)'],
  ['Col2Im', 18, 'float[1,12,4] x, int64[2] i = {3, 3}, int64[2] k = {2, 2}', 'y', 'y = Col2Im (x, i, k)'],
  ['GridSample', 16, 'float[2,3,4,5] x, float[2,6,7,2] g', 'y', 'y = GridSample (x, g)'],
  ['DepthToSpace', 13, 'float[1,8,2,3] x', 'y', 'y = DepthToSpace <blocksize=2, mode="CRD"> (x)'],
  ['SpaceToDepth', 13, 'float[1,8,2,4] x', 'y', 'y = SpaceToDepth <blocksize=2> (x)'],
  [
    'a flattened batch as PyTorch writes it',
    13,
    'float[2,3,4] x, int64 z = {0}, int64[1] o = {-1}',
    'y',
    'q = Constant <value_ints=[0]> () s = Shape(x) g = Gather(s, z) u = Unsqueeze(g, q) t = Concat <axis=0> (u, o) y = Reshape(x, t)',
  ],
  [
    'ConstantOfShape, Where, Expand',
    13,
    'float[2,1] x, int64[2] m = {-1, 5}',
    'y',
    'one = Constant <value_ints=[1]> () n = Constant <value_int=-1> () l = Constant <value_ints=[2]> () c = ConstantOfShape <value=int64[1]{1}> (l) e = Equal(m, n) w = Where(e, c, m) y = Expand(x, w)',
  ],
];

const quantised: readonly Case[] = [
  [
    'QLinearConv',
    13,
    'uint8[1,3,6,6] x, float s = {0.1}, uint8 z = {3}, uint8[4,3,3,3] w',
    'y',
    'y = QLinearConv <pads=[1,1,1,1]> (x, s, z, w, s, z, s, z)',
    36 * 4 * 27,
  ],
  [
    'QLinearMatMul',
    13,
    'uint8[2,3] x, float s = {0.1}, uint8 z = {3}, uint8[3,5] w',
    'y',
    'y = QLinearMatMul (x, s, z, w, s, z, s, z)',
    30,
  ],
  ['ConvInteger', 13, 'uint8[1,3,6,6] x, uint8[4,3,3,3] w', 'y', 'y = ConvInteger (x, w)', 16 * 4 * 27],
  ['MatMulInteger', 13, 'uint8[2,3] x, uint8[3,5] w', 'y', 'y = MatMulInteger (x, w)', 30],
  [
    'DynamicQuantizeLinear, DequantizeLinear',
    13,
    'float[2,3] x',
    'q, s, z, y',
    'q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)',
  ],
  ['QuantizeLinear without a zero point', 13, 'float[2,3] x, float s = {0.1}', 'y', 'y = QuantizeLinear(x, s)'],
  [
    'QLinearAdd',
    13,
    'uint8[2,3] x, uint8[3] b, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QLinearAdd (x, s, z, b, s, z, s, z)`,
  ],
  [
    'QLinearConcat',
    13,
    'uint8[2,3] x, uint8[2,4] b, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QLinearConcat <axis=1> (s, z, x, s, z, b, s, z)`,
  ],
  [
    'QLinearGlobalAveragePool',
    13,
    'uint8[2,3,4,4] x, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QLinearGlobalAveragePool (x, s, z, s, z)`,
  ],
  [
    'QGemm',
    13,
    'uint8[2,3] x, uint8[5,3] w, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QGemm <transB=1, alpha=1.0> (x, s, z, w, s, z, , s, z)`,
    30,
  ],
  [
    'DynamicQuantizeMatMul',
    13,
    'float[2,3] x, uint8[3,5] w, float[1] s = {0.1}, uint8[1] z = {3}',
    'y',
    `y = ${ms}.DynamicQuantizeMatMul (x, w, s, z)`,
    30,
  ],
];

const fused: readonly Case[] = [
  [
    'QLinearAveragePool, channels last',
    13,
    'uint8[1,5,5,3] x, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QLinearAveragePool <kernel_shape=[2,2], strides=[2,2], channels_last=1> (x, s, z, s, z)`,
  ],
  ['NhwcMaxPool', 13, 'uint8[1,5,5,3] x', 'y', `y = ${ms}.NhwcMaxPool <kernel_shape=[2,2], strides=[2,2]> (x)`],
  [
    'QAttention',
    13,
    'uint8[2,4,8] x, uint8[8,24] w, float[24] b, float s = {0.1}, uint8 z = {3}',
    'y',
    `y = ${ms}.QAttention <num_heads=2> (x, w, b, s, s, , z, z)`,
    2 * 4 * 8 * 24 + 2 * 4 * 4 * 16,
  ],
  [
    'GroupQueryAttention, cache',
    13,
    'float[2,1,32] q, float[2,1,16] k, float[2,1,16] v, float[2,2,6,8] p, int32[2] l, int32 t = {6}',
    'y',
    `y, a, b = ${ms}.GroupQueryAttention <num_heads=4, kv_num_heads=2> (q, k, v, p, p, l, t)`,
    2 * 6 * 64,
  ],
  [
    'MatMulNBits',
    13,
    'float[2,32] x, uint8[5,1,16] w, float[5] s',
    'y',
    `y = ${ms}.MatMulNBits <K=32, N=5, bits=4, block_size=32> (x, w, s)`,
    2 * 32 * 5,
  ],
  [
    'FusedConv',
    13,
    'float[1,3,6,6] x, float[4,3,3,3] w',
    'y',
    `y = ${ms}.FusedConv <activation="Relu", strides=[2,2]> (x, w)`,
    4 * 4 * 27,
  ],
  [
    'FusedMatMul',
    13,
    'float[2,4,3] x, float[2,5,4] w',
    'y',
    `y = ${ms}.FusedMatMul <transA=1, transB=1> (x, w)`,
    2 * 3 * 5 * 4,
  ],
  [
    'Gelu',
    13,
    'float[2,3] x, float[3] b',
    'a, c, d',
    `a = ${ms}.Gelu(x) c = ${ms}.FastGelu(x, b) d = ${ms}.BiasGelu(x, b)`,
  ],
  [
    'SkipLayerNormalization',
    13,
    'float[1,4,8] x, float[1,4,8] k, float[8] g',
    'y, t',
    `y, "", "", t = ${ms}.SkipLayerNormalization (x, k, g, g)`,
  ],
  [
    'SimplifiedLayerNormalization',
    13,
    'float[1,4,8] x, float[8] g',
    'y',
    'y = SimplifiedLayerNormalization <axis=-1, epsilon=0.00001> (x, g)',
  ],
  [
    'EmbedLayerNormalization',
    13,
    'int32[2,4] i, int32[2,4] t, float[9,8] w, float[9,8] p, float[2,8] u, float[8] g',
    'y, m',
    `y, m = ${ms}.EmbedLayerNormalization (i, t, w, p, u, g, g)`,
  ],
  // projections 2 x 4 x 8 x 24, products 2 x 4 x 4 x (8 + 8)
  [
    'Attention with its projections',
    13,
    'float[2,4,8] x, float[8,24] w, float[24] b',
    'y',
    `y = ${ms}.Attention <num_heads=2> (x, w, b)`,
    2 * 4 * 8 * 24 + 2 * 4 * 4 * 16,
  ],
  [
    'MultiHeadAttention',
    13,
    'float[2,4,8] q, float[2,6,8] k, float[2,6,8] v',
    'y',
    `y = ${ms}.MultiHeadAttention <num_heads=2> (q, k, v)`,
    2 * 4 * 6 * 16,
  ],
  [
    'Attention 23, fewer key heads',
    23,
    'float[2,4,4,8] q, float[2,2,6,8] k, float[2,2,6,10] v',
    'y',
    'y = Attention (q, k, v)',
    2 * 4 * 4 * 6 * 18,
  ],
  ['RotaryEmbedding 23', 23, 'float[2,3,4,8] x, float[5,4] c, int64[2,4] p', 'y', 'y = RotaryEmbedding (x, c, c, p)'],
];

const classical: readonly Case[] = [
  [
    'Scaler, Normalizer, Imputer, Binarizer',
    13,
    'float[2,3] x',
    'd',
    `a = ${ml}.Scaler <offset=[0.0,1.0,2.0], scale=[1.0,1.0,1.0]> (x) b = ${ml}.Normalizer(a) c = ${ml}.Imputer <imputed_value_floats=[1.0,2.0,3.0], replaced_value_float=0.0> (b) d = ${ml}.Binarizer(c)`,
  ],
  [
    'LinearClassifier',
    13,
    'float[2,3] x',
    'l, s',
    `l, s = ${ml}.LinearClassifier <classlabels_ints=[0,1,2,3], coefficients=[1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,1.0,2.0,3.0], intercepts=[0.0,0.0,0.0,0.0]> (x)`,
  ],
  [
    'LinearRegressor',
    13,
    'float[2,3] x',
    's',
    `s = ${ml}.LinearRegressor <targets=2, coefficients=[1.0,2.0,3.0,4.0,5.0,6.0], intercepts=[0.0,0.0]> (x)`,
  ],
  [
    'TreeEnsembleRegressor',
    13,
    'float[2,3] x',
    's',
    `s = ${ml}.TreeEnsembleRegressor <n_targets=1, nodes_treeids=[0,0,0], nodes_nodeids=[0,1,2], nodes_featureids=[0,0,0], nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_values=[0.5,0.0,0.0], nodes_truenodeids=[1,0,0], nodes_falsenodeids=[2,0,0], target_treeids=[0,0], target_nodeids=[1,2], target_ids=[0,0], target_weights=[1.0,2.0]> (x)`,
  ],
  ['OneHotEncoder', 13, 'int64[2,3] x', 'y', `y = ${ml}.OneHotEncoder <cats_int64s=[0,1,2,3]> (x)`],
  [
    'FeatureVectorizer',
    13,
    'float[2,3] x, float[2,2] z',
    'y',
    `y = ${ml}.FeatureVectorizer <inputdimensions=[3,2]> (x, z)`,
  ],
  ['ArrayFeatureExtractor', 13, 'float[2,3] x, int64[2] i = {0, 2}', 'y', `y = ${ml}.ArrayFeatureExtractor (x, i)`],
  ['LabelEncoder', 13, 'int64[2] x', 'y', `y = ${ml}.LabelEncoder <keys_int64s=[0,1], values_floats=[0.5,1.5]> (x)`],
];

const cases = [...recurrent, ...control, ...image, ...quantised, ...fused, ...classical];

test.each(cases.map((it) => ({ title: it[0], it })))('$title', async ({ it }) => {
  const [, opset, inputs, outputs, body, macs] = it;
  const model = modelOf(opset, inputs, outputs, body);
  const made = await withSession(runtime, encodeModel(model), { optimization: 'disabled' }, (session) =>
    session.run(new Map(model.graph.inputs.map((v) => [v.name, filled(v)]))),
  );
  const shapes = inferShapes(model, standardOps);
  for (const [name, y] of made) {
    expect([name, shapes.types.get(name)]).toEqual([name, { kind: 'tensor', elemType: y.dataType, shape: y.dims }]);
  }
  const cost = countCost(model, standardOps, shapes);
  expect(cost.uncounted).toEqual([]);
  expect(cost.macs).toBe(macs ?? 0);
});

test('the state of a Loop that grows has an unknown length, not the first', () => {
  const model = modelOf(
    17,
    'float[1,3] x, int64 n = {4}, bool on = {1}',
    'all',
    `all = Loop (n, on, x) <body = b (int64 i, bool c, float[?,3] s) => (bool c2, float[?,3] s2)
     { c2 = Identity(c) s2 = Concat <axis=0> (s, x) }>`,
  );
  const type = inferShapes(model, standardOps).types.get('all');
  expect(type).toEqual({ kind: 'tensor', elemType: 1, shape: [undefined, 3] });
});

/** Names without data are inputs; outputs carry no types, so that they have to be found. */
function modelOf(opset: number, inputs: string, outputs: string, body: string): Model {
  const declared = inputs.split(/,\s+(?=[a-z])/u);
  const free = declared.filter((d) => !d.includes('=')).join(', ');
  const constants = declared.filter((d) => d.includes('=')).join(', ');
  const names = outputs.split(', ');
  const model = parseModelText(`<ir_version: 10, opset_import: ["" : ${opset}, "${ms}" : 1, "${ml}" : 3]>
    g (${free}) => (${names.map((n) => `float[] ${n}`).join(', ')}) ${constants === '' ? '' : `<${constants}>`} { ${body} }`);
  return { ...model, graph: { ...model.graph, outputs: names.map((name) => ({ name })) } };
}

function filled({ name, type }: ValueInfo): RuntimeTensor {
  if (type?.kind !== 'tensor') throw new Error(`input "${name}" is no tensor`);
  const dims = (type.shape ?? []).map(Number);
  const n = dims.reduce((a, b) => a * b, 1);
  const float = type.elemType === DataType.FLOAT;
  return tensorOfNumbers(
    type.elemType,
    dims,
    Array.from({ length: n }, (_, i) => (float ? 0.1 + (i % 7) / 10 : i % 2)),
  );
}
