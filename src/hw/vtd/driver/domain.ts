/** Every kind of domain that a VT-d unit can be pointed at. */
import type { FirstStage } from './first-stage.js';
import type { VtdNested } from './nested.js';
import type { VtdProvided } from './provided.js';
import type { SecondStage } from './second-stage.js';

export type VtdDomain = FirstStage | SecondStage | VtdNested | VtdProvided;
