/** The interface's language: typed catalogues, chosen at run time; languages other than English are loaded when they are used. */
import en from './en';

type Widen<T> = T extends string ? string : T extends (...args: infer A) => string ? (...args: A) => string : T extends readonly unknown[] ? T : { [K in keyof T]: Widen<T[K]> };

/** The messages of every catalogue; English is the reference. */
export type Messages = Widen<typeof en>;

const KEY = 'streaming-console.language';

const loaders = {
  en: async (): Promise<Messages> => en,
  de: async (): Promise<Messages> => (await import('./de')).default
};

export type Locale = keyof typeof loaders;

/** The languages under their own names. */
export const languages: Record<Locale, string> = { en: 'English', de: 'Deutsch' };

function isLocale(value: string | null | undefined): value is Locale {
  return value !== null && value !== undefined && value in loaders;
}

/** The stored choice, else the first of the browser's languages that has a catalogue, else English. */
export function preferred(stored: string | null, browser: readonly string[]): Locale {
  if (isLocale(stored)) return stored;
  return browser.map((tag) => tag.slice(0, 2).toLowerCase()).find(isLocale) ?? 'en';
}

class I18n {
  locale: Locale = $state('en');
  messages: Messages = $state.raw(en);

  /** Loads the preferred language; awaited before the first screen. */
  async start(): Promise<void> {
    await this.#show(preferred(localStorage.getItem(KEY), navigator.languages)).catch(() => this.#show('en'));
  }

  /** Changes the language and remembers it. */
  async choose(locale: Locale): Promise<void> {
    localStorage.setItem(KEY, locale);
    await this.#show(locale);
  }

  async #show(locale: Locale): Promise<void> {
    this.messages = await loaders[locale]();
    this.locale = locale;
    document.documentElement.lang = locale;
  }
}

export const i18n = new I18n();

/** The messages of the current language: `m().common.cancel`. */
export function m(): Messages {
  return i18n.messages;
}
