// Does the data fit the network? A wrong scale, mean, layout or channel order shows as an implausible accuracy or output
// distribution of the original network; other ways to prepare the same samples are tried, and the one that works is named.
import type { Dataset } from '../data/dataset.js';
import { chunksOf } from '../data/batches.js';
import type { Preprocessing } from '../data/manifest.js';
import { PareError } from '../errors.js';
import { floatsOf, type Session } from '../runtime/runtime.js';
import { safeBatch } from './evaluate.js';
import { areProbabilities, argmax, isClassifier, judgedOutput, rowLength, rowsOf, softmax } from './outputs.js';
import { proportion } from './statistics.js';

export interface CheckOptions {
  /** Samples to look at (64; 32 when they are large). */
  readonly samples?: number;
  /** The samples may be at most these; all when absent. */
  readonly indices?: readonly number[];
}

/** Fewer images than this measure nothing well. */
const FEW = 100;

/** Sentences about what looks wrong, most important first; empty when nothing does. Labels out of range are an error. */
export async function checkData(
  original: Session,
  dataset: Dataset,
  options: CheckOptions = {},
): Promise<readonly string[]> {
  const all = options.indices ?? Array.from({ length: dataset.size }, (_, i) => i);
  const indices = spread(all, options.samples ?? (sampleLength(dataset) > 50_000 ? 32 : 64));
  const findings = inputFindings(dataset, indices);
  if (all.length < FEW) {
    const width = dataset.labels === undefined ? 'a metric' : 'an accuracy';
    findings.push(
      `data ${dataset.name}: only ${all.length} samples: ${width} measured on them is good to ${accuracyWidth(all.length)} points at best; use some hundreds`,
    );
  }
  const batch = await safeBatch(original, dataset, indices, 32);
  const view = await look(original, dataset, indices, batch);
  if (view === undefined) return findings;
  labelFindings(dataset, view, findings);
  if (view.nonFinite > 0) {
    findings.unshift(
      `data ${dataset.name}: the original network gives values that are not finite for ${view.nonFinite} of ${indices.length} samples; look at "scale", "mean" and "std"`,
    );
  }
  const wrong = await preparationFinding(original, dataset, indices, batch, view);
  if (wrong !== undefined) findings.unshift(wrong);
  return findings;
}

// --- the inputs ----------------------------------------------------------------------------------------------------------

function inputFindings(dataset: Dataset, indices: readonly number[]): string[] {
  const findings: string[] = [];
  for (const [name, t] of dataset.batch(indices).inputs) {
    const n = indices.length;
    const width = rowLength(t, n);
    if (width === undefined || width < 2 || typeof t.data[0] === 'string') continue;
    const row = rowsOf(t, width);
    let constant = 0;
    let broken = 0;
    const seen = new Set<string>();
    for (let i = 0; i < n; i++) {
      const values = row(i);
      if (values.some((v) => !Number.isFinite(v))) broken++;
      else if (values.every((v) => v === values[0])) constant++;
      seen.add(sketch(values));
    }
    const where = `data ${dataset.name}, input "${name}"`;
    if (broken > 0) findings.push(`${where}: ${broken} of ${n} samples hold values that are not finite`);
    if (constant > 0)
      findings.push(`${where}: ${constant} of ${n} samples hold one value everywhere; are the images blank?`);
    if (n > 4 && seen.size <= n / 2)
      findings.push(`${where}: only ${seen.size} of ${n} samples differ from each other`);
  }
  return findings;
}

function sketch(values: Float32Array): string {
  let a = 0;
  let b = 0;
  for (const [i, v] of values.entries()) {
    a += v;
    b += v * ((i % 1009) + 1);
  }
  return `${a} ${b}`;
}

// --- what the network makes of them --------------------------------------------------------------------------------------

interface View {
  readonly classes: number;
  readonly predicted: Int32Array;
  /** Right answers; undefined without labels. */
  readonly right: number | undefined;
  readonly n: number;
  readonly nonFinite: number;
  /** Mutual information of sample and class over its largest possible value: near 1 when answers are sure and various. */
  readonly information: number;
}

/** Undefined when the network is no classifier: nothing can be said of its answers. */
async function look(
  session: Session,
  dataset: Dataset,
  indices: readonly number[],
  batch: number,
): Promise<View | undefined> {
  const predicted: number[] = [];
  let mean: Float64Array | undefined;
  let entropy = 0;
  let nonFinite = 0;
  let right = 0;
  // all at once: a session on several threads takes them side by side
  const runs = chunksOf(dataset, indices, batch).map(async (chunk) => {
    const { inputs, labels } = dataset.batch(chunk.indices);
    return { chunk, labels, outputs: await session.run(inputs) };
  });
  for (const { chunk, labels, outputs } of await Promise.all(runs)) {
    const n = chunk.indices.length;
    const t = outputs.get(judgedOutput(outputs, n, dataset.output) ?? '');
    if (t === undefined || !isClassifier(t, n)) return undefined;
    const width = rowLength(t, n) ?? 0;
    const row = rowsOf({ ...t, data: floatsOf(t) }, width);
    const probabilities = areProbabilities(t, n, width);
    mean ??= new Float64Array(width);
    for (let i = 0; i < chunk.count; i++) {
      const best = argmax(row(i));
      predicted.push(best);
      if (best < 0) {
        nonFinite++;
        continue;
      }
      if (labels !== undefined && labels[i] === best) right++;
      const p = probabilities ? row(i) : softmax(row(i));
      for (const [c, v] of p.entries()) {
        mean[c]! += v / indices.length;
        if (v > 0) entropy -= (v * Math.log(v)) / indices.length;
      }
    }
  }
  if (mean === undefined) return undefined;
  let mixed = 0;
  for (const v of mean) if (v > 0) mixed -= v * Math.log(v);
  const classes = mean.length;
  const most = Math.log(Math.min(classes, indices.length));
  return {
    classes,
    predicted: Int32Array.from(predicted),
    right: dataset.labels === undefined ? undefined : right,
    n: indices.length,
    nonFinite,
    information: most === 0 ? 0 : (mixed - entropy) / most,
  };
}

function labelFindings(dataset: Dataset, view: View, findings: string[]): void {
  const { labels, name } = dataset;
  if (labels === undefined) return;
  let low = Infinity;
  let high = -Infinity;
  const present = new Set<number>();
  for (const label of labels) {
    low = Math.min(low, label);
    high = Math.max(high, label);
    present.add(label);
  }
  if (low < 0 || high >= view.classes) {
    const hint =
      low === 1 && high === view.classes
        ? '; they seem to count from 1: subtract 1'
        : "; give labels in the network's order";
    throw new PareError(
      `data ${name}: labels go from ${low} to ${high}, but the network has ${view.classes} classes, 0 to ${view.classes - 1}${hint}`,
    );
  }
  if (present.size === 1 && labels.length > 1) {
    findings.push(`data ${name}: every sample has label ${low}; shuffle the data or take samples of all classes`);
  } else if (present.size < view.classes && labels.length >= 10 * view.classes) {
    findings.push(`data ${name}: only ${present.size} of the network's ${view.classes} classes occur among the labels`);
  }
  if (dataset.classes !== undefined && dataset.classes.length !== view.classes) {
    findings.push(
      `data ${name}: ${dataset.classes.length} class folders, but the network has ${view.classes} classes; name them all, in the network's order, with "classes"`,
    );
  }
}

// --- other preparations --------------------------------------------------------------------------------------------------

/** What a manifest may have wrong, and how it would be said. */
function alternatives(dataset: Dataset): readonly { readonly say: string; readonly prep: Preprocessing }[] {
  const { scale = 1, mean = 0, std = 1, channels = 'RGB', layout } = dataset.preprocessing;
  const plain = { mean: 0, std: 1 };
  const scaled = (s: number): string =>
    `"scale": ${s === 1 ? '1' : '0.00392156862745098'} (${s === 1 ? 'values 0..255' : '1/255'})`;
  const list: { say: string; prep: Preprocessing }[] = [];
  const unscaled = Math.abs(scale) > 1 / 25;
  const normalised = [mean].flat().some((m) => m !== 0) || [std].flat().some((s) => s !== 1);
  list.push({ say: scaled(unscaled ? 1 / 255 : 1), prep: { scale: unscaled ? 1 / 255 : 1 } });
  if (normalised) {
    list.push({ say: `${scaled(1)} without "mean" and "std"`, prep: { ...plain, scale: 1 } });
    list.push({ say: `${scaled(1 / 255)} without "mean" and "std"`, prep: { ...plain, scale: 1 / 255 } });
  }
  list.push({
    say: 'values from -1 to 1 ("scale": 0.00784313725490196, "mean": 1)',
    prep: { scale: 2 / 255, mean: 1, std: 1 },
  });
  const imagenet = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  list.push({
    say: '"scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] (ImageNet)',
    prep: imagenet,
  });
  if ([mean].flat().some((m) => Math.abs(m) > 2)) {
    list.push({ say: '"mean" and "std" in units of 0..255 with "scale": 1', prep: { scale: 1 } });
  }
  list.push({
    say: `"channels": "${channels === 'RGB' ? 'BGR' : 'RGB'}"`,
    prep: { channels: channels === 'RGB' ? 'BGR' : 'RGB' },
  });
  const other = layout === 'NHWC' ? 'NCHW' : 'NHWC';
  list.push({ say: `"layout": "${other}"`, prep: { layout: other } });
  return list;
}

async function preparationFinding(
  session: Session,
  dataset: Dataset,
  indices: readonly number[],
  batch: number,
  now: View,
): Promise<string | undefined> {
  // nothing to look for: the answers are right, or, without labels, sure and various
  if (now.right !== undefined ? now.right >= 0.9 * now.n : now.information > 0.8) return undefined;
  let best: { readonly say: string; readonly view: View } | undefined;
  for (const { say, prep } of alternatives(dataset)) {
    let view: View | undefined;
    try {
      view = await look(session, dataset.with(prep), indices, batch);
    } catch (error) {
      // that preparation does not fit this data or network at all
      if (!(error instanceof PareError)) throw error;
    }
    if (view !== undefined && view.nonFinite === 0 && (best === undefined || quality(view) > quality(best.view))) {
      best = { say, view };
    }
  }
  const percent = (share: number): string => `${Math.round(100 * share)} %`;
  if (now.right !== undefined) {
    const [own, chance] = [now.right / now.n, 1 / now.classes];
    const gain = best === undefined ? 0 : (best.view.right ?? 0) - now.right;
    // more than chance would give by trying a handful of preparations
    if (best !== undefined && gain > Math.max(0.08 * now.n, 2.5 * Math.sqrt(now.n * 0.25))) {
      return `data ${dataset.name}: the original network is right for ${percent(own)} of ${now.n} samples, and for ${percent(quality(best.view))} with ${best.say}; mend the manifest`;
    }
    if (proportion(now.right, now.n).ci95[0] <= chance) {
      return `data ${dataset.name}: the original network is right for ${percent(own)} of ${now.n} samples, no better than guessing among ${now.classes} classes; are the labels in the network's order, and the images prepared as in its training?`;
    }
    return undefined;
  }
  if (
    best !== undefined &&
    best.view.information > now.information + 0.25 &&
    best.view.information > 1.5 * now.information
  ) {
    return `data ${dataset.name}: the original network's answers are unsure or all alike (${percent(now.information)} of the information that sure answers would carry), but not with ${best.say} (${percent(best.view.information)}); look at the manifest`;
  }
  const counts = new Map<number, number>();
  for (const c of now.predicted) counts.set(c, (counts.get(c) ?? 0) + 1);
  const [top, times] = [...counts].toSorted((a, b) => b[1] - a[1])[0] ?? [0, 0];
  if (now.n >= 32 && times > 0.95 * now.n) {
    return `data ${dataset.name}: the original network gives class ${top} for ${times} of ${now.n} samples; are the images prepared as in its training?`;
  }
  return undefined;
}

function quality(view: View): number {
  return view.right !== undefined ? view.right / view.n : view.information;
}

function sampleLength(dataset: Dataset): number {
  let length = 0;
  for (const t of dataset.batch([0]).inputs.values()) length = Math.max(length, t.data.length);
  return length;
}

/** At most `count` of them, evenly spread. */
function spread(indices: readonly number[], count: number): readonly number[] {
  if (indices.length <= count) return indices;
  return Array.from({ length: count }, (_, i) => indices[Math.floor((i * indices.length) / count)]!);
}

function accuracyWidth(n: number): string {
  const { ci95 } = proportion(Math.round(0.9 * n), n);
  return ((100 * (ci95[1] - ci95[0])) / 2).toFixed(0);
}
