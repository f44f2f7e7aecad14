// Which form of a convolution's gradients is fastest in onnxruntime, per shape, all forms in the same run: CPU milliseconds of one thread (so that
// other work on the machine does not count), the best of several rounds.
// `npm run bench -- conv-gradient [BATCH [ROUNDS]]`. The choice is made in src/ops/gradient-conv.ts.

import { graphBuilder, type GraphBuilder } from '../src/ir/builder.js';
import { DataType } from '../src/ir/tensor.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, type RuntimeTensor, type Session } from '../src/runtime/runtime.js';

interface Layer {
  readonly channels: number;
  readonly filters: number;
  readonly length: number;
  readonly kernel: number;
  readonly stride: number;
  readonly group: number;
}

const layer = (
  channels: number,
  filters: number,
  length: number,
  kernel: number,
  stride: number,
  group = 1,
): Layer => ({
  channels,
  filters,
  length,
  kernel,
  stride,
  group,
});

/** ResNet-20's and MobileNetV2's kinds of layers on CIFAR images, and one of ImageNet's. */
const layers: readonly Layer[] = [
  layer(3, 16, 32, 3, 1),
  layer(16, 16, 32, 3, 1),
  layer(16, 32, 32, 3, 2),
  layer(32, 32, 16, 3, 1),
  layer(64, 64, 8, 3, 1),
  layer(128, 128, 8, 3, 1),
  layer(16, 96, 32, 1, 1),
  layer(96, 16, 32, 1, 1),
  layer(192, 64, 8, 1, 1),
  layer(64, 128, 16, 1, 2),
  layer(48, 48, 32, 3, 1, 48),
  layer(96, 96, 16, 3, 2, 96),
  layer(192, 192, 8, 3, 1, 192),
  layer(64, 64, 16, 3, 1, 4),
  layer(32, 64, 16, 3, 2),
  layer(64, 64, 16, 3, 1),
  layer(64, 128, 16, 3, 2),
  layer(16, 16, 16, 5, 1),
  layer(128, 512, 8, 1, 1),
  layer(512, 512, 4, 1, 1),
  layer(96, 96, 8, 5, 2, 96),
];

interface Sizes extends Layer {
  readonly batch: number;
  readonly pad: number;
  readonly out: number;
}

type Form = (b: GraphBuilder, s: Sizes) => string | undefined;

const taps = (k: number): (readonly [number, number])[] =>
  Array.from({ length: k * k }, (_, t) => [Math.floor(t / k), t % k] as const);

function padded(b: GraphBuilder, name: string, s: Sizes): string {
  return s.pad === 0 ? name : b.op('Pad', [name, b.ints([0, 0, s.pad, s.pad, 0, 0, s.pad, s.pad])]);
}

function tap(b: GraphBuilder, wide: string, s: Sizes, [y, x]: readonly [number, number]): string {
  const span = (s.out - 1) * s.stride + 1;
  return b.op('Slice', [
    wide,
    b.ints([y, x]),
    b.ints([y + span, x + span]),
    b.ints([2, 3]),
    b.ints([s.stride, s.stride]),
  ]);
}

/** Channels first, taps stacked, one Gemm over all images. */
const gemm: Form = (b, s) => {
  if (s.group !== 1) return undefined;
  const flat = s.batch * s.out * s.out;
  const wide = padded(b, b.op('Transpose', ['x'], { perm: [1, 0, 2, 3] }), s);
  const parts = s.kernel === 1 && s.stride === 1 ? [wide] : taps(s.kernel).map((t) => tap(b, wide, s, t));
  const stack = parts.length === 1 ? parts[0]! : b.op('Concat', parts, { axis: 0 });
  const rows = b.op('Reshape', [stack, b.ints([s.kernel * s.kernel * s.channels, flat])]);
  const g = b.op('Reshape', [b.op('Transpose', ['g'], { perm: [1, 0, 2, 3] }), b.ints([s.filters, flat])]);
  const product = b.op('Gemm', [g, rows], { transB: 1 });
  const apart = b.op('Reshape', [product, b.ints([s.filters, s.kernel * s.kernel, s.channels])]);
  return b.op('Reshape', [
    b.op('Transpose', [apart], { perm: [0, 2, 1] }),
    b.ints([s.filters, s.channels, s.kernel, s.kernel]),
  ]);
};

/** One small product per image, summed over images. */
const perImage: Form = (b, s) => {
  if (s.group !== 1) return undefined;
  const wide = padded(b, 'x', s);
  const parts = s.kernel === 1 && s.stride === 1 ? [wide] : taps(s.kernel).map((t) => tap(b, wide, s, t));
  const stack = parts.length === 1 ? parts[0]! : b.op('Concat', parts, { axis: 1 });
  const columns = b.op('Reshape', [stack, b.ints([s.batch, s.kernel * s.kernel * s.channels, s.out * s.out])]);
  const g = b.op('Reshape', ['g', b.ints([s.batch, s.filters, s.out * s.out])]);
  const product = b.op('MatMul', [g, b.op('Transpose', [columns], { perm: [0, 2, 1] })]);
  const sum = b.op('ReduceSum', [product, b.ints([0])], { keepdims: 0 });
  const apart = b.op('Reshape', [sum, b.ints([s.filters, s.kernel * s.kernel, s.channels])]);
  return b.op('Reshape', [
    b.op('Transpose', [apart], { perm: [0, 2, 1] }),
    b.ints([s.filters, s.channels, s.kernel, s.kernel]),
  ]);
};

/** A Conv whose images are channels, whose filters are the output gradient, whose stride is the dilation; groups side by side. */
const swapped: Form = (b, s) => {
  const per = s.channels / s.group;
  const apart = b.op('Reshape', ['x', b.ints([s.batch, s.group, per, s.length, s.length])]);
  const turned = b.op('Transpose', [apart], { perm: [2, 1, 0, 3, 4] });
  const x = b.op('Reshape', [turned, b.ints([per, s.group * s.batch, s.length, s.length])]);
  const g = b.op('Transpose', ['g'], { perm: [1, 0, 2, 3] });
  const made = b.op('Conv', [x, g], {
    group: s.group,
    pads: [s.pad, s.pad, s.pad, s.pad],
    dilations: [s.stride, s.stride],
  });
  const all = s.length + 2 * s.pad - (s.out - 1) * s.stride;
  const cut =
    all === s.kernel ? made : b.op('Slice', [made, b.ints([0, 0]), b.ints([s.kernel, s.kernel]), b.ints([2, 3])]);
  return b.op('Transpose', [cut], { perm: [1, 0, 2, 3] });
};

/** Stride 1: on padded rows laid end to end a tap is an offset, so unfolding copies whole channels. */
const offsets: Form = (b, s) => {
  if (s.group !== 1 || s.stride !== 1 || s.kernel === 1) return undefined;
  const wide = s.length + 2 * s.pad;
  const flat = s.batch * wide * wide;
  const x = b.op('Reshape', [
    padded(b, b.op('Transpose', ['x'], { perm: [1, 0, 2, 3] }), s),
    b.ints([s.channels, flat]),
  ]);
  const gap = wide - s.out;
  const g = b.op('Pad', [b.op('Transpose', ['g'], { perm: [1, 0, 2, 3] }), b.ints([0, 0, 0, 0, 0, 0, gap, gap])]);
  const reach = (s.kernel - 1) * (wide + 1);
  const used = flat - reach;
  const rows = b.op('Slice', [
    b.op('Reshape', [g, b.ints([s.filters, flat])]),
    b.ints([0]),
    b.ints([used]),
    b.ints([1]),
  ]);
  const parts = taps(s.kernel).map(([y, z]) => {
    const at = y * wide + z;
    return b.op('Slice', [x, b.ints([at]), b.ints([at + used]), b.ints([1])]);
  });
  const product = b.op('Gemm', [rows, b.op('Concat', parts, { axis: 0 })], { transB: 1 });
  const apart = b.op('Reshape', [product, b.ints([s.filters, s.kernel * s.kernel, s.channels])]);
  return b.op('Reshape', [
    b.op('Transpose', [apart], { perm: [0, 2, 1] }),
    b.ints([s.filters, s.channels, s.kernel, s.kernel]),
  ]);
};

/** Depthwise: product and sum, tap by tap. */
const products: Form = (b, s) => {
  if (s.group !== s.channels || s.filters !== s.channels) return undefined;
  const wide = padded(b, 'x', s);
  const rows = taps(s.kernel).map((t) => {
    const sum = b.op('ReduceSum', [b.op('Mul', ['g', tap(b, wide, s, t)]), b.ints([0, 2, 3])], { keepdims: 0 });
    return b.op('Reshape', [sum, b.ints([s.channels, 1])]);
  });
  return b.op('Reshape', [b.op('Concat', rows, { axis: 1 }), b.ints([s.filters, 1, s.kernel, s.kernel])]);
};

/** Groups side by side: in each, the gradient [M / group, N P] times the taps [N P, taps C / group]. */
const batched: Form = (b, s) => {
  if (s.group === 1) return undefined;
  const [per, each] = [s.channels / s.group, s.filters / s.group];
  const flat = s.batch * s.out * s.out;
  const wide = padded(b, b.op('Transpose', ['x'], { perm: [1, 0, 2, 3] }), s);
  const parts = taps(s.kernel).map((t) => b.op('Reshape', [tap(b, wide, s, t), b.ints([s.group, per, flat])]));
  const stack = b.op('Concat', parts, { axis: 1 });
  const g = b.op('Reshape', [b.op('Transpose', ['g'], { perm: [1, 0, 2, 3] }), b.ints([s.group, each, flat])]);
  const product = b.op('MatMul', [g, b.op('Transpose', [stack], { perm: [0, 2, 1] })]);
  const apart = b.op('Reshape', [product, b.ints([s.filters, s.kernel * s.kernel, per])]);
  return b.op('Reshape', [
    b.op('Transpose', [apart], { perm: [0, 2, 1] }),
    b.ints([s.filters, per, s.kernel, s.kernel]),
  ]);
};

/**
 * Stride 1: only columns of the input are shifted; rows are met by putting the gradient between rows of zeros. kernel instead of kernel^2
 * copies of each, for rows of zeros in the product. `all`: one Gemm over all images, channels first.
 */
const shifted =
  (all: boolean, negative: boolean): Form =>
  (b, s) => {
    if (s.group !== 1 || s.stride !== 1 || s.kernel === 1) return undefined;
    const k = s.kernel;
    const rows = s.out + k - 1;
    const name = (n: string): string => (all ? b.op('Transpose', [n], { perm: [1, 0, 2, 3] }) : n);
    const [x, g] = [name('x'), name('g')];
    const axis = all ? 0 : 1;
    const each = Array.from({ length: k }, (_, i) => i);
    const wide = negative ? x : padded(b, x, s);
    const columns = each.map((at) =>
      negative
        ? b.op('Pad', [x, b.ints([0, 0, s.pad, s.pad - at, 0, 0, s.pad, at + s.out - s.pad - s.length])])
        : b.op('Slice', [wide, b.ints([at]), b.ints([at + s.out]), b.ints([3])]),
    );
    const moved = each.map((at) => b.op('Pad', [g, b.ints([0, 0, at, 0, 0, 0, k - 1 - at, 0])]));
    const flat = (parts: string[], channels: number): string =>
      b.op('Reshape', [
        b.op('Concat', parts, { axis }),
        b.ints(all ? [k * channels, s.batch * rows * s.out] : [s.batch, k * channels, rows * s.out]),
      ]);
    const [left, right] = [flat(moved, s.filters), flat(columns, s.channels)];
    const product = all
      ? b.op('Gemm', [left, right], { transB: 1 })
      : b.op('ReduceSum', [b.op('MatMul', [left, b.op('Transpose', [right], { perm: [0, 2, 1] })]), b.ints([0])], {
          keepdims: 0,
        });
    const apart = b.op('Reshape', [product, b.ints([k, s.filters, k, s.channels])]);
    return b.op('Transpose', [apart], { perm: [1, 3, 0, 2] });
  };

const transposedConv: Form = (b, s) => {
  const missing = s.length - ((s.out - 1) * s.stride + s.kernel - 2 * s.pad);
  return b.op('ConvTranspose', ['g', 'w'], {
    group: s.group,
    pads: [s.pad, s.pad, s.pad, s.pad],
    strides: [s.stride, s.stride],
    ...(missing > 0 ? { output_padding: [missing, missing] } : {}),
  });
};

/** A plain Conv of the gradient (with zeros between its values where the stride asks for them) with the filters turned round. */
const flippedConv: Form = (b, s) => {
  const [per, each] = [s.channels / s.group, s.filters / s.group];
  let g = 'g';
  const k = s.kernel;
  let after = k - 1 - s.pad;
  if (s.stride > 1) {
    const apart = b.op('Reshape', [g, b.ints([s.batch, s.filters, s.out, 1, s.out, 1])]);
    const wide = b.op('Pad', [apart, b.ints([0, 0, 0, 0, 0, 0, 0, 0, 0, s.stride - 1, 0, s.stride - 1])]);
    g = b.op('Reshape', [wide, b.ints([s.batch, s.filters, s.out * s.stride, s.out * s.stride])]);
    after = s.length - 1 + s.pad - (s.out * s.stride - 1);
  }
  const turn =
    k === 1
      ? 'w'
      : b.op('Slice', ['w', b.ints([-1, -1]), b.ints([-(2 ** 31), -(2 ** 31)]), b.ints([2, 3]), b.ints([-1, -1])]);
  const groups = b.op('Reshape', [turn, b.ints([s.group, each, per, k, k])]);
  const filters = b.op('Reshape', [
    b.op('Transpose', [groups], { perm: [0, 2, 1, 3, 4] }),
    b.ints([s.channels, each, k, k]),
  ]);
  const before = k - 1 - s.pad;
  if (before < 0 || after < 0) return undefined;
  return b.op('Conv', [g, filters], { group: s.group, pads: [before, before, after, after] });
};

const forms: readonly (readonly [string, 'weights' | 'input', Form])[] = [
  ['gemm', 'weights', gemm],
  ['per image', 'weights', perImage],
  ['swapped', 'weights', swapped],
  ['offsets', 'weights', offsets],
  ['products', 'weights', products],
  ['batched', 'weights', batched],
  ['shifted per image', 'weights', shifted(false, false)],
  ['shifted by pads', 'weights', shifted(false, true)],
  ['shifted over all', 'weights', shifted(true, false)],
  ['ConvTranspose', 'input', transposedConv],
  ['flipped Conv', 'input', flippedConv],
];

export async function run(args: string[]): Promise<void> {
  const batch = Number(args[0] ?? 64);
  const rounds = Number(args[1] ?? 5);
  const runtime = ortRuntime();
  const rng = createRng('conv-gradient');
  for (const l of layers) {
    const s: Sizes = { ...l, batch, pad: Math.floor(l.kernel / 2), out: Math.ceil(l.length / l.stride) };
    const dims = {
      x: [batch, s.channels, s.length, s.length],
      g: [batch, s.filters, s.out, s.out],
      w: [s.filters, s.channels / s.group, s.kernel, s.kernel],
    };
    const feeds = new Map<string, RuntimeTensor>(
      Object.entries(dims).map(([name, d]) => {
        const r = rng.fork(name);
        return [
          name,
          floatData(
            d,
            Float32Array.from({ length: d.reduce((a, b) => a * b, 1) }, () => r.next() - 0.5),
          ),
        ];
      }),
    );
    const found: { name: string; kind: string; session: Session; used: string[]; best: number; data: Float32Array }[] =
      [];
    const all: (readonly [string, string, Form])[] = [
      ...forms,
      [
        'forward',
        'forward',
        (b) =>
          b.op('Conv', ['x', 'w'], {
            group: s.group,
            pads: [s.pad, s.pad, s.pad, s.pad],
            strides: [s.stride, s.stride],
          }),
      ],
    ];
    for (const [name, kind, form] of all) {
      const b = graphBuilder({ opset: 17 });
      const used = kind === 'weights' ? ['x', 'g'] : kind === 'input' ? ['g', 'w'] : ['x', 'w'];
      for (const input of used) b.input(input, DataType.FLOAT, dims[input === 'x' ? 'x' : input === 'g' ? 'g' : 'w']);
      const output = form(b, s);
      if (output === undefined) continue;
      b.output(output);
      const session = await runtime.load(b.model(), { intraOpThreads: 1 });
      found.push({ name, kind, session, used, best: Infinity, data: new Float32Array(0) });
    }
    for (let r = 0; r < rounds; r++) {
      for (const f of found) {
        const start = process.cpuUsage();
        const result = await f.session.run(new Map(f.used.map((n) => [n, feeds.get(n)!])));
        const spent = process.cpuUsage(start);
        f.best = Math.min(f.best, (spent.user + spent.system) / 1000);
        // the cast: every form gives one FLOAT output
        f.data = [...result.values()][0]!.data as Float32Array;
      }
    }
    console.log(
      `${s.channels} -> ${s.filters}, ${s.length}x${s.length}, kernel ${s.kernel}, stride ${s.stride}, group ${s.group}`,
    );
    for (const kind of ['forward', 'weights', 'input']) {
      const those = found.filter((f) => f.kind === kind);
      const reference = those[0]?.data ?? new Float32Array(0);
      const off = (d: Float32Array): number => d.reduce((m, v, i) => Math.max(m, Math.abs(v - reference[i]!)), 0);
      const scale = reference.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      const text = those.map((f) => {
        const wrong = f.data.length !== reference.length || off(f.data) > 1e-3 * scale ? ' WRONG' : '';
        return `${f.name} ${f.best.toFixed(1)}${wrong}`;
      });
      console.log(`  ${kind.padEnd(8)} ${text.join(' · ')}`);
    }
    for (const f of found) await f.session.release();
  }
  await runtime.close();
}
