import type { Messages } from './index.svelte';
import common from './de/common';
import jobs from './de/jobs';
import session from './de/session';
import system from './de/system';
import tokens from './de/tokens';
import upload from './de/upload';
import video from './de/video';
import videos from './de/videos';
import workers from './de/workers';

const de: Messages = { common, session, upload, videos, video, jobs, workers, tokens, system };

export default de;
