/** The screens in the order of the navigation, and who sees them. */
import Cpu from '@lucide/svelte/icons/cpu';
import Gauge from '@lucide/svelte/icons/gauge';
import KeyRound from '@lucide/svelte/icons/key-round';
import ListChecks from '@lucide/svelte/icons/list-checks';
import SquarePlay from '@lucide/svelte/icons/square-play';
import Upload from '@lucide/svelte/icons/upload';
import type { Right } from './session';

export const screens = [
  { key: 'upload', path: '/upload', icon: Upload, right: 'upload' },
  { key: 'videos', path: '/videos', icon: SquarePlay, right: null },
  { key: 'jobs', path: '/jobs', icon: ListChecks, right: null },
  { key: 'workers', path: '/workers', icon: Cpu, right: null },
  { key: 'tokens', path: '/tokens', icon: KeyRound, right: 'tokens' },
  { key: 'system', path: '/system', icon: Gauge, right: 'system' }
] as const satisfies readonly { key: string; path: string; icon: unknown; right: Right | null }[];
