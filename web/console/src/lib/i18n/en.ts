import common from './en/common';
import jobs from './en/jobs';
import session from './en/session';
import system from './en/system';
import tokens from './en/tokens';
import upload from './en/upload';
import video from './en/video';
import videos from './en/videos';
import workers from './en/workers';

const en = { common, session, upload, videos, video, jobs, workers, tokens, system };

export default en;
