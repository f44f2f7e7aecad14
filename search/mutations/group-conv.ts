// group-conv: a dense Conv becomes a grouped one; channels stay where they are, so group g of the outputs sees group g of the inputs only.
// With knowledge the channels that it still sees take over what they can foretell of the others.
import { PareError } from '../../src/errors.js';
import { intAttribute, withAttributes } from '../../src/ir/graph.js';
import { restrict, type Part, type Restriction } from '../../src/recovery/restrict.js';
import type { Json } from '../genome.js';
import type { ModelEditor } from './edit.js';
import { layerMutation } from './layer-mutation.js';
import {
  constantTensorOf,
  gramOf,
  lazyTensor,
  numbersOf,
  openLayers,
  shiftBias,
  tensorCache,
  type OpenLayer,
} from './layers.js';
import type { Mutation, MutationContext, Place } from './mutation.js';
import { isCount } from './params.js';

const GROUP_CONV = 'group-conv';

interface GroupParams {
  readonly weight: string;
  readonly group: number;
}

export function groupConv(): Mutation {
  const restricted = restricter();
  const places = (context: MutationContext): Place[] =>
    openLayers(context).flatMap((open) =>
      groupCounts(open, context).map((group): Place => {
        const importance = context.knowledge?.importance(open.layer.output) ?? 1;
        return {
          params: { weight: open.layer.weight, group },
          site: open.layer.weight,
          saving: open.macs - open.macs / group,
          error: () => importance * restricted(open, group, context).error,
        };
      }),
    );
  return layerMutation<GroupParams>({
    name: GROUP_CONV,
    summary: 'splits a dense convolution into groups of channels',
    form: '{"weight": name, "group": number}',
    read: readParams,
    places,
    change({ weight, group }, own, context, edit) {
      if (!groupCounts(own, context).includes(group)) {
        throw new PareError(
          `${GROUP_CONV}: "${weight}" of ${own.channels} to ${own.layer.outputs} channels does not split into ${group} groups here`,
        );
      }
      split(own, group, context, edit, restricted);
    },
  });
}

function readParams(record: { readonly [key: string]: Json }): GroupParams | undefined {
  const { weight, group } = record;
  return typeof weight === 'string' && isCount(group) ? { weight, group } : undefined;
}

/** Divisors of both widths, within the limit on what may be lost. */
function groupCounts({ layer, channels, macs }: OpenLayer, { maxRatio }: MutationContext): number[] {
  if (layer.kind !== 'conv') return [];
  const found: number[] = [];
  for (let g = 2; g <= Math.min(channels, layer.outputs); g++) {
    if (channels % g === 0 && layer.outputs % g === 0 && macs / g >= (1 - maxRatio) * macs - 1e-9) found.push(g);
  }
  return found;
}

/** One part for each group. */
function partsOf({ layer, channels }: OpenLayer, group: number): Part[] {
  const [rows, width] = [layer.outputs / group, (channels / group) * layer.taps];
  return Array.from({ length: group }, (_, g) => ({
    rows: Array.from({ length: rows }, (__, i) => g * rows + i),
    keep: Array.from({ length: width }, (__, i) => g * width + i),
  }));
}

type Restricter = (open: OpenLayer, group: number, context: MutationContext) => Restriction;

function restricter(): Restricter {
  const cached = tensorCache<Restriction>();
  return (open, group, context) =>
    cached(constantTensorOf(context, open.layer.weight), gramOf(open, context), `${group}`, () =>
      restrict(numbersOf(open, context), partsOf(open, group)),
    );
}

function split(
  open: OpenLayer,
  group: number,
  context: MutationContext,
  edit: ModelEditor,
  restricted: Restricter,
): void {
  const { layer, node, channels, kernel } = open;
  const { dataType } = constantTensorOf(context, layer.weight);
  const made = (): Restriction => restricted(open, group, context);
  const shift = gramOf(open, context) === undefined ? undefined : (): Float64Array => made().shift;
  const bias = shiftBias(open, context, edit, dataType, shift);
  const values = (): Float64Array => {
    const out = new Float64Array((layer.outputs * channels * layer.taps) / group);
    let at = 0;
    for (const part of made().weights) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  };
  edit.change(lazyTensor(layer.weight, dataType, [layer.outputs, channels / group, ...kernel], values));
  const grouped = withAttributes(node, { group: intAttribute('group', group) });
  edit.replace(layer.node, [
    { ...grouped, inputs: bias === '' ? [layer.input, layer.weight] : [layer.input, layer.weight, bias] },
  ]);
}
