// Pearson correlations of the rows of a matrix.

/** [rows, rows], float64; NaN in the row and column of a constant row. */
export function correlations(values: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const centred = Array.from({ length: rows }, (_, r) => {
    const row = new Float64Array(columns);
    let mean = 0;
    for (let c = 0; c < columns; c++) mean += (row[c] = values[r * columns + c]!) / columns;
    let squares = 0;
    for (let c = 0; c < columns; c++) squares += (row[c] = row[c]! - mean) ** 2;
    const size = Math.sqrt(squares);
    for (let c = 0; c < columns; c++) row[c] = row[c]! / size;
    return row;
  });
  const out = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      let dot = 0;
      for (let c = 0; c < columns; c++) dot += centred[i]![c]! * centred[j]![c]!;
      out[i * rows + j] = out[j * rows + i] = dot;
    }
  }
  return out;
}
