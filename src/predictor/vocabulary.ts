// The 32 operator classes of a computation graph (AIO-P; methods.md §1.1), and which one an ONNX operator belongs to.

/** Index = class. 0 is what the vocabulary has no word for. Reserved1-5 stay empty unless `extended` is asked for. */
export const VOCABULARY = [
  'other',
  'Input',
  'Output',
  'Conv',
  'Depthwise',
  'BatchNorm',
  'ReLU',
  'ReLU6',
  'MatMul',
  'Add',
  'Mul',
  'Concat',
  'Maxpool',
  'Avgpool',
  'Sigmoid',
  'Tanh',
  'Swish',
  'GeLU',
  'Paddings',
  'Mean',
  'SpaceToBatchND',
  'BatchToSpaceND',
  'SpaceToDepthND',
  'DepthToSpaceND',
  'Global',
  'Identity',
  'Zero',
  'Reserved1',
  'Reserved2',
  'Reserved3',
  'Reserved4',
  'Reserved5',
] as const;

export type OperatorName = (typeof VOCABULARY)[number];

const INDEX: ReadonlyMap<string, number> = new Map(VOCABULARY.map((name, i) => [name, i]));

/** Index of a class. */
export function classIndex(name: OperatorName): number {
  return INDEX.get(name) ?? 0;
}

/** What the operator means to a computation graph. */
export type Meaning =
  /** Moves, casts or reshapes values: left out, its inputs feed its consumers. */
  | { readonly kind: 'dropped' }
  /** Owns a weight when one operand is constant: convolutions, products with a matrix, recurrent layers. */
  | { readonly kind: 'conv' | 'matmul' | 'recurrent' | 'embedding' }
  /** Joins its operands; left out when only one of them is no constant. */
  | { readonly kind: 'join'; readonly index: number }
  | { readonly kind: 'regular'; readonly index: number };

/** Meaning of an operator; depends on the node's operator alone. `extended` uses the reserved classes. */
export function meaningOf(opType: string, extended: boolean): Meaning {
  return (extended ? RESERVED.get(opType) : undefined) ?? KNOWN.get(opType) ?? byName(opType);
}

/** The longest entry of the vocabulary that the name contains, whatever the case; else class 0. */
function byName(opType: string): Meaning {
  if (opType.includes('Conv')) return { kind: 'conv' };
  if (/MatMul|Gemm/.test(opType)) return { kind: 'matmul' };
  const name = opType.toLowerCase();
  let best = 0;
  let length = 0;
  VOCABULARY.forEach((entry, i) => {
    if (i > 0 && entry.length > length && name.includes(entry.toLowerCase())) {
      best = i;
      length = entry.length;
    }
  });
  return { kind: 'regular', index: best };
}

function each(names: string, meaning: Meaning): [string, Meaning][] {
  return names.split(' ').map((name) => [name, meaning]);
}

function regular(name: OperatorName): Meaning {
  return { kind: 'regular', index: classIndex(name) };
}

function join(name: OperatorName): Meaning {
  return { kind: 'join', index: classIndex(name) };
}

const KNOWN: ReadonlyMap<string, Meaning> = new Map([
  ...each('Identity Dropout Reshape Flatten Squeeze Unsqueeze Transpose Cast CastLike BitCast', { kind: 'dropped' }),
  ...each('Slice Split Expand Tile GatherND GatherElements Trilu ReverseSequence Compress', { kind: 'dropped' }),
  ...each('QuantizeLinear DequantizeLinear DynamicQuantizeLinear Shape Size EyeLike', { kind: 'dropped' }),
  ...each('SequenceConstruct SequenceInsert SequenceErase SequenceAt SequenceLength SplitToSequence', {
    kind: 'dropped',
  }),
  ...each('ConcatFromSequence Optional OptionalGetElement OptionalHasElement', { kind: 'dropped' }),
  ...each('Gemm MatMul Einsum Attention', { kind: 'matmul' }),
  ...each('LSTM GRU RNN', { kind: 'recurrent' }),
  ...each('Gather', { kind: 'embedding' }),
  ...each('Add Sum', join('Add')),
  ...each('Mul', join('Mul')),
  ...each('Concat', join('Concat')),
  // sums and products in other words: with a constant they are left out like these
  ...each('Sub Div Where', join('other')),
  ...each('AveragePool', regular('Avgpool')),
  ...each('GlobalAveragePool ReduceMean', regular('Mean')),
  ...each('Pad', regular('Paddings')),
  ...each('Resize Upsample', regular('Identity')),
  ...each('SpaceToDepth', regular('SpaceToDepthND')),
  ...each('DepthToSpace', regular('DepthToSpaceND')),
  ...each('QuickGelu', regular('Swish')),
]);

const RESERVED: ReadonlyMap<string, Meaning> = new Map([
  ...each('LayerNormalization GroupNormalization InstanceNormalization RMSNormalization', regular('Reserved1')),
  ...each('LpNormalization MeanVarianceNormalization LRN SkipLayerNormalization', regular('Reserved1')),
  ...each('Softmax LogSoftmax Hardmax', regular('Reserved2')),
  ...each('ReduceMax Max Min GlobalMaxPool', regular('Reserved3')),
  ...each('Resize Upsample', regular('Reserved4')),
  ...each('Sub Div', join('Reserved5')),
]);
