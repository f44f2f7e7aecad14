// Classical models, domain ai.onnx.ml: scalers, encoders, linear models, support vectors, trees.
// https://onnx.ai/onnx/operators/index.html#ai-onnx-ml
import { attrInt, attrInts, attrString, type Dim, type ValueType } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { sameShape, tensorType } from './rules.js';
import { entries, sameAs, type Dims } from './types.js';

/** Rows of input 0: a vector is one row. */
function rowsOf(ctx: ShapeContext): Dim {
  const dims = ctx.shape(0);
  return dims?.length === 1 ? 1 : dims?.[0];
}

function length(ctx: ShapeContext, names: readonly string[]): number | undefined {
  for (const name of names) {
    const a = ctx.node.attributes.get(name);
    if (a?.kind === 'floats' || a?.kind === 'ints' || a?.kind === 'strings') return a.value.length;
    if (a?.kind === 'tensor') return a.value.dims[0];
  }
  return undefined;
}

const outcome = (ctx: ShapeContext, columns: Dim): ValueType => tensorType(DataType.FLOAT, [rowsOf(ctx), columns]);

/** Labels and one score per class. */
function classifier(integers: string): ShapeRule {
  const labels: readonly (readonly [string, number])[] = [
    ['classlabels_strings', DataType.STRING],
    [integers, DataType.INT64],
  ];
  return (ctx) => {
    const found = labels.find(([name]) => ctx.node.attributes.has(name));
    const classes = found && length(ctx, [found[0]]);
    const label = tensorType(found?.[1] ?? DataType.INT64, [rowsOf(ctx)]);
    return [label, outcome(ctx, classes)];
  };
}

const regressor: ShapeRule = (ctx) => [outcome(ctx, attrInt(ctx.node, 'targets') ?? attrInt(ctx.node, 'n_targets', 1))];

/** Columns chosen from the last axis. */
const arrayFeatureExtractor: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const chosen = ctx.shape(1);
  if (dims === undefined) return [tensorType(ctx.elemType(0), undefined)];
  const lead: Dims = dims.length === 1 ? [1] : dims.slice(0, -1);
  return [tensorType(ctx.elemType(0), [...lead, chosen?.at(-1)])];
};

const labelEncoder: ShapeRule = (ctx) => {
  const types: readonly (readonly [string, number])[] = [
    ['values_strings', DataType.STRING],
    ['values_int64s', DataType.INT64],
    ['values_floats', DataType.FLOAT],
  ];
  const tensor = ctx.node.attributes.get('values_tensor');
  if (tensor?.kind === 'tensor') return [tensorType(tensor.value.dataType, ctx.shape(0))];
  const found = types.find(([name]) => ctx.node.attributes.has(name))?.[1];
  // version 1 maps strings to numbers and numbers to strings
  const swapped = ctx.elemType(0) === DataType.STRING ? DataType.INT64 : DataType.STRING;
  return [tensorType(found ?? swapped, ctx.shape(0))];
};

const categoryMapper: ShapeRule = (ctx) => [
  tensorType(ctx.elemType(0) === DataType.STRING ? DataType.INT64 : DataType.STRING, ctx.shape(0)),
];

const oneHotEncoder: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  return [tensorType(DataType.FLOAT, dims && [...dims, length(ctx, ['cats_int64s', 'cats_strings'])])];
};

const featureVectorizer: ShapeRule = (ctx) => {
  const widths = attrInts(ctx.node, 'inputdimensions');
  return [
    outcome(
      ctx,
      widths?.reduce((a, b) => a + b, 0),
    ),
  ];
};

const CAST_MAP: Readonly<Record<string, number>> = {
  TO_FLOAT: DataType.FLOAT,
  TO_STRING: DataType.STRING,
  TO_INT64: DataType.INT64,
};

const castMap: ShapeRule = (ctx) => {
  const dense = attrString(ctx.node, 'map_form', 'DENSE') === 'DENSE';
  const width = dense ? undefined : attrInt(ctx.node, 'max_map');
  return [tensorType(CAST_MAP[attrString(ctx.node, 'cast_to', 'TO_FLOAT')] ?? 0, [1, width])];
};

const dictVectorizer: ShapeRule = (ctx) => {
  const t = ctx.type(0);
  const value = t?.kind === 'map' && t.value?.kind === 'tensor' ? t.value.elemType : 0;
  return [tensorType(value, [1, length(ctx, ['string_vocabulary', 'int64_vocabulary'])])];
};

const zipMap: ShapeRule = (ctx) => {
  const keyType = ctx.node.attributes.has('classlabels_strings') ? DataType.STRING : DataType.INT64;
  return [{ kind: 'sequence', elem: { kind: 'map', keyType, value: tensorType(DataType.FLOAT, []) } }];
};

const domain = 'ai.onnx.ml';

export const mlOps: readonly OpDef[] = [
  ...entries(['Binarizer', 'Imputer'], { domain, category: 'other', shape: sameAs(0) }),
  ...entries(['Normalizer', 'Scaler'], { domain, category: 'other', shape: sameShape(DataType.FLOAT) }),
  { opType: 'ArrayFeatureExtractor', domain, category: 'movement', shape: arrayFeatureExtractor },
  { opType: 'LabelEncoder', domain, category: 'other', shape: labelEncoder },
  { opType: 'CategoryMapper', domain, category: 'other', shape: categoryMapper },
  { opType: 'OneHotEncoder', domain, category: 'other', shape: oneHotEncoder },
  { opType: 'FeatureVectorizer', domain, category: 'movement', shape: featureVectorizer },
  { opType: 'CastMap', domain, category: 'other', shape: castMap },
  { opType: 'DictVectorizer', domain, category: 'other', shape: dictVectorizer },
  { opType: 'ZipMap', domain, category: 'other', shape: zipMap },
  ...entries(['LinearClassifier', 'SVMClassifier'], {
    domain,
    category: 'other',
    shape: classifier('classlabels_ints'),
  }),
  { opType: 'TreeEnsembleClassifier', domain, category: 'other', shape: classifier('classlabels_int64s') },
  ...entries(['LinearRegressor', 'SVMRegressor', 'TreeEnsembleRegressor'], {
    domain,
    category: 'other',
    shape: regressor,
  }),
  {
    opType: 'TreeEnsemble',
    domain,
    category: 'other',
    shape: (ctx) => [tensorType(ctx.elemType(0), [rowsOf(ctx), attrInt(ctx.node, 'n_targets')])],
  },
];
