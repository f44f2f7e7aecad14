// Spatial windows: how Conv, ConvTranspose and pooling turn input lengths into output lengths. https://onnx.ai/onnx/operators/onnx__Conv.html
import { attrInt, attrInts, attrString } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import type { ShapeContext } from './op.js';
import { contradiction, showShape } from './rules.js';

export interface Window {
  readonly kernel: readonly Dim[];
  readonly strides: readonly number[] | undefined;
  readonly dilations: readonly number[] | undefined;
  /** Begins, then ends. */
  readonly pads: readonly number[] | undefined;
  readonly autoPad: string;
}

/** Reads the node's attributes; `kernel` has one entry per spatial axis. */
export function windowOf(ctx: ShapeContext, kernel: readonly Dim[]): Window {
  const window: Window = {
    kernel,
    strides: attrInts(ctx.node, 'strides'),
    dilations: attrInts(ctx.node, 'dilations'),
    pads: attrInts(ctx.node, 'pads'),
    autoPad: attrString(ctx.node, 'auto_pad', 'NOTSET'),
  };
  expectLength(ctx, 'strides', window.strides, kernel.length);
  expectLength(ctx, 'dilations', window.dilations, kernel.length);
  expectLength(ctx, 'pads', window.pads, 2 * kernel.length);
  return window;
}

/** Output lengths of a window that slides over `spatial`. */
export function slide(ctx: ShapeContext, spatial: readonly Dim[], window: Window, ceil = false): Dim[] {
  const n = spatial.length;
  const out: Dim[] = [];
  for (let k = 0; k < n; k++) {
    const length = spatial[k];
    const kernel = window.kernel[k];
    const stride = window.strides?.[k] ?? 1;
    if (typeof length !== 'number') {
      out.push(undefined);
    } else if (window.autoPad === 'SAME_UPPER' || window.autoPad === 'SAME_LOWER') {
      out.push(Math.ceil(length / stride));
    } else if (typeof kernel !== 'number') {
      out.push(undefined);
    } else {
      const extent = (kernel - 1) * (window.dilations?.[k] ?? 1) + 1;
      const padded = window.autoPad === 'VALID' ? 0 : (window.pads?.[k] ?? 0) + (window.pads?.[k + n] ?? 0);
      const room = length + padded - extent;
      if (room < 0 && length > 0) {
        contradiction(
          ctx,
          `a window of ${extent} does not fit the input ${showShape(spatial)} with padding ${padded} (spatial axis ${k})`,
        );
      }
      let steps = ceil ? Math.ceil(room / stride) : Math.floor(room / stride);
      // a window that would start beyond the data and the padding before it is left out
      const before = window.autoPad === 'VALID' ? 0 : (window.pads?.[k] ?? 0);
      if (ceil && steps * stride >= length + before) steps--;
      out.push(Math.max(steps + 1, 0));
    }
  }
  return out;
}

/** Output lengths of a transposed window (ConvTranspose, MaxUnpool). */
export function unslide(spatial: readonly Dim[], window: Window, outputPadding?: readonly number[]): Dim[] {
  const n = spatial.length;
  return spatial.map((length, k) => {
    const kernel = window.kernel[k];
    const stride = window.strides?.[k] ?? 1;
    if (typeof length !== 'number') return undefined;
    if (window.autoPad === 'SAME_UPPER' || window.autoPad === 'SAME_LOWER') return length * stride;
    if (typeof kernel !== 'number') return undefined;
    const extent = (kernel - 1) * (window.dilations?.[k] ?? 1) + 1;
    const padded = window.autoPad === 'VALID' ? 0 : (window.pads?.[k] ?? 0) + (window.pads?.[k + n] ?? 0);
    return stride * (length - 1) + (outputPadding?.[k] ?? 0) + extent - padded;
  });
}

/** Group count of a Conv-like node. */
export function groupOf(ctx: ShapeContext): number {
  return attrInt(ctx.node, 'group', 1);
}

function expectLength(ctx: ShapeContext, name: string, values: readonly number[] | undefined, length: number): void {
  if (values !== undefined && values.length !== length) {
    contradiction(ctx, `${name} has ${values.length} entries, but ${length} are needed for ${showShape(values)}`);
  }
}
