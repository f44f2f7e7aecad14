// params: the number of parameters.
import { countCost } from '../../analysis/cost.js';
import type { Proxy } from './proxy.js';

export const params: Proxy = {
  name: 'params',
  needs: 'shapes',
  score: ({ given, network, table }) => countCost(given, table, network.shapes).params,
};
