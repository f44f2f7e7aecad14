// The reports of a run, made from the files of its folder: report.md, report.html and plots/*.svg.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { analyse } from '../analysis/analyse.js';
import { countCost, type Cost } from '../analysis/cost.js';
import { groupReport } from '../analysis/group-report.js';
import { prepare } from '../analysis/prepare.js';
import { inferShapes } from '../analysis/shapes.js';
import { readModel } from '../onnx/read.js';
import type { OpTable } from '../ops/op.js';
import { frontPoints, layerBars, predictionPairs } from './chart-data.js';
import { reportText } from './markdown.js';
import { pageText } from './page.js';
import { frontChart, layerChart, predictionChart, toSvg } from './plot.js';
import { mostAccurate, readRun } from './run.js';
import { isFraction } from './words.js';

export interface ReportOptions {
  readonly table: OpTable;
  /** The network that was optimised, for the costs of its layers. */
  readonly original: string;
  /** Lines of the volatile block: times, host, versions. */
  readonly volatile?: readonly string[];
}

/** Writes report.md, report.html and plots/*.svg beside front.json; returns their paths. */
export async function writeReport(folder: string, options: ReportOptions): Promise<readonly string[]> {
  const run = readRun(folder);
  const { volatile = [], table } = options;
  const analysis = analyse(prepare(readModel(options.original), table), table);
  const before = analysis.cost;
  const best = mostAccurate(run.front);
  const after = best === undefined ? undefined : costOf(join(folder, best.file), table);
  const layers = after === undefined ? undefined : layerBars(before, after);
  const config = join(folder, 'config.json');
  const percent = isFraction(run.front.metric);
  const plots: [string, string][] = [
    ['front', await toSvg(frontChart(frontPoints(run), run.front.metric, percent))],
    ['predicted', await toSvg(predictionChart(predictionPairs(run), run.front.metric, percent))],
  ];
  if (layers !== undefined) plots.push(['layers', await toSvg(layerChart(layers))]);
  mkdirSync(join(folder, 'plots'), { recursive: true });
  const page = pageText({
    run,
    ...(layers === undefined ? {} : { layers }),
    groups: groupReport(analysis),
    ...(existsSync(config) ? { config: readFileSync(config, 'utf8') } : {}),
    volatile,
  });
  return [
    ...plots.map(([name, svg]) => writeBeside(join(folder, 'plots', `${name}.svg`), svg)),
    writeBeside(join(folder, 'report.md'), reportText(run, before, after, volatile)),
    writeBeside(join(folder, 'report.html'), page),
  ];
}

function costOf(path: string, table: OpTable): Cost {
  const model = readModel(path);
  return countCost(model, table, inferShapes(model, table, { dynamic: 1 }));
}

/** Written beside and renamed. */
function writeBeside(path: string, text: string): string {
  const beside = `${path}.part`;
  writeFileSync(beside, text);
  renameSync(beside, path);
  return path;
}
