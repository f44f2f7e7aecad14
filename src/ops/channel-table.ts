// Which channel rule each operator has (`domain:Operator` outside ai.onnx). Operators that are missing freeze what they touch.
import { multiHeadAttention, packedAttention, standardAttention } from './channel-rules-attention.js';
import { convolution, fusedConvolution, fusedMatMul, gemm, matMul, recurrent } from './channel-rules-contract.js';
import { depthToSpace, resized, sampled, spaceToDepth } from './channel-rules-image.js';
import {
  concatenated,
  cumulated,
  expanded,
  gathered,
  padded,
  reshaped,
  shapeOnly,
  sliced,
  splitted,
  tiled,
  transposed,
} from './channel-rules-movement.js';
import {
  channelsLast,
  convInteger,
  dynamicQuantizeLinear,
  dynamicQuantizeMatMul,
  matMulInteger,
  matMulIntegerToFloat,
  pooled,
  qGemm,
  qLinearBinary,
  qLinearConcat,
  qLinearConv,
  qLinearMatMul,
  qLinearWhere,
} from './channel-rules-quantized.js';
import { einsum } from './channel-rules-einsum.js';
import {
  alongAxis,
  elementwise,
  groupNorm,
  imageScaler,
  layerNorm,
  localResponse,
  pass,
  perChannel,
  quantized,
  reduction,
  spatial,
} from './channel-rules.js';
import type { ChannelRule } from './op.js';

const microsoft = 'com.microsoft:';
const passing =
  'Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish ' +
  'Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt ' +
  'Swish Tan Tanh ThresholdedRelu Scale ParametricSoftplus ScaledTanh';
const pointwise =
  'Add And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod ' +
  'Mul Or PRelu Pow Sub Sum Where Xor';
const sums = 'ReduceSum ReduceSumSquare ReduceL1 ReduceL2';
const statistics = 'ReduceMean ReduceMax ReduceMin ReduceProd ReduceLogSum ReduceLogSumExp ArgMax ArgMin';
const pools = 'AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool';

export const channelRules: ReadonlyMap<string, ChannelRule> = new Map<string, ChannelRule>([
  ...each(passing, pass),
  ...each(pointwise, elementwise),
  ...each(sums, reduction('sum')),
  ...each(statistics, reduction('statistic')),
  ...each(pools, spatial),
  ['BatchNormalization', perChannel([1, 2, 3, 4])],
  ['InstanceNormalization', perChannel([1, 2], 'whole')],
  ['GroupNormalization', groupNorm],
  ['LayerNormalization', layerNorm([1, 2])],
  ['RMSNormalization', layerNorm([1])],
  ['Softmax', alongAxis('axis', (opset) => (opset < 13 ? 1 : -1))],
  ['LogSoftmax', alongAxis('axis', (opset) => (opset < 13 ? 1 : -1))],
  ['Hardmax', alongAxis('axis', (opset) => (opset < 13 ? 1 : -1))],
  ['LpNormalization', alongAxis('axis', () => -1)],
  ['LRN', localResponse],
  ['ImageScaler', imageScaler],
  ['Einsum', einsum],
  ...each('QuantizeLinear DequantizeLinear', quantized),
  ['Conv', convolution()],
  ['ConvTranspose', convolution(true)],
  ['Gemm', gemm],
  ['MatMul', matMul],
  ['LSTM', recurrent(4)],
  ['GRU', recurrent(3)],
  ['RNN', recurrent(1)],
  ...each('Reshape Flatten Squeeze Unsqueeze', reshaped),
  ['Transpose', transposed],
  ['Expand', expanded],
  ['Tile', tiled],
  ['Concat', concatenated],
  ['Split', splitted],
  ['Slice', sliced],
  ['Pad', padded],
  ['Gather', gathered],
  ...each('Resize Upsample', resized),
  ['DepthToSpace', depthToSpace],
  ['SpaceToDepth', spaceToDepth],
  ...each('Shape Size', shapeOnly),
  ...each('GridSample RoiAlign', sampled),
  ['CumSum', cumulated],
  ['Attention', standardAttention],
  ['SimplifiedLayerNormalization', layerNorm([1])],
  ...each(`${microsoft}Gelu ${microsoft}QuickGelu`, pass),
  ...each(`${microsoft}FastGelu ${microsoft}BiasGelu`, elementwise),
  [`${microsoft}FusedConv`, fusedConvolution],
  [`${microsoft}FusedGemm`, gemm],
  [`${microsoft}FusedMatMul`, fusedMatMul],
  ['QLinearConv', qLinearConv],
  ['ConvInteger', convInteger],
  ['QLinearMatMul', qLinearMatMul],
  ['MatMulInteger', matMulInteger],
  ['DynamicQuantizeLinear', dynamicQuantizeLinear],
  ...each(`${microsoft}QuantizeLinear ${microsoft}DequantizeLinear`, quantized),
  ...each(`${microsoft}QLinearAdd ${microsoft}QLinearMul`, qLinearBinary),
  ...each(`${microsoft}QLinearSigmoid ${microsoft}QLinearLeakyRelu`, pass),
  [`${microsoft}QLinearSoftmax`, alongAxis('axis', () => -1)],
  [`${microsoft}QLinearConcat`, qLinearConcat],
  [`${microsoft}QLinearWhere`, qLinearWhere],
  ...each(`${microsoft}QLinearGlobalAveragePool ${microsoft}QLinearAveragePool`, pooled(channelsLast)),
  [`${microsoft}NhwcMaxPool`, pooled(() => true)],
  [`${microsoft}QGemm`, qGemm],
  [`${microsoft}MatMulIntegerToFloat`, matMulIntegerToFloat],
  [`${microsoft}DynamicQuantizeMatMul`, dynamicQuantizeMatMul],
  [`${microsoft}MultiHeadAttention`, multiHeadAttention],
  [`${microsoft}Attention`, packedAttention],
]);

function each(names: string, rule: ChannelRule): [string, ChannelRule][] {
  return names.split(' ').map((name) => [name, rule]);
}
