// The shipped segments (library.json, made by scripts/mine-segments.ts from 645 ImageNet networks and some small ones),
// and which of them fit a place.
import { readFileSync } from 'node:fs';
import { segmentMacs, type Ends, type Segment } from './segment.js';

/** Most frequent first. Read anew each time: keep it. */
export function segmentLibrary(): readonly Segment[] {
  // the cast: the file is ours, written by scripts/mine-segments.ts
  return JSON.parse(readFileSync(new URL('library.json', import.meta.url), 'utf8')) as readonly Segment[];
}

/** Where a segment shall stand. */
export interface SegmentPlace extends Ends {
  /** Height and width of what comes in. */
  readonly h: number;
  readonly w: number;
  readonly stride: number;
  /** MACs at most. */
  readonly macs: number;
}

export interface Fitting {
  readonly segment: Segment;
  readonly macs: number;
}

/** In the library's order. */
export function fittingSegments(library: readonly Segment[], place: SegmentPlace): readonly Fitting[] {
  return library.flatMap((segment) => {
    if (segment.stride !== place.stride) return [];
    const macs = segmentMacs(segment, place, place.h, place.w);
    return macs === undefined || macs > place.macs ? [] : [{ segment, macs }];
  });
}
