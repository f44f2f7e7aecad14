// What calibration data taught about the base network, computed once per run and shared by proposals, refits and signals.

export interface Knowledge {
  /**
   * Order in which units of a group are best removed under the optimal least-squares refit (cheapest first), and the relative
   * reconstruction error of the consumers after removing the first k units, errors[k], k = 0..size-1.
   */
  removal(groupId: string): { readonly order: readonly number[]; readonly errors: readonly number[] } | undefined;
}
