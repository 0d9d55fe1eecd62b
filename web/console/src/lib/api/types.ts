/** The shapes of the REST API under short names; generated from the OpenAPI document. */
import type { components, operations } from './schema.gen';

type Schemas = components['schemas'];

export type Video = Schemas['Video'];
export type VideoState = Video['state'];
export type Job = Schemas['Job'];
export type Task = Schemas['Task'];
export type Worker = Schemas['Worker'];
export type Profile = Schemas['Profile'];
export type System = Schemas['System'];
export type TokenRecord = Schemas['TokenRecord'];
export type Me = Schemas['Caller'];
export type Problem = Schemas['Problem'];
/** A job as events carry it: without its tasks. */
export type JobSummary = Omit<Job, 'tasks'>;
export type VideoSort = NonNullable<NonNullable<operations['listVideos']['parameters']['query']>['sort']>;
