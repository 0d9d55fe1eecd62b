/** The choice of colours: the system's, light or dark. */
export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'streaming-console.theme';

class ThemeChoice {
  value: Theme = $state('auto');

  start(): void {
    const stored = localStorage.getItem(KEY);
    this.choose(stored === 'light' || stored === 'dark' ? stored : 'auto');
  }

  choose(theme: Theme): void {
    this.value = theme;
    if (theme === 'auto') {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, theme);
      document.documentElement.dataset.theme = theme;
    }
  }
}

export const theme = new ThemeChoice();
