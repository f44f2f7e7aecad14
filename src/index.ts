// The public names of pare-onnx: re-exports only.

// Networks: reading, writing, looking, building. A Model is immutable data.
export { checkModel } from './ir/check.js';
export { graphBuilder, type GraphBuilder } from './ir/builder.js';
export type { Attribute, Dim, FunctionDef, Graph, Model, Node, ValueInfo, ValueType } from './ir/graph.js';
export { DataType, floatTensor, int64Tensor, readFloats, readNumbers, type Tensor } from './ir/tensor.js';
export { parseModelText, printModel } from './ir/text.js';
export { parseModel, readModel, sha256OfFile } from './onnx/read.js';
export { encodeModel, withRecipe, writeModel, type Recipe } from './onnx/write.js';
export { standardOps } from './ops/index.js';
export { opTable, type OpDef, type OpTable } from './ops/op.js';

// Analysis: shapes, cost (MACs; FLOPs = 2 x MACs), channel groups, cutting and masking them.
export { analyse, type AnalyseOptions, type Analysis } from './analysis/analyse.js';
export { conventionNames, type ConventionName } from './analysis/conventions.js';
export { countCost, type Cost, type NodeCost } from './analysis/cost.js';
export { pruneModel } from './analysis/cut.js';
export type { ChannelGroup, ChannelGroups, DeadUnits, Frozen, GroupMember } from './analysis/groups.js';
export { maskModel } from './analysis/mask.js';
export { inferShapes, type Binding, type Shapes } from './analysis/shapes.js';

// Running networks and measuring them on data.
export { openDataset, type Batch, type Dataset } from './data/dataset.js';
export type { MetricName } from './data/manifest.js';
export { checkData } from './measure/check-data.js';
export {
  evaluate,
  recordOutputs,
  type EvaluateOptions,
  type Evaluation,
  type RecordedOutputs,
  type Versus,
} from './measure/evaluate.js';
export {
  compareLatency,
  measureLatency,
  type Latency,
  type LatencyComparison,
  type LatencyOptions,
} from './measure/latency.js';
export type { Estimate } from './measure/statistics.js';
export { recipeOf, verifyModels, type Verification, type VerifyOptions } from './measure/verify.js';
export { isolatedRuntime } from './runtime/isolated.js';
export { ortRuntime } from './runtime/ort.js';
export {
  floatData,
  floatsOf,
  withSession,
  type ModelSource,
  type Runtime,
  type RuntimeTensor,
  type Session,
  type ValueMeta,
} from './runtime/runtime.js';
export { tfjsRuntime } from './runtime/tfjs.js';
export { threadRuntime } from './runtime/threads.js';

// Training inside ONNX: gradients are graphs, steps are graphs, a teacher stands in for labels.
export { distillation } from './training/distillation.js';
export { appendGradients, type Gradients } from './training/gradient.js';
export type { Loss } from './training/loss.js';
export type { Optimizer } from './training/optimizer.js';
export { train, type TrainOptions, type TrainReport, type TrainResult } from './training/trainer.js';
export type { TrainingPlan } from '../search/finish-by-training.js';

// Recovery without training: learn what the channels of a network are worth, refit what was cut.
export { drain as finish } from './drain.js';
export type { Importance, ImportanceContext } from './recovery/importance.js';
export type { Knowledge, LearnReport } from './recovery/knowledge.js';
export {
  learnFrom,
  recover,
  type Calibration,
  type RecoverMode,
  type RecoverOptions,
  type RecoverReport,
} from './recovery/recover.js';

// Predictors of a candidate's score.
export { createEnsemble } from './predictor/ensemble.js';
export {
  fitnessMethod,
  fitnessMethods,
  type BlindChoice,
  type FitnessContext,
  type FitnessMethod,
  type Foreteller,
} from './predictor/fitness-methods.js';
export type { Belief, Prediction, Predictor, PredictorInput, Sample } from './predictor/predictor.js';
export { forwardProxyNames, proxies, proxyNames, type ProxiesOptions } from './predictor/proxies/index.js';
export type { ProbeBatch } from './predictor/proxies/probe.js';

// Computation graphs, and the architecture spaces with their tables.
export { compress, type CompressOptions } from './predictor/compress.js';
export { nodeOf, type ComputationGraph, type ComputationNode, type Extras } from './predictor/computation-graph.js';
export { SPACES, spaceOf } from './predictor/spaces/index.js';
export type { Architecture, ArchitectureSpace, BuildOptions } from './predictor/spaces/space.js';
export { readTable, type Row, type Table } from './predictor/tables.js';

// The search: genomes, mutations, evaluators, and the whole way from a network to a front.
export type { Constraints, Wishes } from '../search/constraints.js';
export { inlineEvaluator, type Effort, type Evaluator, type Job, type Result } from '../search/evaluator.js';
export type { Figure, FrontMember } from '../search/finish.js';
export { genomeKey, type Edit, type Genome, type Json } from '../search/genome.js';
export { losslessMutations, standardMutations } from '../search/mutations/index.js';
export type { Mutation, MutationContext, Place } from '../search/mutations/mutation.js';
export type { FrontFile } from '../search/front-file.js';
export { optimize, type OptimizeOptions, type OptimizeReport, type OptimizeResult } from '../search/optimize.js';
export { pick } from '../search/pick.js';
export { createReplayer, surgeryWith, type Replayer, type ReplayOptions, type Surgery } from '../search/replay.js';
export type { EffortPlan } from '../search/workshop.js';

// Finished runs: predicted against measured, and the report.
export { agreementOf, type Agreement, type PredictedPair } from './compare/agreement.js';
export {
  compare,
  type CompareOptions,
  type CompareReport,
  type ComparedCandidate,
  type Comparison,
} from './compare/compare.js';
export { writeReport, type ReportOptions } from './report/report.js';
export { readRun, type RunFiles } from './report/run.js';

// Plug-ins: what their files may export, and opening them with every call in a process of its own.
export { openPlugins, type PluginOptions, type Plugins } from './plugin/load.js';
export type { Plugin, PluginFitness, PluginOperator } from './plugin/plugin.js';

export { PareError } from './errors.js';
export { createRng, type Rng } from './rng.js';
