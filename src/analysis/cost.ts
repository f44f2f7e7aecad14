// What a network costs. MACs = multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul, Einsum, Attention and recurrent layers,
// subgraphs times trip count included; FLOPs = 2 x MACs, said here and nowhere else.

export interface NodeCost {
  readonly node: string;
  readonly opType: string;
  readonly macs: number;
  readonly params: number;
  readonly outputShape?: readonly number[];
}

export interface Cost {
  /** Name of the counting convention: 'mac' unless asked otherwise. */
  readonly convention: string;
  readonly macs: number;
  readonly flops: number;
  /** Elements of floating-point initializers and Constant nodes, running statistics included. */
  readonly params: number;
  /** Bytes of all constants. */
  readonly bytes: number;
  /** Peak of activations alive at once when nodes run in order, bytes. */
  readonly peakMemoryBytes: number;
  readonly nodes: readonly NodeCost[];
  /** `Op "name": reason` of what could not be counted. */
  readonly uncounted: readonly string[];
}
