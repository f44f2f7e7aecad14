// An Einsum equation as lists of indices; `...` becomes indices counted from the right.

export function readEinsumText(
  equation: string,
  ranks: readonly number[],
): { readonly terms: readonly (readonly string[])[]; readonly result: readonly string[] } {
  const [left = '', right] = equation.replaceAll(' ', '').split('->');
  const texts = left.split(',');
  const hidden = texts.map((t, i) => ranks[i]! - t.replace('...', '').length);
  const widest = Math.max(0, ...hidden.filter((_, i) => texts[i]!.includes('...')));
  const spell = (text: string, dots: number): string[] => {
    const [head = '', tail] = text.split('...');
    if (tail === undefined) return head.split('');
    const dotted = Array.from({ length: dots }, (_, k) => `.${dots - 1 - k}`);
    return [...head.split(''), ...dotted, ...tail.split('')];
  };
  const letters = texts.join('').replaceAll('.', '').split('');
  const single = [...new Set(letters)].filter((c) => letters.filter((l) => l === c).length === 1).toSorted();
  const implied = `${equation.includes('...') ? '...' : ''}${single.join('')}`;
  return { terms: texts.map((t, i) => spell(t, hidden[i]!)), result: spell(right ?? implied, widest) };
}
