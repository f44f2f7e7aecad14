// shrink-kernel: a Conv keeps the middle of its kernel (5 x 5 -> 3 x 3, 3 x 3 -> 1 x 1) and every window its place; with knowledge the taps that
// stay take over what they can foretell of the others.
import { PareError } from '../../src/errors.js';
import { attrInts, attrString, intsAttribute, withAttributes } from '../../src/ir/graph.js';
import { windowsOf } from '../../src/recovery/layers.js';
import { restrict, type Restriction } from '../../src/recovery/restrict.js';
import type { Json } from '../genome.js';
import type { ModelEditor } from './edit.js';
import { layerMutation } from './layer-mutation.js';
import {
  constantTensorOf,
  gramOf,
  lazyTensor,
  numbersOf,
  openLayers,
  product,
  shiftBias,
  tensorCache,
  type OpenLayer,
} from './layers.js';
import type { Mutation, MutationContext, Place } from './mutation.js';
import { isCount } from './params.js';

const SHRINK_KERNEL = 'shrink-kernel';

interface ShrinkParams {
  readonly weight: string;
  readonly kernel: readonly number[];
}

export function shrinkKernel(): Mutation {
  const restricted = restricter();
  const places = (context: MutationContext): Place[] =>
    openLayers(context).flatMap((open) =>
      smallerKernels(open, context).map((kernel): Place => {
        const saving = open.macs * (1 - product(kernel) / open.layer.taps);
        const importance = context.knowledge?.importance(open.layer.output) ?? 1;
        return {
          params: { weight: open.layer.weight, kernel },
          site: open.layer.weight,
          saving: Math.round(saving),
          error: () => importance * restricted(open, kernel, context).error,
        };
      }),
    );
  return layerMutation<ShrinkParams>({
    name: SHRINK_KERNEL,
    summary: 'gives a convolution a smaller kernel around the same centre',
    form: '{"weight": name, "kernel": [lengths]}',
    read: readParams,
    places,
    change({ weight, kernel }, own, context, edit) {
      const known = smallerKernels(own, context);
      if (!known.some((k) => k.join() === kernel.join())) {
        const options = known.length === 0 ? 'none fits' : `possible: ${known.map((k) => k.join('x')).join(', ')}`;
        throw new PareError(`${SHRINK_KERNEL}: "${weight}" cannot have a kernel of ${kernel.join('x')}: ${options}`);
      }
      shrink(own, kernel, context, edit, restricted);
    },
  });
}

function readParams(record: { readonly [key: string]: Json }): ShrinkParams | undefined {
  const { weight, kernel } = record;
  // the cast: Array.isArray does not narrow readonly arrays
  const list = Array.isArray(kernel) ? (kernel as readonly Json[]).filter(isCount) : [];
  return typeof weight === 'string' && list.length > 0 ? { weight, kernel: list } : undefined;
}

/** Two taps less along all axes that have them, again and again. */
function smallerKernels(open: OpenLayer, context: MutationContext): number[][] {
  const { layer, kernel } = open;
  if (layer.kind !== 'conv') return [];
  const found: number[][] = [];
  for (let now = kernel; ;) {
    const next = now.map((k) => (k > 2 ? k - 2 : k));
    if (next.every((k, a) => k === now[a])) return found;
    if (windowAfter(open, next, context) !== undefined) found.push(next);
    now = next;
  }
}

interface SmallWindow {
  /** First tap that stays, by axis. */
  readonly from: readonly number[];
  readonly pads: readonly number[];
}

/** Padding with which every window keeps its place; undefined where that would be less than none, or where lengths are not known. */
function windowAfter(
  open: OpenLayer,
  kernel: readonly number[],
  { analysis }: MutationContext,
): SmallWindow | undefined {
  const { layer, node } = open;
  const type = analysis.openShapes.types.get(layer.input);
  const lengths = type?.kind === 'tensor' ? type.shape?.slice(2) : undefined;
  // SAME padding follows the input's lengths: those must not change from run to run
  const moves = attrString(node, 'auto_pad', 'NOTSET').startsWith('SAME');
  if (moves && lengths?.every((d) => typeof d === 'number') !== true) return undefined;
  const w = windowsOf(node, layer.dims, [1, open.channels, ...open.input]);
  const from: number[] = [];
  const begin: number[] = [];
  const end: number[] = [];
  for (const [a, k] of kernel.entries()) {
    const less = w.kernel[a]! - k;
    const first = Math.floor(less / 2);
    from.push(first);
    begin.push(w.begin[a]! - first * w.dilations[a]!);
    end.push(w.end[a]! - (less - first) * w.dilations[a]!);
  }
  const pads = [...begin, ...end];
  return pads.some((p) => p < 0) ? undefined : { from, pads };
}

/** Flat indices of the taps that stay. */
function keptTaps(old: readonly number[], kernel: readonly number[], from: readonly number[]): number[] {
  return Array.from({ length: product(kernel) }, (_, t) => {
    let [rest, flat, stride] = [t, 0, 1];
    for (let a = kernel.length - 1; a >= 0; a--) {
      flat += ((rest % kernel[a]!) + from[a]!) * stride;
      rest = Math.floor(rest / kernel[a]!);
      stride *= old[a]!;
    }
    return flat;
  });
}

type Restricter = (open: OpenLayer, kernel: readonly number[], context: MutationContext) => Restriction;

function restricter(): Restricter {
  const cached = tensorCache<Restriction>();
  return (open, kernel, context) =>
    cached(constantTensorOf(context, open.layer.weight), gramOf(open, context), kernel.join('x'), () => {
      const { from } = windowAfter(open, kernel, context)!;
      const taps = keptTaps(open.kernel, kernel, from);
      const keep = Array.from({ length: open.channels }, (_, c) => taps.map((t) => c * open.layer.taps + t)).flat();
      const rows = Array.from({ length: open.layer.outputs }, (_, o) => o);
      return restrict(numbersOf(open, context), [{ rows, keep }]);
    });
}

function shrink(
  open: OpenLayer,
  kernel: readonly number[],
  context: MutationContext,
  edit: ModelEditor,
  restricted: Restricter,
): void {
  const { layer, node, channels } = open;
  const { dataType } = constantTensorOf(context, layer.weight);
  const { pads } = windowAfter(open, kernel, context)!;
  const made = (): Restriction => restricted(open, kernel, context);
  const shift = gramOf(open, context) === undefined ? undefined : (): Float64Array => made().shift;
  const bias = shiftBias(open, context, edit, dataType, shift);
  edit.change(lazyTensor(layer.weight, dataType, [layer.outputs, channels, ...kernel], () => made().weights[0]!));
  const smaller = withAttributes(node, {
    kernel_shape: intsAttribute('kernel_shape', kernel),
    auto_pad: undefined,
    pads: attrInts(node, 'pads') === undefined && pads.every((p) => p === 0) ? undefined : intsAttribute('pads', pads),
  });
  edit.replace(layer.node, [
    { ...smaller, inputs: bias === '' ? [layer.input, layer.weight] : [layer.input, layer.weight, bias] },
  ]);
}
