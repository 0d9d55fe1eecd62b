export { i18n, languages, m, preferred, type Locale, type Messages } from './index.svelte';
