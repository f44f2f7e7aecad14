// The frame of every mutation that changes single layers: parameters name layers by their weights, one or many in one edit; each is
// found, checked and changed on its own, all in one pass over the model.
import type { Model } from '../../src/ir/graph.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';
import { editModel, type ModelEditor } from './edit.js';
import { layerFinder, openLayers, type OpenLayer } from './layers.js';
import { proposeOne, type Mutation, type MutationContext, type Place } from './mutation.js';
import { joinLayers, layersOf, type JsonRecord } from './params.js';

export interface LayerRule<P extends { readonly weight: string }> {
  readonly name: string;
  readonly summary: string;
  /** What parameters look like, for error messages. */
  readonly form: string;
  /** Parameters of one layer; undefined when they are none. */
  read(record: JsonRecord): P | undefined;
  places(context: MutationContext): readonly Place[];
  /** One of the places, all alike, unless told otherwise. */
  propose?(context: MutationContext, rng: Rng): Json | undefined;
  /** Throws PareError when the parameters do not fit the layer. */
  change(params: P, open: OpenLayer, context: MutationContext, edit: ModelEditor): void;
}

export function layerMutation<P extends { readonly weight: string }>(rule: LayerRule<P>): Mutation {
  const { name, summary, form } = rule;
  return {
    name,
    summary,
    law: 'approximate',
    propose: (context, rng) =>
      rule.propose === undefined ? proposeOne(rule.places(context), rng) : rule.propose(context, rng),
    places: (context) => rule.places(context),
    join: joinLayers,
    apply(params: Json, context: MutationContext): Model {
      const list = layersOf(name, params, (record) => rule.read(record), form);
      const find = layerFinder(name, openLayers(context));
      const edit = editModel(context.analysis.model);
      for (const one of list) rule.change(one, find(one.weight), context, edit);
      return edit.model();
    },
  };
}
