// Rows of ../shared/graphs/graphs.csv: what each architecture's graph costs. Plain commas, no quoting.

export interface GraphRow {
  readonly file: string;
  readonly macs: number;
  readonly macsConv: number;
  readonly macsDepthwise: number;
  readonly macsLinear: number;
  readonly macsAttention: number;
}

export function graphRows(csv: string): GraphRow[] {
  const [head = '', ...lines] = csv.trim().split('\n');
  const columns = head.split(',');
  return lines.map((line) => {
    const cells = line.split(',');
    const cell = (name: string): string => cells[columns.indexOf(name)] ?? '';
    return {
      file: cell('file'),
      macs: Number(cell('macs')),
      macsConv: Number(cell('macs_conv')),
      macsDepthwise: Number(cell('macs_dwconv')),
      macsLinear: Number(cell('macs_linear')),
      macsAttention: Number(cell('macs_attn')),
    };
  });
}
